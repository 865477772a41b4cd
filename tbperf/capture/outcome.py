"""What was recorded: from journals, step logs and traces to the content of run.json."""

from __future__ import annotations

from statistics import fmean
from typing import TYPE_CHECKING, Any

from tbperf.capture.folder import read_journal
from tbperf.capture.summary import read_steps, stage_coverage, summarize_outside, summarize_steps

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

Event = dict[str, Any]


def read_outcome(folder: Path, traces: Sequence[Path]) -> dict[str, Any]:
    """Return what run.json says about a run beyond what was known before it began."""
    events = read_journal(folder)
    windows = [_window(event, traces) for event in _of("window", events)]
    coverage = [share for trace in traces for share in stage_coverage(trace)]
    return {
        "versions": _versions(events),
        "arguments": {event["phase"]: event["arguments"] for event in reversed(_of("arguments", events))},
        "processes": [
            {name: event.get(name) for name in ("pid", "phase", "rank", "device")} for event in _of("arguments", events)
        ],
        "windows": windows,
        "steps": summarize_steps(read_steps(folder)),
        "outside_steps": summarize_outside(_of("outside", events)),
        "coverage": {"lowest": min(coverage), "mean": fmean(coverage)} if coverage else None,
        "notes": _notes(events, windows),
    }


def _of(kind: str, events: Sequence[Event]) -> list[Event]:
    return [event for event in events if event["event"] == kind]


def _versions(events: Sequence[Event]) -> dict[str, str | None]:
    told = _of("versions", events)
    names = ("python", "torch", "cuda", "cudnn", "ultralytics", "nvtx")
    return {name: told[0][name] if told else None for name in names}


def _window(event: Event, traces: Sequence[Path]) -> dict[str, Any]:
    file = next((trace.name for trace in traces if trace.name.startswith(event["file"])), None)
    names = ("phase", "pid", "first_step", "steps", "planned_steps", "warmup_steps")
    return {**{name: event[name] for name in names}, "file": file}


def _notes(events: Sequence[Event], windows: Sequence[dict[str, Any]]) -> list[str]:
    notes = list(dict.fromkeys(event["text"] for event in _of("note", events)))
    notes += [
        f"not found in this version, and not recorded: {what}"
        for what in dict.fromkeys(event["what"] for event in _of("missing", events))
    ]
    notes += [f"recording stopped inside the program: {event['error']}" for event in _of("failed", events)]
    if not windows:
        notes.append(_why_nothing_was_recorded(events))
    return notes


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
