"""What a comparison comes to, in a few sentences; and what makes it doubtful."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tbperf.comparison.figures import SAME_SPEED
from tbperf.comparison.noise import FEWEST_STEPS
from tbperf.comparison.recorded import NO_STAGE, WINDOW
from tbperf.comparison.result import ADDED, CHANGED, GONE, UNKNOWN
from tbperf.findings.words import CAUSES, format_ms, stage_words

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tbperf.comparison.result import Comparison, Difference, SideSummary

_PARTS = {
    "compute": "time in kernels",
    "exposed_comm": "collectives that nothing hides",
    "exposed_memcpy": "copies that nothing hides",
    "exposed_memset": "memsets that nothing hides",
}

_PHASES = {"train": "A training step", "val": "A validation step", "predict": "A prediction step"}

_MOST_SETTINGS = 6
_WORTH_SAYING = 0.02
"""By how much all stages must have moved alike to be worth a sentence."""


def verdict(found: Comparison) -> Iterator[str]:
    """Say what changed, what explains most of it, and what was different from the start."""
    step = found.figures[0]
    same_speed = next((row for row in found.figures if row.name == SAME_SPEED), None)
    yield f"{_step_sentence(found, step, same_speed)}{_because(found, step, same_speed)}."
    if same_speed and abs(found.alike - 1) >= _WORTH_SAYING:
        machine = "slower or busier" if found.alike > 1 else "faster or quieter"
        yield f"All stages took {found.alike:.2f} times as long alike: a {machine} machine explains that."
    yield from _settings_sentence(found)


def _step_sentence(found: Comparison, step: Difference, same_speed: Difference | None) -> str:
    what = {"image": "An image", "window": "The window"}.get(found.per) or _PHASES.get(found.phase or "", "A step")
    a, b = format_ms(step.a or 0.0), format_ms(step.b or 0.0)
    change = _percent(step.difference, step.expected)
    if step.change == UNKNOWN:
        return f"{what} takes {b} against {a} ({change}); nothing tells how much of that is noise"
    if step.change in CHANGED:
        return f"{what} takes {b} instead of {a} ({change}, {_spread(found, step)})"
    if same_speed and same_speed.change in CHANGED:
        change = _percent(same_speed.difference, same_speed.expected)
        return f"{what} takes {b} against {a}: {change} at the same speed of the machine ({_spread(found, same_speed)})"
    return f"{what} takes {b} against {a}: no difference beyond the noise ({change}, {_spread(found, step)})"


def _spread(found: Comparison, row: Difference) -> str:
    low, high = (format_change(ns, row.expected) for ns in (row.low, row.high))
    return f"{100 * found.interval:.0f} % interval {low} … {high} %"


def _because(found: Comparison, step: Difference, same_speed: Difference | None) -> str:
    part = next((row for row in found.device_parts if row.name == found.named_cause), None)
    stage = next(
        (row for row in (*found.stages, *found.device_work) if row.name == found.named_stage and row.change in CHANGED),
        None,
    )
    if part and (stage is None or abs(part.difference) >= _LEADS * abs(stage.difference)):
        words = part_words(part.name) + _moved(part)
        words += f", most in {_stage(stage)}" if stage and stage.name != _LOADING else ""
    elif stage:
        words = _stage(stage) + _moved(stage)
    else:
        return ""
    if step.change in CHANGED:
        return f": {words}"
    return f"; {words}" if same_speed and same_speed.change in CHANGED else f". But {words}"


_LEADS = 0.5
"""A part of the device's time says more than a stage of the host does, unless it moved by less than so much of it."""

_LOADING = "dataload"
"""A stage that says the same as its cause."""


def _stage(row: Difference) -> str:
    return stage_words(None if row.name == NO_STAGE else row.name)


def _moved(row: Difference) -> str:
    if row.change == ADDED:
        return f" is new, {format_ms(row.b or 0.0)}"
    if row.change == GONE:
        return f" is gone, {format_ms(row.a or 0.0)}"
    verb = "rose" if row.difference > 0 else "fell"
    return f" {verb} from {format_ms(row.a or 0.0)} to {format_ms(row.b or 0.0)}"


def part_words(name: str) -> str:
    """Name a part of the device's time in a sentence."""
    return _PARTS.get(name) or CAUSES.get(name, name)


def _settings_sentence(found: Comparison) -> Iterator[str]:
    changed = [f"{s.name} {_or_none(s.a)} → {_or_none(s.b)}" for s in found.settings if s.kind != "profiler"]
    kinds = {setting.kind for setting in found.settings}
    same = [word for kind, word in _KINDS.items() if kind in found.told and kind not in kinds]
    told = ", ".join(changed[:_MOST_SETTINGS])
    if len(changed) > _MOST_SETTINGS:
        told += f" and {len(changed) - _MOST_SETTINGS} more"
    sentence = "; ".join(filter(None, (told, f"same {', '.join(same)}" if same else "")))
    if sentence:
        yield f"{sentence[:1].upper()}{sentence[1:]}." if not told else f"{sentence}."


_KINDS = {"hardware": "hardware", "version": "versions", "argument": "arguments", "profiler": "profiler options"}


def _or_none(value: str | None) -> str:
    return "none" if value is None else value


def format_change(ns: float | None, of: float) -> str:
    """Show a change as a signed percentage, without the sign for percent."""
    if ns is None or not of:
        return "–"
    return f"{100 * ns / of:+.1f}".replace("-", "−")


def _percent(change: float, of: float) -> str:
    return f"{format_change(change, of)} %"


def cautions(found: Comparison) -> Iterator[str]:
    """Say what makes the comparison doubtful."""
    for mismatch in found.mismatches:
        yield mismatch.sentence()
    for name, side in (("A", found.a), ("B", found.b)):
        yield from _about_steps(name, side, found)
    one = len(found.a.runs) == len(found.b.runs) == 1
    if one and found.a.runs == found.b.runs:
        yield "A and B are the same recording"


def _about_steps(name: str, side: SideSummary, found: Comparison) -> Iterator[str]:
    if found.source == WINDOW:
        yield f"{name} marks no steps: its window is compared as a whole"
    elif side.steps < FEWEST_STEPS and len(side.runs) == 1:
        yield f"{name} has {side.steps} step{'' if side.steps == 1 else 's'}: too few to tell noise well"
