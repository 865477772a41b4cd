"""Ways in which real traces are broken, one small file each: what is saved, what is counted, what is refused.

Each file in defects/ holds two kernels of 10 µs with 10 µs between them, and the defect that its name says (P: the file
does not parse, S: a naive analysis goes wrong, X: unusual but right).
"""

import gzip
import io
import json
import re
import tarfile
from pathlib import Path

import pytest

import tbperf
from tbperf.errors import TraceFormatError
from tbperf.readers import chrome, file_source, find_traces, read_trace
from tbperf.trace import LONGEST_TEXT
from tests.draw import Timeline

DEFECTS = Path(__file__).parent / "defects"
BOTH = (2, 30_000, 20_000)
MENDED = True

# name -> (kernels, window, busy), dropped, whether it had to be mended
EXPECTED = {
    "P1-windows-path": (BOTH, {}, MENDED),
    "P2-unescaped-quotes-and-newline": (BOTH, {"malformed_event": 1}, MENDED),
    "P3-not-utf8-and-control-characters": (BOTH, {}, MENDED),
    "P4-bare-inf-and-nan": ((2, 35_000, 20_000), {}, MENDED),
    "P4-nan-duration": (BOTH, {"no_duration": 1}, MENDED),
    "P5-cut-after-an-event": (BOTH, {}, False),
    "P5-cut-short": ((3, 30_000, 20_000), {"malformed_event": 1}, MENDED),
    "P6-two-writers": ((1, 10_000, 10_000), {"malformed_event": 2}, MENDED),
    "P8-missing-quote": (BOTH, {"malformed_event": 1}, MENDED),
    "P9-bare-array": (BOTH, {}, False),
    "P10-ids-as-text": (BOTH, {}, False),
    "P10-times-as-text-and-huge-ids": (BOTH, {}, False),
    "S2-first-kernels-lost": (BOTH, {}, False),
    "S3-kernel-without-launch-and-launch-without-kernel": ((3, 50_000, 30_000), {}, False),
    "S4-stray-timestamp": (BOTH, {"stray_timestamp": 1}, False),
    "S4-zero-timestamp": (BOTH, {"zero_timestamp": 1}, False),
    "S5-negative-duration": (BOTH, {"negative_duration": 1}, False),
    "S6-overflowing-duration": (BOTH, {"overflowing_duration": 2}, False),
    "S6-overlaps-on-one-stream": ((3, 35_000, 25_000), {}, False),
    "S7-graph-replay": ((4, 35_000, 20_000), {}, False),
    "S8-correlation-zero": ((5, 40_000, 30_000), {}, False),
    "S9-annotations-on-the-gpu": (BOTH, {}, False),
    "S10-microseconds-since-1970-with-decimals": ((2, 6_001, 5_929), {}, False),
    "S10-relative-to-base": (BOTH, {}, False),
    "S11-no-rank": (BOTH, {}, False),
    "S13-no-steps": (BOTH, {}, False),
    "X-begin-and-end-events": (BOTH, {"begin_or_end_event": 2}, False),
    "X-compact": (BOTH, {}, False),
    "X-metadata-behind-the-events": (BOTH, {}, False),
    "X-names-that-look-like-json": (BOTH, {}, False),
    "X-old-categories": (BOTH, {}, False),
}
WITHOUT_GPU_WORK = {"S1-launches-without-gpu-work", "S12-no-events"}


def read(name):
    (trace,) = tbperf.analyze(DEFECTS / f"{name}.json").traces
    return trace


@pytest.mark.parametrize("name", EXPECTED)
def test_what_can_be_read_is_read_and_the_rest_is_counted(name):
    (kernels, window, busy), dropped, mended = EXPECTED[name]
    trace = read(name)

    (device,) = trace.devices
    assert (device.kernels, device.window_ns, device.busy_ns) == (kernels, window, busy)
    assert trace.dropped == dropped
    assert any("mended" in note for note in trace.notes) == mended
    assert trace.truncated == name.startswith("P5")


def test_every_sample_has_its_expectation():
    assert {path.stem for path in DEFECTS.iterdir()} == EXPECTED.keys() | WITHOUT_GPU_WORK


@pytest.mark.parametrize("name", EXPECTED)
def test_compression_and_name_change_nothing(name, tmp_path):
    plain = DEFECTS / f"{name}.json"
    other = tmp_path / "whatever"
    other.write_bytes(gzip.compress(plain.read_bytes()))

    (a,), (b,) = tbperf.analyze(plain).traces, tbperf.analyze(other).traces

    assert (a.devices, a.idle, a.dropped, a.operators, a.stages) == (
        b.devices,
        b.idle,
        b.dropped,
        b.operators,
        b.stages,
    )


def test_a_failed_recording_is_not_an_idle_gpu():
    trace = read("S1-launches-without-gpu-work")

    assert not trace.devices
    skipped = {s.analysis: s.reason for s in trace.skipped}
    assert {"devices", "idle", "kernels", "memcpy", "launches"} <= skipped.keys()
    assert "no GPU activity" in skipped["idle"]
    assert "CUPTI" in skipped["idle"]


def test_a_trace_without_events_is_no_error():
    assert read("S12-no-events").events == 1


def test_unmatched_work_stays_and_is_counted():
    launches = read("S3-kernel-without-launch-and-launch-without-kernel").launches

    assert (launches.unmatched_kernels, launches.unmatched_launches) == (1, 1)


def test_kernels_lost_at_the_start_do_not_make_idle_time():
    trace = read("S2-first-kernels-lost")

    assert (trace.launches.unmatched_launches, trace.launches.unmatched_kernels) == (3, 0)
    assert trace.devices[0].window_ns == 30_000, "the window begins with work, not with the launches before it"


def test_captures_of_one_process_are_no_ranks(tmp_path):
    """P7: torch names captures <worker>.<time>.pt.trace.json; peers read the second one as another worker."""
    for number in range(3):
        Timeline().kernel(0, 10 + number).write(tmp_path / f"worker0.{1795497068383 + number}.pt.trace.json")

    report = tbperf.analyze(tmp_path)

    assert [trace.devices[0].window_ns for trace in report.traces] == [10_000, 11_000, 12_000]
    assert {trace.rank for trace in report.traces} == {0}
    assert not report.ranks


@pytest.mark.parametrize("name", ["P5-cut-short", "P5-cut-after-an-event"])
def test_a_cut_file_says_where(name):
    (note,) = [note for note in read(name).notes if "breaks off" in note]

    size = (DEFECTS / f"{name}.json").stat().st_size
    said = int(re.search(r"after ([\d,]+) bytes", note)[1].replace(",", ""))
    assert 0 <= size - said < 5
    assert ("inside an event" in note) == (name == "P5-cut-short")


def test_correlation_zero_links_nothing():
    assert read("S8-correlation-zero").launches.unmatched_kernels == 3


def test_all_kernels_of_a_graph_belong_to_its_launch():
    trace = read("S7-graph-replay")

    assert (trace.linked_share, trace.launches.graph_calls) == (1.0, 1)


def test_ids_beyond_64_bits_still_link():
    assert read("P10-times-as-text-and-huge-ids").linked_share == 1.0


def test_nothing_readable_is_refused_with_the_place(tmp_path):
    path = tmp_path / "t.json"
    path.write_text('{"traceEvents": [{"ph": "X", "name": "a" "b"}]}')

    with pytest.raises(TraceFormatError, match=r"no event can be read, from byte \d+ on"):
        tbperf.analyze(path)


def test_a_damaged_gzip_file_is_read_as_far_as_it_goes(tmp_path):
    timeline = Timeline()
    for i in range(5000):
        timeline.kernel(i * 10, i * 10 + 5, name=f"kernel {i % 7}")
    whole = gzip.compress(json.dumps(timeline.kineto(), indent=1).encode())
    path = tmp_path / "t.json.gz"
    path.write_bytes(whole[: len(whole) // 2])

    (trace,) = tbperf.analyze(path).traces

    assert trace.truncated
    assert 1000 < trace.devices[0].kernels < 4500
    assert any("compression is damaged" in note for note in trace.notes)


def test_a_compressed_bomb_is_refused_in_bounded_memory(tmp_path):
    path = tmp_path / "bomb.json.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(b'{"a": "')
        for _ in range(300):
            file.write(bytes(1 << 20))

    with pytest.raises(TraceFormatError, match="no list of trace events"):
        tbperf.analyze(path)


def test_a_huge_name_and_deep_nesting_are_survived(tmp_path):
    events = Timeline().kernel(0, 10, name="x" * (9 << 20)).kernel(10, 20).kineto()["traceEvents"]
    deep = json.dumps(events[1])[:-1] + ', "more": ' + "[" * 100_000 + "]" * 100_000 + "}"
    path = tmp_path / "t.json"
    path.write_text(f'{{"traceEvents": [{json.dumps(events[0])}, {deep}, {json.dumps(events[1])}]}}')

    (trace,) = tbperf.analyze(path).traces

    assert trace.devices[0].kernels == 2
    assert trace.dropped == {"malformed_event": 1}
    assert max(len(kernel.name) for kernel in trace.kernels) == LONGEST_TEXT


def test_a_string_longer_than_any_event_is_cut_in_bounded_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(chrome, "LONGEST_EVENT_BYTES", 1 << 20)
    monkeypatch.setattr(chrome, "PIECE_BYTES", 1 << 16)
    events = Timeline().kernel(0, 10).kernel(10, 20, name="x" * (5 << 20)).kernel(20, 30).kineto()["traceEvents"]
    path = tmp_path / "t.json"
    path.write_text(json.dumps({"traceEvents": events}))
    parts = chrome.Cut()

    with path.open("rb") as file:
        pieces = list(chrome.cut_stream(iter(lambda: file.read(1 << 16), b""), parts))
    (trace,) = tbperf.analyze(path).traces

    assert max(map(len, pieces)) < (2 << 20)
    assert trace.devices[0].kernels == 2
    assert sum(trace.dropped.values()) > 0


def test_a_file_that_vanishes_ends_in_one_line(tmp_path):
    path = Timeline().kernel(0, 10).write(tmp_path / "a.pt.trace.json")
    (source,) = find_traces(tmp_path)
    path.unlink()

    with pytest.raises(TraceFormatError, match="no such file"):
        read_trace(source)


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
def test_progress_counts_what_is_stored(tmp_path, packed, monkeypatch):
    monkeypatch.setattr(chrome, "PIECE_BYTES", 1 << 12)
    timeline = Timeline()
    for number in range(300):
        timeline.kernel(10 * number, 10 * number + 5, name=f"kernel {number}")
    path = timeline.write(tmp_path / "t.json")
    if packed:
        path.write_bytes(gzip.compress(path.read_bytes()))
    told = []

    read_trace(file_source(path), jobs=1, progress=lambda size, events: told.append((size, events)))

    assert told == sorted(told)
    assert told[-1][1] == 300
    assert 0.9 * path.stat().st_size < told[-1][0] <= path.stat().st_size


def test_names_that_cannot_be_written_are_replaced(tmp_path):
    path = tmp_path / "t.json"
    path.write_text(json.dumps(Timeline().kernel(0, 10, name="lone \ud800 surrogate").kineto()))

    report = tbperf.analyze(path)

    assert report.traces[0].kernels[0].name.encode()


def test_an_archive_of_ranks_is_read_member_by_member(tmp_path):
    path = tmp_path / "ranks.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for rank in (2, 0, 1):
            data = json.dumps(Timeline().kernel(0, 10 + rank).kineto() | {"distributedInfo": {"rank": rank}}).encode()
            member = tarfile.TarInfo(f"run/some{rank}.json")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
        archive.addfile(tarfile.TarInfo("run/notes.txt"))

    report = tbperf.analyze(path)

    assert [(t.rank, t.devices[0].window_ns) for t in report.traces] == [(0, 10_000), (1, 11_000), (2, 12_000)]


def test_an_archive_without_traces_or_cut_short_is_said_to_be_one(tmp_path):
    empty, cut = tmp_path / "empty.tar", tmp_path / "cut.tar.gz"
    with tarfile.open(empty, "w") as archive:
        archive.addfile(tarfile.TarInfo("notes.txt"))
    with tarfile.open(cut, "w:gz") as archive:
        archive.add(DEFECTS, "all")
    cut.write_bytes(cut.read_bytes()[:3000])

    with pytest.raises(TraceFormatError, match="no traces in this archive"):
        tbperf.analyze(empty)
    report = tbperf.analyze(cut)
    assert report.traces, "members before the cut"
    assert "a damaged archive" in report.unread[-1].reason
