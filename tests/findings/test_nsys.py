"""Findings of Nsight Systems' exports, which hold no operators unless the program was told to write them."""

from pathlib import Path

import pytest

from tbperf.analyses import examine
from tbperf.findings import diagnose
from tbperf.readers import find_traces, read_trace
from tests.draw import Timeline


def held_up(path, fill=None, *, operators=False):
    """Return what HOST001 says of a loss that takes 4 of 10 ms, of which 3 hold what is filled in."""
    timeline = Timeline().step(0, 0, 10_000).stage("forward", 0, 3000).stage("loss", 3000, 7000)
    timeline.stage("backward", 7000, 10_000)
    for at in (*range(0, 3000, 100), *range(3000, 4000, 100), *range(7000, 10_000, 100)):
        timeline.kernel(at + 20, at + 110, call=(at, at + 10))
    if operators:
        timeline.op("aten::mul, seq = 7", 3000, 4000)
    if fill:
        fill(timeline)
    (source,) = find_traces(timeline.nsys(path / "drawn.sqlite"))
    return [finding for finding in diagnose([examine(read_trace(source))]) if finding.code == "HOST001"]


def launching(timeline):
    """A launch every 100 µs of kernels that take 5."""
    for at in range(4000, 7000, 100):
        timeline.kernel(at + 20, at + 25, call=(at, at + 10))


def reading(timeline):
    timeline.os("read", 4000, 7000)


def test_a_long_stretch_without_any_call_is_told_as_host_code(tmp_path):
    (found,) = held_up(tmp_path)

    assert found.title == "Host code holds up the stage loss"
    assert found.confidence == "low"
    assert found.cost_ns == found.gain.high_ns == pytest.approx(3_000_000, abs=120_000)
    assert "emit_nvtx" in found.advice[0]["action"]


@pytest.mark.parametrize("fill", [launching, reading])
def test_calls_of_cuda_and_of_the_system_are_no_python(tmp_path, fill):
    assert not held_up(tmp_path, fill)


def test_with_operators_it_is_python_again(tmp_path):
    (found,) = held_up(tmp_path, operators=True)

    assert found.title == "Python code holds up the stage loss"
    assert found.confidence == "medium"
    assert found.cost_ns == pytest.approx(3_000_000, abs=120_000)


NSYS = Path(__file__).parents[3] / "shared" / "corpus" / "nsys"


@pytest.mark.skipif(not NSYS.is_dir(), reason="the corpus of real exports is not here")
def test_of_real_exports_without_operators_no_python_is_told():
    """And weights that are streamed from the host in every step are told, though not all launches are there."""
    reports = [examine(read_trace(source)) for path in sorted(NSYS.glob("*.sqlite")) for source in find_traces(path)]
    findings = [(finding, report) for report in reports for finding in diagnose([report])]

    assert len(reports) > 4
    assert not [finding for finding, report in findings if "Python" in finding.title and not report.operators]
    streamed = {(finding.code, finding.device) for finding, report in findings if "h100-2gpu" in report.path}
    assert {("COPY002", 0), ("COPY002", 1)} <= streamed
