"""What tbperf states of an Nsight Systems recording is what NVIDIA's tools print of the same file, to the digit.

Not compared are columns that tbperf does not state: contexts, ids and levels of ranges, and shared memory in MB.
"""

from collections import Counter

import numpy as np
import pytest

from tbperf.analyses.nsys.projection import (
    follow,
    project,
    sum_executions,
    sum_kernels_by_innermost_range,
    sum_kernels_by_range,
    sum_projections,
)
from tbperf.analyses.nsys.rules import (
    find_blocking_copies,
    find_blocking_memsets,
    find_gaps,
    find_low_use,
    find_pageable_async_copies,
    find_syncs,
)
from tbperf.analyses.nsys.sums import (
    memory_operations,
    range_name,
    sum_api_calls,
    sum_kernels,
    sum_kernels_by_shape,
    sum_memory_by_size,
    sum_memory_by_time,
    sum_os_calls,
    sum_ranges,
)
from tbperf.intervals import Tiling, sum_by
from tbperf.trace import HOST_MEMORY, NONE, RANGE_STYLES
from tests.analyses.nsys.nvidia import (
    NSYS,
    VERSIONS,
    begin,
    operation,
    pid,
    printed,
    printed_megabytes,
    spread,
    synthetic,
    table,
    traces_of,
)

pytestmark = pytest.mark.skipif(not NSYS.is_dir(), reason="NVIDIA's answers are not at hand")

STYLES = {"PushPop": "push/pop", "StartEnd": "start/end"}


@pytest.fixture(scope="module", params=VERSIONS)
def version(request):
    return request.param


@pytest.fixture(scope="module")
def traces(version, tmp_path_factory):
    return traces_of(synthetic(tmp_path_factory.mktemp("nsys"), "--schema", version))


def file_of(version, new, old):
    return new if version == "2023.4" else old


def figures(rows, name="Name"):
    """Return NVIDIA's sums by name: share, total, count, and how they lie."""
    count = next(key for key in ("Instances", "Num Calls", "Count") if key in rows[0])
    return {row[name]: (row["Time (%)"], int(row["Total Time (ns)"]), int(row[count]), *spread(row)) for row in rows}


def ours(rows):
    return {row.name: (f"{100 * row.share:.1f}", row.ns.total, row.calls, *printed(row.ns)) for row in rows}


def test_kernel_sums(traces):
    assert ours(sum_kernels(traces)) == figures(table("2023.4", "cuda_gpu_kern_sum"))


def base(name):
    """Return a kernel's name as NVIDIA shortens it."""
    return name.split("(")[0].split("<")[0].split("::")[-1].split(" ")[-1]


def test_kernel_sums_by_base_name(traces):
    assert ours(sum_kernels(traces, base)) == figures(table("2023.4", "cuda_gpu_kern_sum_base"))


def shape(row):
    return "{}×{}×{} of {}×{}×{}".format(*row["GridXYZ"].split(), *row["BlockXYZ"].split())


@pytest.mark.parametrize(
    ("of", "name", "file"),
    [("2023.4", str, "cuda_gpu_kern_gb_sum"), ("2022.4", str, "gpukernsum"), ("2022.4", base, "gpukernsum_base")],
)
def test_kernel_sums_by_shape(traces, of, name, file):
    rows = table(of, file)

    assert {
        (name(row.name), row.grid): (f"{100 * row.share:.1f}", row.ns.total, row.calls, *printed(row.ns))
        for row in sum_kernels_by_shape(traces)
    } == {
        (row["Name"], shape(row)): (row["Time (%)"], int(row["Total Time (ns)"]), int(row["Instances"]), *spread(row))
        for row in rows
    }


def test_memory_sums_by_time(version, traces):
    rows = table(version, file_of(version, "cuda_gpu_mem_time_sum", "gpumemtimesum"))
    expected = {operation(name): row for name, row in figures(rows, "Operation").items()}

    assert ours(sum_memory_by_time(traces)) == expected


def test_memory_sums_by_size(version, traces):
    rows = table(version, file_of(version, "cuda_gpu_mem_size_sum", "gpumemsizesum"))

    assert {
        row.name: (f"{row.bytes.total / 1e6:.3f}", row.calls, *printed_megabytes(row.bytes))
        for row in sum_memory_by_size(traces)
    } == {operation(r["Operation"]): (r["Total (MB)"], int(r["Count"]), *spread(r, "MB")) for r in rows}


def test_api_sums(version, traces):
    assert ours(sum_api_calls(traces)) == figures(table(version, file_of(version, "cuda_api_sum", "cudaapisum")))


def test_os_sums(version, traces):
    assert ours(sum_os_calls(traces)) == figures(table(version, file_of(version, "osrt_sum", "osrtsum")))


@pytest.mark.parametrize(("new", "old"), [("cuda_gpu_sum", "gpusum"), ("cuda_api_gpu_sum", "apigpusum")])
def test_device_work_and_calls_together(version, traces, new, old):
    rows = table(version, file_of(version, new, old))
    if version == "2022.4":  # by shape: its kernels stand in several rows
        rows = [row for row in rows if row["Category"] != "CUDA_KERNEL"]
    calls = () if new == "cuda_gpu_sum" else sum_api_calls(traces)
    parts = [*sum_kernels(traces), *sum_memory_by_time(traces), *calls]
    whole = sum(row.ns.total for row in parts)
    found = {r.name: (f"{100 * r.ns.total / whole:.1f}", r.ns.total, r.calls, *printed(r.ns)) for r in parts}

    expected = {operation(name): row for name, row in figures(rows, "Operation").items()}
    assert {name: found[name] for name in expected} == expected
    assert version == "2022.4" or found.keys() == expected.keys()


def test_range_sums(version, traces):
    rows = table(version, file_of(version, "nvtx_sum", "nvtxsum"))

    assert {
        (row.style, row.name): (f"{100 * row.share:.1f}", row.ns.total, row.calls, *printed(row.ns))
        for row in sum_ranges(traces)
    } == {(STYLES[row["Style"]], row["Range"]): figures([row], "Range")[row["Range"]] for row in rows}


@pytest.mark.parametrize(
    ("style", "new", "old"),
    [("push/pop", "nvtx_pushpop_sum", "nvtxppsum"), ("start/end", "nvtx_startend_sum", "nvtxsesum")],
)
def test_range_sums_by_style(version, traces, style, new, old):
    mine = [row for row in sum_ranges(traces) if row.style == style]
    whole = sum(row.ns.total for row in mine)

    assert {
        row.name: (f"{100 * row.ns.total / whole:.1f}", row.ns.total, row.calls, *printed(row.ns)) for row in mine
    } == figures(table(version, file_of(version, new, old)), "Range")


def test_range_trace(version, traces):
    """Each range with its times, and the time in it that no range inside of it covers.

    2023.4 contradicts its own sums (160 ms) on a range that was never closed: here it lasts no time.
    """
    found = Counter()
    for trace in traces:
        rows = np.flatnonzero(trace.ranges["style"] == RANGE_STYLES.index("push/pop"))
        for thread in np.unique(trace.ranges["thread"][rows]).tolist():
            mine = rows[trace.ranges["thread"][rows] == thread]
            start, end = trace.ranges["start_ns"][mine], trace.ranges.end_ns[mine]
            inner = Tiling.innermost(start, end)
            own = sum_by(inner.label, inner.end - inner.start, len(mine))
            for row, own_ns in zip(mine.tolist(), own.tolist(), strict=True):
                name = range_name(trace, trace.ranges["name"][row], trace.ranges["domain"][row])
                at = int(trace.ranges["start_ns"][row]) + begin(trace)
                dur = int(trace.ranges["dur_ns"][row])
                found[name, at, at + dur, dur, own_ns, pid(trace), trace.threads[thread].tid] += 1

    columns = ("Start (ns)", "End (ns)", "Duration (ns)", "DurNonChild (ns)", "PID", "TID")
    expected = Counter(
        (r["Name"], *(int(r[k]) for k in columns))
        for r in table(version, file_of(version, "nvtx_pushpop_trace", "nvtxpptrace"))
    )
    if version == "2023.4":
        assert expected.pop(("never popped", 2_040_000_000, 2_040_000_000, 0, 0, 4242, 4242))
        assert found.pop(("never popped", 2_040_000_000, 2_200_000_000, 160_000_000, 160_000_000, 4242, 4242))
    assert found == expected


def test_api_trace(version, traces):
    found = Counter()
    for trace in traces:
        for start, dur, name, correlation, thread in zip(
            *(trace.api[c].tolist() for c in ("start_ns", "dur_ns", "name", "correlation_id", "thread")), strict=True
        ):
            at = trace.threads[thread]
            found[start + begin(trace), dur, trace.strings[name], correlation, at.pid, at.tid] += 1

    assert found == Counter(
        (int(r["Start (ns)"]), int(r["Duration (ns)"]), r["Name"], int(r["CorrID"]), int(r["Pid"]), int(r["Tid"]))
        for r in table(version, file_of(version, "cuda_api_trace", "cudaapitrace"))
    )


def test_device_trace(version, traces):
    """Times, ids, launch shapes, sizes and speeds, host memory, devices and streams of every operation."""
    found = Counter()
    for trace in traces:
        names, sort = memory_operations(trace)
        gpus = {gpu.device: gpu.name for gpu in trace.gpus}
        for row in range(len(trace.gpu)):
            g = {column: values[row].item() for column, values in trace.gpu.columns.items()}
            is_kernel = sort[row] == NONE
            speed = "" if is_kernel else f"{g['bytes'] * 1000 / g['dur_ns']:.3f}"
            found[
                g["start_ns"] + begin(trace),
                g["dur_ns"],
                g["correlation_id"],
                trace.strings[g["grid"]] if is_kernel else "",
                str(g["registers"]) if is_kernel else "",
                "" if is_kernel else f"{g['bytes'] / 1e6:.3f}",
                speed,
                "" if g["host_memory"] == NONE else HOST_MEMORY[g["host_memory"]],
                f"{gpus[g['device']]} ({g['device']})",
                g["stream"],
                trace.strings[g["name"]] if is_kernel else names[sort[row]],
            ] += 1

    assert found == Counter(
        (
            int(r["Start (ns)"]),
            int(r["Duration (ns)"]),
            int(r["CorrId"]),
            "{GrdX}×{GrdY}×{GrdZ} of {BlkX}×{BlkY}×{BlkZ}".format(**r) if r["GrdX"] else "",
            r["Reg/Trd"],
            r["Bytes (MB)"],
            r[next(key for key in r if key.startswith("Throughput"))],
            next((k.lower() for k in (r["SrcMemKd"], r["DstMemKd"]) if k.lower() in HOST_MEMORY), ""),
            r["Device"],
            int(r["Strm"]),
            operation(r["Name"]),
        )
        for r in table(version, file_of(version, "cuda_gpu_trace", "gputrace"))
    )


def test_kernel_execution(version, traces):
    rows = table(version, file_of(version, "cuda_kern_exec_sum", "kernexecsum"))
    found = {}
    for trace in traces:
        for row in sum_executions(trace):
            found[pid(trace), row.thread, row.device, row.api, row.kernel] = (
                row.calls,
                row.queued_calls,
                *(printed(part) for part in (row.total_ns, row.api_ns, row.queue_ns, row.kernel_ns)),
            )

    assert found == {
        (int(r["PID"]), int(r["TID"]), int(r["DevId"]), r["API Name"], r["Kernel Name"]): (
            int(r["Count"]),
            int(r["QCount"]),
            *(spread(r, prefix=prefix) for prefix in "TAQK"),
        )
        for r in rows
    }


def test_kernel_execution_trace(version, traces):
    found = Counter()
    for trace in traces:
        way = follow(trace)
        for kernel, call, queue, total in zip(way.kernel, way.call, way.queue_ns, way.total_ns, strict=True):
            found[
                trace.api["start_ns"][call] + begin(trace),
                trace.api["dur_ns"][call],
                queue,
                trace.gpu["start_ns"][kernel] + begin(trace),
                trace.gpu["dur_ns"][kernel],
                total,
                trace.threads[trace.api["thread"][call]].tid,
                trace.gpu["device"][kernel],
                trace.strings[trace.gpu["name"][kernel]],
            ] += 1

    columns = ("API Start (ns)", "API Dur (ns)", "Queue Dur (ns)", "Kernel Start (ns)", "Kernel Dur (ns)")
    assert found == Counter(
        (*(int(r[k]) for k in (*columns, "Total Dur (ns)", "TID", "DevId")), r["Kernel Name"])
        for r in table(version, file_of(version, "cuda_kern_exec_trace", "kernexectrace"))
    )


def test_projections(traces):
    rows = table("2023.4", "nvtx_gpu_proj_sum")

    assert {
        row.name: (row.ns.total, row.range_ns, row.ranges, *printed(row.ns), row.operations)
        for row in sum_projections(traces)
    } == {
        r["Range"]: (
            int(r["Total Proj Time (ns)"]),
            int(r["Total Range Time (ns)"]),
            int(r["Range Instances"]),
            *spread({key.removeprefix("Proj "): value for key, value in r.items()}),
            int(r["Total GPU Ops"]),
        )
        for r in rows
    }


def test_projection_trace(version, traces):
    found = Counter()
    for trace in traces:
        shown = project(trace)
        for row, start, end, count in zip(shown.row, shown.start_ns, shown.end_ns, shown.operations, strict=True):
            found[
                range_name(trace, trace.ranges["name"][row], trace.ranges["domain"][row]),
                start + begin(trace),
                end - start,
                trace.ranges["start_ns"][row] + begin(trace),
                trace.ranges["dur_ns"][row],
                pid(trace),
                count,
            ] += 1

    columns = ("Projected Start (ns)", "Projected Duration (ns)", "Orig Start (ns)", "Orig Duration (ns)")
    assert found == Counter(
        (r["Name"], *(int(r[k]) for k in (*columns, "PID", "NumGPUOps")))
        for r in table(version, file_of(version, "nvtx_gpu_proj_trace", "nvtxgpuproj"))
        if r["Name"]  # 2023.4 adds a row for work that no range asked for
    )


def test_kernels_by_range(version, traces):
    assert Counter(
        (row.range or "", row.thread, row.ranges, row.calls, row.ns.total, *printed(row.ns), row.kernel)
        for row in sum_kernels_by_range(traces)
    ) == Counter(
        (
            *(r["NVTX Range"], int(r["TID"]), int(r["NVTX Inst"]), int(r["Kern Inst"])),
            *(int(r["Total Time (ns)"]), *spread(r), r["Kernel Name"]),
        )
        for r in table(version, file_of(version, "nvtx_kern_sum", "nvtxkernsum"))
    )


def test_kernels_by_innermost_range(traces):
    """NVIDIA leaves the domain out here."""
    assert Counter(
        ("/".join(filter(None, ((row.range or "").rpartition(":")[2], row.kernel))), row.calls, row.ns.total)
        for row in sum_kernels_by_innermost_range(traces)
    ) == Counter(
        (r["Name"], int(r["Instances"]), int(r["Total Time (ns)"]))
        for r in table("2023.4", "cuda_gpu_kern_sum_nvtx-name")
    )


def placed(row):
    return int(row["Duration (ns)"]), int(row["Start (ns)"]), int(row["PID"]), int(row["Device ID"])


def ours_placed(traces, find):
    found = [(r.dur_ns, r.start_ns + begin(t), pid(t), r.device) for t in traces for r in find(t)]
    return sorted(found, key=lambda row: (-row[0], row[1]))


@pytest.mark.parametrize(("gap", "suffix"), [(500_000_000, ""), (1_000_000, "_gap=1")])
def test_gaps(version, traces, gap, suffix):
    rows = table(version, f"rule_{file_of(version, 'gpu_gaps', 'gpu-starv')}{suffix}")

    assert ours_placed(traces, lambda trace: find_gaps(trace, gap)) == [placed(row) for row in rows]


@pytest.mark.parametrize(("share", "chunks", "suffix"), [(0.5, 30, ""), (1.01, 10, "_threshold=101_chunks=10")])
def test_low_use(traces, share, chunks, suffix):
    rows = table("2023.4", f"rule_gpu_time_util{suffix}")
    found = [
        (f"{100 * r.use:.1f}", r.dur_ns, r.start_ns + begin(t), pid(t), r.device)
        for t in traces
        for r in find_low_use(t, share, chunks)
    ]

    assert sorted(found, key=lambda row: float(row[0])) == [(row["In-Use (%)"], *placed(row)) for row in rows]


def test_low_use_of_2022_4_is_wrong_where_there_are_several_devices(traces):
    """It cuts the stretches of one device where another one is at work, and gives each part a use of its own.

    Ours, like 2023.4's, is right: the use of each stretch is that of the device's own operations and of flushing.
    """
    theirs = [(row["In-Use (%)"], *placed(row)) for row in table("2022.4", "rule_gpu-low-util")]
    found = {(r.start_ns + begin(t), pid(t), r.device): r for t in traces for r in find_low_use(t)}

    assert len(theirs) > len(found)
    for t in traces:
        for row in find_low_use(t):
            here = t.gpu["device"] == row.device
            start, end = t.gpu["start_ns"][here], t.gpu.end_ns[here]
            flush = t.overhead.rows(t.named(t.overhead, lambda name: "flush" in name))
            start, end = np.r_[start, flush["start_ns"]], np.r_[end, flush.end_ns]
            inside = np.minimum(end, row.start_ns + row.dur_ns) - np.maximum(start, row.start_ns)
            assert row.use == pytest.approx(int(np.maximum(inside, 0).sum()) / row.dur_ns)


@pytest.mark.parametrize(
    ("find", "new", "old"),
    [
        (find_pageable_async_copies, "cuda_memcpy_async", "cuda-async-memcpy"),
        (find_blocking_copies, "cuda_memcpy_sync", "cuda-sync-memcpy"),
        (find_blocking_memsets, "cuda_memset_sync", "cuda-sync-memset"),
    ],
)
def test_memory_rules(version, traces, find, new, old):
    found = Counter()
    for trace in traces:
        for row in find(trace):
            at = (row.dur_ns, row.start_ns + begin(trace), pid(trace), row.device)
            found[(*at, row.stream, row.host_memory, f"{row.bytes / 1e6:.3f}", row.api)] += 1

    assert found == Counter(
        (
            *placed(r),
            int(r["Stream ID"]),
            next(r[k].lower() for k in ("Src Kind", "Dst Kind", "Memory Kind") if r.get(k, "").lower() in HOST_MEMORY),
            r["Bytes (MB)"],
            r["API Name"].rpartition("_v")[0],
        )
        for r in table(version, f"rule_{file_of(version, new, old)}")
    )


def test_synchronizing_calls(version, traces):
    assert Counter(
        (r.dur_ns, r.start_ns + begin(t), pid(t), r.thread, r.api) for t in traces for r in find_syncs(t)
    ) == Counter(
        (
            *(int(r[k]) for k in ("Duration (ns)", "Start (ns)", "PID", "TID")),
            r["API Name"].rpartition("_v")[0],
        )
        for r in table(version, f"rule_{file_of(version, 'cuda_api_sync', 'cuda-sync-api')}")
    )
