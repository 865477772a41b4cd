"""What it comes to: a sentence or two with the numbers that matter most, for one trace."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tbperf.findings.processor import unused_gpu
from tbperf.findings.thresholds import STRAGGLER
from tbperf.findings.words import CAUSES, WORK, format_bytes, format_ms, format_number, format_share, stage_words

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tbperf.analyses.accounting import DeviceTime
    from tbperf.analyses.examine import TraceReport
    from tbperf.analyses.ranks import Rank
    from tbperf.findings.finding import Finding

IDLE_SHARE = 0.10
"""From this share of the window on, idle time leads the verdict."""

EXPOSED_SHARE = 0.20
"""From this share of the window on, exposed copies or collectives lead it."""


def verdict(trace: TraceReport) -> Iterator[str]:
    """Say in a sentence or two where the time goes."""
    if trace.devices:
        yield from _about_the_gpu(trace, max(trace.devices, key=lambda row: row.idle_ns))
    elif failure := next((s.reason for s in trace.skipped if "but no GPU activity" in s.reason), None):
        if trace.steps:
            yield _sentence_of_the_host(trace, "on the host")
        yield f"The recording failed: {failure}."
        yield "So nothing can be said about the GPU; `tbperf doctor` on that machine tells what is missing."
    elif trace.stages or trace.operators:
        yield from _about_the_cpu(trace)
    else:
        yield "The trace holds no device work and no host events: there is nothing to analyze."


def _about_the_gpu(trace: TraceReport, device: DeviceTime) -> Iterator[str]:
    name = f"GPU {device.device}" if len(trace.devices) > 1 else "The GPU"
    window = max(1, device.window_ns)
    exposed = {
        "copies that no kernel hides": device.exposed_memcpy_ns,
        "collectives that no kernel hides": device.exposed_comm_ns,
    }
    what, cost = max(exposed.items(), key=lambda item: item[1])
    if device.idle_ns >= IDLE_SHARE * window and device.idle_ns >= cost:
        yield _sentence(f"{name} is idle", device.idle_ns, trace, window)
        causes = [row for row in trace.idle if row.device == device.device]
        if causes:
            yield f"{format_share(causes[0].idle_ns / device.idle_ns)} of that it is {CAUSES[causes[0].cause]}."
    elif cost >= EXPOSED_SHARE * window:
        yield _sentence(f"{name} moves data in {what}", cost, trace, window)
        if what.startswith("copies"):
            copies = next(row for row in trace.memcpy if row.device == device.device)
            sort = " ".join(filter(None, (copies.host_memory, copies.copy_kind, "copies")))
            share = format_share(min(1, copies.exposed_ns / cost))
            yield f"{share} of that are {sort}: {format_bytes(copies.bytes or 0)}."
    else:
        yield _sentence(f"{name} is busy", device.busy_ns, trace, window)
        kernels = [row for row in trace.kernels if row.device == device.device]
        if kernels:
            top = kernels[0]
            yield f"Its dearest kernel takes {format_share(top.share)} of the kernel time: {_short(top.name)}."


def _sentence(what: str, ns: int, trace: TraceReport, window: int) -> str:
    steps = len(trace.steps)
    amount = (
        f"{format_ms(ns / steps)} of each {format_ms(window / steps)} step"
        if steps > 1
        else f"{format_ms(ns)} of {format_ms(window)}"
    )
    return f"{what} {format_share(ns / window)} of the time: {amount}."


def about_ranks(ranks: Sequence[Rank]) -> Iterator[str]:
    """Name the rank that the others wait for, where they lose time by it."""
    if not ranks or not ranks[0].awaited_ns:
        return
    late = ranks[0]
    whole = sum(row.busy_ns + row.idle_ns for row in ranks)
    collectives = sum(row.last_in or 0 for row in ranks)
    if late.awaited_ns is not None and late.awaited_ns >= STRAGGLER * whole:
        yield (
            f"Rank {late.rank} came last to {late.last_in} of {collectives} collectives;"
            f" the other {len(ranks) - 1} waited {format_ms(late.awaited_ns / (len(ranks) - 1))} each for it."
        )


def recommendation(trace: TraceReport, findings: Sequence[Finding]) -> Iterator[str]:
    """Say what to try first and what it would save, where a finding of this trace tells."""
    mine = [f for f in findings if f.gain and f.advice]
    if not mine or mine[0].severity not in ("high", "medium"):
        return
    first, advice = mine[0], mine[0].advice[0]
    assert first.gain is not None  # noqa: S101 - chosen so
    steps = max(1, len(trace.steps))
    action = advice["action"]
    if advice["argument"] is not None and advice["to"] is not None:
        action += f" ({advice['argument']}={advice['to']})"
    low, high = (format_ms(ns / steps) for ns in (first.gain.low_ns, first.gain.high_ns))
    saved = f"up to {high}" if not first.gain.reaches_low else f"{low} to {high}"
    yield f"First thing to try: {action}. It could save {saved}{' a step' if trace.steps else ''}."


_PHASES = {"train": "A training step", "val": "A validation step", "predict": "A prediction step"}


def _about_the_cpu(trace: TraceReport) -> Iterator[str]:
    devices = trace.run.devices(trace.phase) if trace.run else ()
    hidden = any(device != "cpu" for device in devices)
    if trace.steps or any(row.stage for row in trace.stages):
        yield _sentence_of_the_host(trace, "on the host" if hidden else "on the CPU")
    else:
        yield "The run used the CPU; the trace marks neither steps nor stages."
    if hidden:
        yield f"torch computed on {', '.join(devices)}, but the recording does not show it: see `tbperf doctor`."
        return
    gpu, cores = unused_gpu(trace), trace.cores
    if gpu is not None:
        yield f"The machine has a GPU that it did not use ({gpu}): torch computed on the CPU."
    if cores is not None and cores.used_cores is not None and cores.usable_cores:
        threads = cores.intra_op_threads
        computes = f", torch computing with {threads} thread{'s' if threads != 1 else ''}" if threads else ""
        yield f"It keeps {cores.used_cores:.1f} of {cores.usable_cores:g} cores busy{computes}."
    elif trace.operators:
        top = trace.operators[0]
        share = format_share(top.share)
        yield f"Its dearest operator takes {share} of the operators' own time: {top.name}, {top.calls:,} calls."


def _sentence_of_the_host(trace: TraceReport, where: str) -> str:
    """Say how long a step takes and what makes up most of it: a sort of work or, around the model, a stage."""
    whole = max(1, sum(row.host_ns for row in trace.stages))
    parts = _parts(trace)
    named = ", ".join(f"{format_share(ns / whole)} in {what}" for what, ns in parts[:_PARTS_TOLD] if ns >= TOLD * whole)
    if not trace.steps:
        return f"The run used the CPU{': ' + named if named else ''}."
    mean = sum(row.dur_ns for row in trace.steps) / len(trace.steps)
    what = _PHASES.get(trace.phase or "", "A step")
    of, speed = "", trace.speed
    if speed is not None and speed.batch > 1:
        of = f" of {format_number(speed.batch)} images"
    pace = f" ({format_number(speed.images_per_s)} images/s)" if speed is not None and trace.phase != "train" else ""
    return f"{what}{of} takes {format_ms(mean)} {where}{pace}{': ' + named if named else ''}."


TOLD = 0.02
"""Below this share of the steps, a part is not worth a word in the verdict."""

_AROUND = {
    "nms",
    "postprocess",
    "metrics",
    "write",
    "consumer",
    "track",
    "save",
    "plot",
    "validate",
    "callbacks",
    "log",
}
"""Stages that stand for themselves in the verdict, whatever sort of work is done in them."""


def _parts(trace: TraceReport) -> list[tuple[str, int]]:
    """Split the time of the steps into parts that have a name for a reader, the largest first.

    A stage stands for itself only where it is told: otherwise a sort of work would lack what the tables count as it.
    """
    apart = set(_AROUND)
    while True:
        parts: dict[str, int] = {}
        for row in trace.stages:
            if row.stage in apart:
                parts[stage_words(row.stage)] = parts.get(stage_words(row.stage), 0) + row.host_ns
                continue
            for work, ns in row.work.items():
                parts[WORK[work]] = parts.get(WORK[work], 0) + ns
        largest = sorted(parts.items(), key=lambda part: -part[1])
        told = {what for what, _ in largest[:_PARTS_TOLD]}
        remain = {stage for stage in apart if stage_words(stage) in told}
        if remain == apart:
            return largest
        apart = remain


_PARTS_TOLD = 2


def _short(name: str, length: int = 60) -> str:
    return name if len(name) <= length else name[: length - 1] + "…"
