"""What a comparison comes to, in a few sentences; and what makes it doubtful."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tbperf.comparison.figures import SAME_SPEED
from tbperf.comparison.noise import FEWEST_STEPS
from tbperf.comparison.recorded import NO_STAGE, WINDOW
from tbperf.comparison.result import ADDED, CHANGED, GONE, NOISE, UNKNOWN
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
    yield f"{_step_sentence(found, step)}{_because(found, step)}."
    if same_speed and abs(found.alike - 1) >= _WORTH_SAYING:
        machine = "slower or busier" if found.alike > 1 else "faster or quieter"
        change = f"{_percent(same_speed.difference, same_speed.expected)}, {_spread(found, same_speed)}"
        noise = ", no difference beyond the noise" if same_speed.change == NOISE else ""
        yield (
            f"All stages took {found.alike:.2f} times as long alike: a {machine} machine explains that."
            f" Beyond it, the step changed by {change}{noise}."
        )
    yield _settings_sentence(found)


def _step_sentence(found: Comparison, step: Difference) -> str:
    what = {"image": "An image", "window": "The window"}.get(found.per) or _PHASES.get(found.phase or "", "A step")
    a, b = step.a or 0.0, step.b or 0.0
    if step.change == UNKNOWN:
        return (
            f"{what} takes {format_ms(b)} against {format_ms(a)}, {_percent(b - a, a)}; nothing tells how much is noise"
        )
    if step.change == NOISE:
        change = f"{_percent(b - a, a)}, {_spread(found, step)}"
        return f"{what} takes {format_ms(b)} against {format_ms(a)}: no difference beyond the noise ({change})"
    return f"{what} takes {format_ms(b)} instead of {format_ms(a)} ({_percent(b - a, a)}, {_spread(found, step)})"


def _spread(found: Comparison, row: Difference) -> str:
    low, high = (format_change(ns, row.expected) for ns in (row.low, row.high))
    return f"{100 * found.interval:.0f} % interval {low} … {high} %"


def _because(found: Comparison, step: Difference) -> str:
    part = next((row for row in found.device_parts if row.name == found.named_cause), None)
    stage = next(
        (row for row in (*found.stages, *found.device_work) if row.name == found.named_stage and row.change in CHANGED),
        None,
    )
    if part:
        words = part_words(part.name) + _moved(part)
        words += f", most in {_stage(stage)}" if stage and stage.name != _LOADING else ""
    elif stage:
        words = _stage(stage) + _moved(stage)
    else:
        return ""
    return f"{': ' if step.change in CHANGED else '. But '}{words}"


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


def _settings_sentence(found: Comparison) -> str:
    changed = [f"{s.name} {_or_none(s.a)} → {_or_none(s.b)}" for s in found.settings if s.kind != "profiler"]
    kinds = {setting.kind for setting in found.settings}
    same = [
        words
        for kind, words in (("hardware", "hardware"), ("version", "versions"), ("argument", "arguments"))
        if kind not in kinds
    ]
    told = ", ".join(changed[:_MOST_SETTINGS])
    if len(changed) > _MOST_SETTINGS:
        told += f" and {len(changed) - _MOST_SETTINGS} more"
    rest = f"same {', '.join(same)}, as far as the recordings tell" if same else ""
    sentence = "; ".join(filter(None, (told, rest)))
    return sentence[:1].upper() + sentence[1:] + "." if not told else sentence + "."


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
