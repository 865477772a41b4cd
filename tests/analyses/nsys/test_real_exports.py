"""A real export against what NVIDIA printed about it, and exports whose answers are known by construction."""

import json
import re

import pytest

from tbperf.analyses.accounting import account
from tbperf.analyses.nsys.rules import find_gaps
from tbperf.analyses.nsys.sums import (
    sum_api_calls,
    sum_kernels,
    sum_memory_by_size,
    sum_memory_by_time,
    sum_ranges,
)
from tests.analyses.nsys.nvidia import (
    NSYS,
    SHARED,
    begin,
    operation,
    pid,
    printed,
    printed_megabytes,
    synthetic,
    traces_of,
)

pytestmark = pytest.mark.skipif(not NSYS.is_dir(), reason="NVIDIA's answers are not at hand")

FUSER = SHARED / "corpus" / "nsys" / "fuser"


@pytest.fixture(scope="module")
def fuser():
    return traces_of(FUSER.with_suffix(".sqlite"))


def printed_by_nvidia(report):
    """Return the rows of one table of the text that `nsys stats` printed, cell by cell."""
    text = FUSER.with_suffix(".nsys-stats.txt").read_text()
    body = re.search(rf"Executing '{report}' stats report\n(.*?)(?:\n\[|\nGenerated|\Z)", text, re.DOTALL)[1]
    lines = [line for line in body.splitlines() if line.strip()]
    assert set(lines[1]) <= {"-", " "}
    columns = [(m.start(), m.end()) for m in re.finditer("-+", lines[1])]
    ends = [end for _, end in columns[:-1]] + [None]
    starts = [0] + [end for _, end in columns[:-1]]
    return [tuple(line[a:b].strip() for a, b in zip(starts, ends, strict=True)) for line in lines[2:]]


def comparable(row):
    return f"{100 * row.share:.1f}", str(row.ns.total), str(row.calls), *printed(row.ns)


@pytest.mark.parametrize(("report", "find"), [("cuda_gpu_kern_sum", sum_kernels), ("cuda_api_sum", sum_api_calls)])
def test_sums_of_a_real_export(fuser, report, find):
    """Names are cut at 100 characters by NVIDIA; API names lose their version, of which NVIDIA leaves some."""

    def name(text):
        return re.sub(r"_v\d{4,5}$", "", text) if len(text) < 100 else text[:99]

    assert sorted((*comparable(row), name(row.name)) for row in find(fuser)) == sorted(
        (*row[:-1], name(row[-1])) for row in printed_by_nvidia(report)
    )


def test_memory_of_a_real_export(fuser):
    assert {row.name: comparable(row) for row in sum_memory_by_time(fuser)} == {
        operation(row[-1]): row[:-1] for row in printed_by_nvidia("cuda_gpu_mem_time_sum")
    }
    assert {
        row.name: (f"{row.bytes.total / 1e6:.3f}", str(row.calls), *printed_megabytes(row.bytes))
        for row in sum_memory_by_size(fuser)
    } == {operation(row[-1]): row[:-1] for row in printed_by_nvidia("cuda_gpu_mem_size_sum")}


def test_ranges_of_a_real_export(fuser):
    """NVIDIA puts a colon before names in the default domain; ours stand alone."""
    assert {row.name: comparable(row) for row in sum_ranges(fuser)} == {
        row[-1].removeprefix(":"): row[:-2] for row in printed_by_nvidia("nvtx_sum")
    }


@pytest.mark.parametrize("schema", ["2022.4", "2023.4", "2026.4"])
@pytest.mark.parametrize("collide", [(), ("--collide",)], ids=["", "ids collide"])
def test_devices_are_as_they_were_made(tmp_path, schema, collide):
    """Both processes number their calls from 1 where ids collide: only those of the same process belong together."""
    path = synthetic(tmp_path, "--schema", schema, *collide)
    expected = json.loads(path.with_suffix(".expected.json").read_text())
    seen = {}
    for trace in traces_of(path):
        assert (trace.launched_by >= 0).all()
        for device in account(trace):
            graphs = 5_000_000 * device.graphs
            (first, _) = trace.windows[device.device]
            seen[f"{pid(trace)}/{device.device}"] = (
                device.kernels + device.memcpys + device.memsets,
                device.busy_ns - graphs,
                first + begin(trace),
                [gap.dur_ns for gap in find_gaps(trace, 0) if gap.device == device.device][:3],
            )

    assert seen == {
        name: (e["ops"], e["busy_ns"], e["first_ns"], e["gaps_minus_overhead_ns_desc"][:3])
        for name, e in expected["devices"].items()
    }
    found = {
        row.name: {"count": row.calls, "total_ns": row.ns.total, "min_ns": row.ns.min, "max_ns": row.ns.max}
        for row in sum_kernels(traces_of(path))
    }
    assert found == expected["kernels"]


def test_joins_by_id_alone_would_be_false(tmp_path):
    """The test above could not fail if the ids did not collide."""
    first, second = traces_of(synthetic(tmp_path, "--collide"))

    assert set(first.api["correlation_id"].tolist()) & set(second.gpu["correlation_id"].tolist())
