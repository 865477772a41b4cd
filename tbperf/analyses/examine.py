"""All answers about one trace, as plain data.  Field names are those of the JSON report."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from tbperf.analyses.accounting import DeviceTime, account
from tbperf.analyses.collectives import Collectives, sum_collectives
from tbperf.analyses.copies import Copies, Copy, list_copies, sum_copies
from tbperf.analyses.cores import Cores, ThreadsAtOnce, count_threads, measure_cores
from tbperf.analyses.hardware import HardwareSeries, Throttling, find_throttling, summarize_hardware
from tbperf.analyses.host import HostLedger, HostWork, keep_host_ledger
from tbperf.analyses.idle import Gap, GapsOfLength, Idle, IdleCause, attribute
from tbperf.analyses.kernels import Hotspot, KernelFamily, find_hotspots, sum_families
from tbperf.analyses.launches import Calls, Launches, count_launches, find_allocations, find_module_loads, find_syncs
from tbperf.analyses.loader import (
    LoaderWork,
    LoaderWorker,
    Loading,
    has_loading,
    list_workers,
    sum_loader_work,
    weigh_loader,
)
from tbperf.analyses.memory import MemoryUse, measure_memory
from tbperf.analyses.module_calls import has_modules
from tbperf.analyses.modules import ModelPart, Module, Modules, sum_modules
from tbperf.analyses.nsys import Nsys, state
from tbperf.analyses.operators import (
    HostThread,
    Operator,
    OperatorShapes,
    has_shapes,
    measure_threads,
    sum_operator_shapes,
    sum_operators,
)
from tbperf.analyses.replay import WhatIf, explore
from tbperf.analyses.rows import LeftOut, Rows, Skipped
from tbperf.analyses.speed import Speed, has_images, measure_speed
from tbperf.analyses.steps import Stage, Step, host_window, list_stages, list_steps
from tbperf.analyses.unprofiled import Unprofiled, correct_for_profiling
from tbperf.trace import Gpu, Run, Trace
from tbperf.trace.names import GRAPH_LAUNCH, KERNEL_LAUNCH

_VERSIONS = ("torch", "cuda", "nsys", "ultralytics")


@dataclass(frozen=True)
class Analysis:
    """One question, what it needs of the trace, and the pure function that answers it."""

    name: str
    needs: tuple[str, ...]
    run: Callable[[Trace], Any]


ANALYSES = (
    Analysis("devices", ("gpu",), account),
    Analysis("idle", ("gpu",), attribute),
    Analysis("what_if", ("gpu",), explore),
    Analysis("kernels", ("gpu",), find_hotspots),
    Analysis("families", ("gpu",), sum_families),
    Analysis("memcpy", ("gpu",), sum_copies),
    Analysis("copies", ("gpu",), list_copies),
    Analysis("collectives", ("gpu",), sum_collectives),
    Analysis("launches", ("api", "gpu"), count_launches),
    Analysis("syncs", ("api",), find_syncs),
    Analysis("allocations", ("api",), find_allocations),
    Analysis("module_loads", ("api",), find_module_loads),
    Analysis("steps", ("steps",), list_steps),
    Analysis("stages", ("host",), list_stages),
    Analysis("host_work", ("host",), keep_host_ledger),
    Analysis("cores", ("host",), measure_cores),
    Analysis("threads_at_once", ("host",), count_threads),
    Analysis("operators", ("ops",), sum_operators),
    Analysis("operator_shapes", ("ops", "shapes"), sum_operator_shapes),
    Analysis("threads", ("ops", "host"), measure_threads),
    Analysis("modules", ("modules",), sum_modules),
    Analysis("speed", ("steps", "images"), measure_speed),
    Analysis("memory", ("memory",), measure_memory),
    Analysis("loading", ("loading", "host"), weigh_loader),
    Analysis("loader_work", ("loading", "host"), sum_loader_work),
    Analysis("loader_workers", ("loading", "host"), list_workers),
    Analysis("hardware", ("samples",), summarize_hardware),
    Analysis("throttling", ("samples",), find_throttling),
)


@dataclass(frozen=True)
class TraceReport:
    """What was found in the trace of one rank, or of one window of a run.  Times are nanoseconds."""

    path: str
    format: str
    rank: int | None
    world_size: int | None
    """Ranks of the distributed job; null where the recorder does not tell."""
    phase: str | None
    """What ran while it was recorded: train, val or predict; null where the recorder does not tell."""
    run: Run | None
    """The account of the run folder that the trace lies in."""
    bytes: int
    events: int
    resolution_ns: int
    """Smallest step of the timestamps."""
    gpus: tuple[Gpu, ...]
    versions: Mapping[str, str | None]
    dropped: Mapping[str, int]
    notes: tuple[str, ...]
    warnings: tuple[str, ...]
    """What the recorder itself warned of."""
    truncated: bool
    linked_share: float | None
    """Share of device work whose launch is in the trace; null without device work."""
    devices: Rows[DeviceTime]
    idle: Rows[IdleCause]
    gaps: Rows[Gap]
    gap_lengths: Rows[GapsOfLength]
    what_if: Rows[WhatIf]
    """What removing a cause would save, by replaying the run without it."""
    kernels: Rows[Hotspot]
    families: Rows[KernelFamily]
    memcpy: Rows[Copies]
    copies: Rows[Copy]
    """The dearest ones, one by one."""
    collectives: Rows[Collectives]
    launches: Launches | None
    syncs: Rows[Calls]
    allocations: Rows[Calls]
    module_loads: Rows[Calls]
    steps: Rows[Step]
    stages: Rows[Stage]
    host_work: Rows[HostWork]
    """What the host did with the time of the steps."""
    speed: Speed | None
    cores: Cores | None
    threads_at_once: Rows[ThreadsAtOnce]
    operators: Rows[Operator]
    operator_shapes: Rows[OperatorShapes]
    threads: Rows[HostThread]
    module_source: str | None
    """What told modules apart: Python calls (``python``), the recorder's ranges (``ranges``), or operators with the
    shapes of their weights (``shapes``); null where nothing did."""
    modules: Rows[Module]
    model_parts: Rows[ModelPart]
    memory: Rows[MemoryUse]
    loading: Loading | None
    loader_work: Rows[LoaderWork]
    loader_workers: Rows[LoaderWorker]
    hardware: Rows[HardwareSeries]
    throttling: Rows[Throttling]
    nsys: Nsys | None
    """What NVIDIA's tools would state of it; null for recordings of other recorders."""
    skipped: tuple[Skipped, ...]
    left_out: tuple[LeftOut, ...] = ()
    """What lists of this report do not hold, because there is too much of it."""
    unprofiled: Unprofiled | None = None
    """What the steps take without the profiler; null where the run has no log of others."""
    recorded_unix_ns: int | None = None
    """When the recording began, on the system clock; null where the recorder does not tell."""


def examine(trace: Trace) -> TraceReport:
    """Run all analyses on one trace."""
    answers = {analysis.name: _answer(analysis, trace) for analysis in ANALYSES}
    idle = answers["idle"]
    launches, loading, modules = answers["launches"], answers["loading"], answers["modules"]
    ledger, speed, cores = answers["host_work"], answers["speed"], answers["cores"]
    return TraceReport(
        path=trace.path,
        format=trace.format,
        rank=trace.rank,
        world_size=trace.world_size,
        run=trace.run,
        phase=_text(trace.recording.get("phase")),
        bytes=trace.bytes,
        events=trace.events,
        resolution_ns=trace.resolution_ns,
        gpus=trace.gpus,
        versions={name: trace.versions.get(name) for name in dict.fromkeys((*_VERSIONS, *trace.versions))},
        dropped=dict(trace.dropped),
        notes=trace.notes,
        warnings=trace.warnings,
        truncated=trace.truncated,
        linked_share=float((trace.launched_by >= 0).mean()) if trace.has("gpu") else None,
        idle=idle.causes if isinstance(idle, Idle) else Rows(),
        gaps=idle.gaps if isinstance(idle, Idle) else Rows(),
        gap_lengths=idle.lengths if isinstance(idle, Idle) else Rows(),
        launches=launches if isinstance(launches, Launches) else None,
        loading=loading if isinstance(loading, Loading) else None,
        steps=_with_work(_with_causes(_rows(answers["steps"]), idle), ledger),
        stages=_with_stage_work(_rows(answers["stages"]), ledger),
        host_work=ledger.work if isinstance(ledger, HostLedger) else Rows(),
        speed=speed if isinstance(speed, Speed) else None,
        cores=cores if isinstance(cores, Cores) else None,
        module_source=modules.source if isinstance(modules, Modules) else None,
        modules=modules.rows if isinstance(modules, Modules) else Rows(),
        model_parts=modules.parts if isinstance(modules, Modules) else Rows(),
        **{name: _rows(answers[name]) for name in _ROW_LISTS},
        nsys=state(trace) if trace.format == "nsys" else None,
        skipped=tuple(found for found in answers.values() if isinstance(found, Skipped)),
        left_out=tuple(_left_out(trace, answers)),
        unprofiled=correct_for_profiling(trace, _rows(answers["devices"])),
        recorded_unix_ns=trace.origin_unix_ns,
    )


_OTHERS = {"idle", "launches", "loading", "modules", "steps", "stages", "host_work", "speed", "cores"}
_ROW_LISTS = [analysis.name for analysis in ANALYSES if analysis.name not in _OTHERS]
"""Analyses whose answer is a list of rows, which stands in the report under the analysis' name."""


def _left_out(trace: Trace, answers: Mapping[str, Any]) -> Iterator[LeftOut]:
    """Yield what is left out, list by list."""
    if trace.more_devices:
        yield LeftOut("devices", trace.more_devices, trace.more_devices_ns, "ns")
    if trace.more_stages:
        stages, ns = trace.more_stages
        yield LeftOut("stages", stages, ns, "ns", trace.stage_names[-1])
    modules = answers["modules"]
    if isinstance(modules, Modules) and modules.deeper:
        yield LeftOut("modules", modules.deeper, modules.deeper_ns, "ns", "the module around each")
    lists = {name: found.rows if isinstance(found, Modules) else found for name, found in answers.items()}
    for name, rows in lists.items():
        if isinstance(rows, Rows) and rows.rest is not None:
            yield LeftOut(name, rows.rest.rows, rows.rest.cost, "B" if name == "memory" else "ns")


def _with_causes(steps: Rows[Step], idle: Any) -> Rows[Step]:
    if not isinstance(idle, Idle):
        return steps
    return Rows(replace(step, cause=causes) for step, causes in zip(steps, idle.steps, strict=True))


def _with_work(steps: Rows[Step], ledger: Any) -> Rows[Step]:
    if not isinstance(ledger, HostLedger):
        return steps
    return Rows(replace(step, work=work) for step, work in zip(steps, ledger.steps, strict=True))


def _with_stage_work(stages: Rows[Stage], ledger: Any) -> Rows[Stage]:
    if not isinstance(ledger, HostLedger):
        return stages
    return Rows(replace(stage, work=ledger.stages.get(stage.stage, {})) for stage in stages)


def _rows(found: Any) -> Rows[Any]:
    return found if isinstance(found, Rows) else Rows()


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _answer(analysis: Analysis, trace: Trace) -> Any:
    missing = [reason for need in analysis.needs if (reason := _why_missing(need, trace))]
    return Skipped(analysis.name, missing[0]) if missing else trace.once(analysis.run)


_NO_MODULES = "the trace has neither calls of modules nor operators with the shapes of weights (record with --shapes)"


def _why_missing(need: str, trace: Trace) -> str | None:
    """Say why the trace does not have something; None where it does."""
    needs: dict[str, tuple[Callable[[], object], str]] = {
        "steps": (lambda: len(trace.steps), "the trace marks no steps (ProfilerStep#n)"),
        "modules": (lambda: has_modules(trace), _NO_MODULES),
        "shapes": (lambda: has_shapes(trace), "the trace has no shapes of operators (record with --shapes)"),
        "host": (lambda: len(host_window(trace)), "the trace has no host events that take time"),
        "api": (lambda: trace.has("api"), "the trace has no runtime calls"),
        "ops": (lambda: trace.has("ops"), "the trace has no framework operators"),
        "memory": (lambda: trace.has("memory"), "the trace has no allocations (record with --memory)"),
        "loading": (lambda: has_loading(trace), "what loader workers did was not recorded"),
        "samples": (lambda: trace.has("samples"), "the hardware was not sampled"),
        "images": (lambda: has_images(trace), "how many images a step had was not recorded"),
        "gpu": (lambda: trace.has("gpu"), ""),
    }
    there, reason = needs[need]
    return None if there() else reason or _why_no_gpu_work(trace)


def _why_no_gpu_work(trace: Trace) -> str:
    launches = sum(int(trace.named(trace.api, p.match).sum()) for p in (KERNEL_LAUNCH, GRAPH_LAUNCH))
    if launches:
        return (
            f"kernel launches: {launches:,}, but no GPU activity: the recorder had no access to the GPU's"
            " counters (WSL2, containers and CUPTI rights are the usual causes)"
        )
    devices = trace.run.devices(_text(trace.recording.get("phase"))) if trace.run else ()
    if not trace.run or not devices:
        return "the trace has no GPU activity: the run used the CPU, or only CPU activities were recorded"
    if devices != ("cpu",):
        return (
            f"the trace has no GPU activity, though torch computed on {', '.join(devices)}: only CPU activities were"
            " recorded, or the recorder had no access to the GPU's counters"
        )
    gpus, unseen = trace.run.hardware.get("gpus"), trace.run.hardware.get("gpus_unseen")
    about = "though the machine has a GPU" if gpus else f"and no GPU is visible{f' ({unseen})' if unseen else ''}"
    return f"the trace has no GPU activity: torch computed on the CPU, {about}"
