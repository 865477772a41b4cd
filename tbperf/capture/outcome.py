"""What was recorded: from journals, step logs and traces to the content of run.json."""

from __future__ import annotations

from statistics import fmean, median
from typing import TYPE_CHECKING, Any

from tbperf.capture.folder import read_journal
from tbperf.capture.summary import read_steps, stage_coverage, summarize_outside, summarize_steps

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from tbperf.capture.summary import Step

Event = dict[str, Any]


def read_outcome(folder: Path, traces: Sequence[Path]) -> dict[str, Any]:
    """Return what run.json says about a run beyond what was known before it began."""
    events = read_journal(folder)
    steps = read_steps(folder)
    arguments = {event["phase"]: event["arguments"] for event in reversed(_of("arguments", events))}
    shares = {trace.name: stage_coverage(trace) for trace in traces}
    windows = [_window(event, shares) for event in _of("window", events)]
    coverage = [share for found in shares.values() for share in found]
    return {
        "versions": _versions(events),
        "arguments": arguments,
        "processes": [
            {name: event.get(name) for name in ("pid", "phase", "rank", "device")} for event in _of("arguments", events)
        ],
        "windows": windows,
        "steps": summarize_steps(steps),
        "outside_steps": summarize_outside(_of("outside", events)),
        "coverage": _coverage(coverage),
        "notes": [*_notes(events, windows), *_misleading(windows, steps, arguments.get("train", {}))],
    }


def _of(kind: str, events: Sequence[Event]) -> list[Event]:
    return [event for event in events if event["event"] == kind]


def _versions(events: Sequence[Event]) -> dict[str, str | None]:
    told = _of("versions", events)
    names = ("python", "torch", "cuda", "cudnn", "ultralytics", "nvtx")
    return {name: told[0][name] if told else None for name in names}


def _window(event: Event, shares: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    file = next((name for name in shares if event["file"] and name.startswith(event["file"])), None)
    names = ("phase", "pid", "first_step", "steps", "planned_steps", "warmup_steps")
    told = {**{name: event[name] for name in names}, "threads": event.get("threads")}
    return {**told, "file": file, "coverage": _coverage(shares.get(file or "", ()))}


def _coverage(shares: Sequence[float]) -> dict[str, float] | None:
    """Return the share of the steps that lies in named stages; None where no trace tells."""
    return {"lowest": min(shares), "median": median(shares), "mean": fmean(shares)} if shares else None


def _notes(events: Sequence[Event], windows: Sequence[dict[str, Any]]) -> list[str]:
    notes = list(dict.fromkeys(event["text"] for event in _of("note", events)))
    notes += [
        f"not found in this version, and not recorded: {what}"
        for what in dict.fromkeys(event["what"] for event in _of("missing", events))
    ]
    notes += [f"recording stopped inside the program: {event['error']}" for event in _of("failed", events)]
    if not windows and not any(event.get("hindrance") for event in _of("note", events)):
        notes.append(_why_nothing_was_recorded(events))
    return notes


_PLOTTED_STEPS = 3
"""Ultralytics draws its first batches of a training where ``plots`` is on."""


def _misleading(
    windows: Sequence[dict[str, Any]], steps: Sequence[Step], arguments: Mapping[str, Any]
) -> Iterator[str]:
    """Say what a window of training does not show, or shows that other steps do not have."""
    for window in windows:
        if window["phase"] != "train" or not window["steps"]:
            continue
        first, end = window["first_step"], window["first_step"] + window["steps"]
        inside = [step for step in steps if step["phase"] == "train" and first <= step["step"] < end]
        if inside and not any("optimizer" in step["stages"] for step in inside):
            yield f"no step from {first} to {end - 1} moved the weights: what the optimizer costs is not recorded"
        if arguments.get("plots") and first < _PLOTTED_STEPS:
            yield f"step {first} draws the images that it trains on (plots): record later steps, or with plots=False"


def _why_nothing_was_recorded(events: Sequence[Event]) -> str:
    if not _of("started", events):
        return (
            "the command was never reached: it runs no Python, or one that ignores PYTHONPATH "
            "(python -I or -E) or that another user or machine runs (sudo, docker, ssh)"
        )
    if not _of("reached", events):
        return "the command ran Python, but did not import the engine of Ultralytics"
    if not _of("versions", events):
        return "the command imported Ultralytics, but did not train, validate or predict in Python"
    return "the command ended before a window began: fewer steps than the options ask for"
