"""The same run, written by both recorders, gives the same report: to the nanosecond."""

import dataclasses
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tbperf.analyses import examine
from tbperf.readers import file_source, read_trace
from tests.draw import Timeline

AUTOGRAD = (1, 2)


def both(timeline, folder):
    kineto = examine(read_trace(file_source(timeline.write(folder / "t.json"))))
    nsys = examine(read_trace(file_source(timeline.nsys(folder / "t.sqlite"))))
    return kineto, nsys


def plain(rows, *without):
    return [{k: v for k, v in dataclasses.asdict(row).items() if k not in without} for row in rows]


def shift(rows, by):
    """Times count from each recording's first event, of whatever sort."""
    return [row | {"start_ns": row["start_ns"] - by} for row in rows]


def assert_the_same(timeline, folder):
    kineto, nsys = both(timeline, folder)
    for field in (
        "devices",
        "idle",
        "gap_lengths",
        "stages",
        "what_if",
        "families",
        "syncs",
        "allocations",
        "operators",
    ):
        assert plain(getattr(nsys, field)) == plain(getattr(kineto, field)), field
    assert plain(nsys.kernels, "occupancy") == plain(kineto.kernels, "occupancy")
    assert plain(nsys.memcpy) == plain(kineto.memcpy)
    assert nsys.launches == kineto.launches
    assert nsys.linked_share == kineto.linked_share
    for field in ("steps", "gaps"):
        ours, theirs = plain(getattr(nsys, field), "before", "after"), plain(getattr(kineto, field), "before", "after")
        assert ours == theirs, field
    return kineto, nsys


RUN = (
    Timeline()
    .step(1, 0, 1000)
    .step(2, 1000, 2000)
    .stage("dataload", 0, 600)
    .stage("forward", 600, 900)
    .stage("backward", 900, 1000)
    .op("aten::conv2d", 650, 700)
    .op("autograd::conv", 900, 990, thread=AUTOGRAD)
    .copy("HtoD", 610, 660, memory="pageable", size=4096, call=(605, 665))
    .copy("DtoH", 1610, 1620, memory="pinned", size=8, call=(1605, 1606))
    .copy("DtoD", 1630, 1640, size=8, call=(1625, 1626))
    .memset(1650, 1660, call=(1645, 1646))
    .kernel(700, 990, name="void at::native::vectorized_elementwise_kernel<4>(int)", call=(690, 695))
    .kernel(1100, 1200, call=(950, 955), thread=AUTOGRAD)
    .kernel(1150, 1300, stream=9, device=1)
    .kernel(1700, 1990, name="ncclDevKernel_AllReduce", call=(1690, 1695))
    .call("cudaStreamSynchronize", 1300, 1500)
    .call("cudaMalloc", 1510, 1530)
    .overhead("Buffer Flush", 1540, 1560, thread=(1, 0))
)


def test_a_training_gives_the_same_report(tmp_path):
    kineto, nsys = assert_the_same(RUN, tmp_path)

    assert [row.stage for row in nsys.stages][:3] == ["dataload", "forward", "backward"] or nsys.stages == kineto.stages
    assert {row.copy_kind for row in nsys.memcpy} == {"HtoD", "DtoH", "DtoD"}
    assert {row.device for row in nsys.devices} == {0, 1}


def test_what_one_recorder_adds_would_be_noticed(tmp_path):
    kineto = examine(read_trace(file_source(RUN.write(tmp_path / "t.json"))))
    more = Timeline()
    more.gpu, more.host = [*RUN.gpu], [*RUN.host]
    more.os("read", 1210, 1290)
    nsys = examine(read_trace(file_source(more.nsys(tmp_path / "t.sqlite"))))

    with pytest.raises(AssertionError):
        assert plain(nsys.idle) == plain(kineto.idle)


span = st.tuples(st.integers(0, 90), st.integers(0, 25))
work = st.tuples(
    st.sampled_from(["kernel", "memset", "HtoD", "DtoH", "DtoD"]),
    span,
    st.none() | span,
    st.sampled_from([0, 1]),
    st.sampled_from([7, 13]),
    st.booleans(),
)
host = st.tuples(st.sampled_from(["op", "range", "stage", "call", "malloc", "overhead"]), span, st.booleans())


@settings(max_examples=25, deadline=None)
@given(st.lists(work, min_size=1, max_size=12), st.lists(host, max_size=12), st.booleans())
def test_drawn_runs_give_the_same_report(work, host, stepped):
    timeline = Timeline().range("all", 0, 200)
    if stepped:
        timeline.step(1, 0, 60).step(2, 60, 120)
    for kind, (start, length), call, device, stream, other in work:
        draw = {"kernel": timeline.kernel, "memset": timeline.memset}.get(kind)
        given = {"device": device, "stream": stream, "thread": AUTOGRAD if other else (1, 1)}
        given["call"] = call and (call[0], sum(call))
        if draw is None:
            timeline.copy(kind, start, start + length, memory="pinned" if stream == 7 else "pageable", **given)
        else:
            draw(start, start + length, **given)
    for kind, (start, length), other in host:
        thread = AUTOGRAD if other else (1, 1)
        name = {"call": "cudaStreamSynchronize", "malloc": "cudaMalloc", "stage": "dataload"}.get(kind, "aten::x")
        draw = {"malloc": timeline.call, "overhead": timeline.overhead}.get(kind) or getattr(timeline, kind)
        draw(name, start, start + length, thread=(1, 0) if kind == "overhead" else thread)
    with tempfile.TemporaryDirectory() as folder:
        assert_the_same(timeline, Path(folder))
