"""Real Nsight Systems exports that others recorded, against figures that were computed independently."""

import json
from pathlib import Path

import pytest

import tbperf

CORPUS = Path(__file__).parents[3] / "shared" / "corpus"

pytestmark = pytest.mark.skipif(not CORPUS.is_dir(), reason="the corpus of public traces is not at hand")

EXPECTED = json.loads((CORPUS / "expected.json").read_text()) if CORPUS.is_dir() else {}
NSYS = sorted(name for name in EXPECTED if name.startswith("nsys/"))
GRAPHS = "nsys/graph-trace-2025.5.2.sqlite"


@pytest.fixture(scope="module", params=NSYS or ["none"])
def case(request):
    """Return the reports of a file's processes, and what is expected of them together."""
    return tbperf.analyze(CORPUS / request.param).traces, EXPECTED[request.param], request.param


def test_windows_and_shares_are_exact(case):
    traces, expected, name = case
    found = {str(d.device): d for trace in traces for d in trace.devices}

    assert found.keys() == expected["devices"].keys()
    for device, e in expected["devices"].items():
        d = found[device]
        if name == GRAPHS:
            continue
        assert (d.window_ns, d.busy_ns, d.idle_ns) == (e["span_ns"], e["busy_ns"], e["idle_ns"])
    for d in found.values():
        owned = d.compute_ns + d.exposed_comm_ns + d.exposed_memcpy_ns + d.exposed_memset_ns
        assert (owned, owned + d.idle_ns) == (d.busy_ns, d.window_ns)


@pytest.mark.skipif(not CORPUS.is_dir(), reason="the corpus of public traces is not at hand")
def test_replays_of_graphs_are_busy_time_beyond_what_kernels_tell():
    """The expectation knows kernels and copies alone, and calls the device idle while two graphs run behind them."""
    (trace,) = tbperf.analyze(CORPUS / GRAPHS).traces
    (device,) = trace.devices
    (e,) = EXPECTED[GRAPHS]["devices"].values()
    graphs = ((339410404, 339412132), (339416612, 339417988))

    assert device.graphs == 2
    assert device.busy_ns == e["busy_ns"] + sum(end - start for start, end in graphs)
    assert device.window_ns == graphs[-1][1] - e["first"]
    assert device.kernel_ns == e["kernel_only_busy_ns"]
    assert device.exposed_memcpy_ns == e["memcpy_not_hidden_ns"]


def test_the_longest_gaps_are_the_same(case):
    traces, expected, name = case

    for device, e in expected["devices"].items():
        gaps = [gap.dur_ns for trace in traces for gap in trace.gaps if str(gap.device) == device]
        wanted = e["top5_gaps_ns"]
        assert (gaps[: len(wanted)] == wanted) if name != GRAPHS else set(wanted) <= set(gaps)


def test_kernels_and_copies_are_counted_and_summed(case):
    traces, expected, _ = case
    devices = [d for trace in traces for d in trace.devices]
    kernels = {}
    for trace in traces:
        for row in trace.kernels:
            calls, total = kernels.get(row.name, (0, 0))
            kernels[row.name] = (calls + row.calls, total + row.total_ns)

    assert sum(d.kernels for d in devices) == expected["kernels"]
    assert sum(d.memcpys for d in devices) == expected["memcpys"]
    assert sum(d.memsets for d in devices) == expected["memsets"]
    assert sum(d.kernel_ns for d in devices) == expected["kernel_time_ns"]
    assert len(kernels) == expected["distinct_kernels"]
    assert sorted(kernels.values(), key=lambda row: -row[1])[:5] == [
        (k["calls"], k["total_ns"]) for k in expected["top5_kernels"]
    ]


def test_copies_are_summed_by_direction(case):
    traces, expected, _ = case
    found = {}
    for row in (row for trace in traces for row in trace.memcpy):
        count, size, total = found.get(row.copy_kind, (0, 0, 0))
        found[row.copy_kind] = (count + row.calls, size + row.bytes, total + row.total_ns)

    assert found == {kind: (e["count"], e["bytes"], e["total_ns"]) for kind, e in expected["memcpy"].items()}


def test_nothing_is_dropped_and_every_idle_nanosecond_has_a_cause(case):
    traces, _, _ = case

    for trace in traces:
        assert not trace.dropped
        assert not trace.truncated
        for device in trace.devices:
            assert sum(row.idle_ns for row in trace.idle if row.device == device.device) == device.idle_ns
