"""How often findings are right, and how near their gains are, on simulated traces whose truth is known.

`scripts/bench truth` prints the table; with --write it becomes docs/findings/truth.md.  Rules are mended on the seeds
of `TUNED`; what is written comes from others, at which nobody has looked before: after a change of a rule to which they
led, add them to `TUNED`, and judge by new ones.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
from dataclasses import fields
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from tests.truth import PLANTS, Score, run_trial  # noqa: E402 - the checkout's own

PAGE = ROOT / "docs" / "findings" / "truth.md"
TOLERANCE = 0.01
TUNED = (range(850), range(10_000, 10_850), range(20_000, 20_925), range(50_000, 51_000))
"""Seeds whose programs were looked at while the rules were made."""
JUDGING = 100_000
"""The first seed of those that judge."""


def render(score: Score, first: int) -> str:
    """Return the page."""
    right, missed, false = (sum(counts.values()) for counts in (score.right, score.missed, score.false))
    gains = score.gains
    inside = sum(_inside(gain) for gain in gains)
    errors = np.array([gain.high - gain.everything for gain in gains])
    lines = [
        _INTRODUCTION.format(
            trials=score.trials, judging=f"{first:,} to {first + score.trials - 1:,}", tuned=_tuned()
        ).strip(),
        "",
        "## What came out",
        "",
        f"- Idle time by cause: exact to the nanosecond in {score.trials - len(score.unexact)} of {score.trials}.",
        f"- Findings: {right} of {right + missed} faults found (recall {_percent(right, right + missed)});",
        f"  {false} reported that were not planted (precision {_percent(right, right + false)}).",
        f"- Healthy programs: nothing was said of {score.silent} of {score.healthy}.",
        f"- Gains: the range holds what a repair saves in {inside} of {len(gains)} cases",
        f"  ({_percent(inside, len(gains))}), within {100 * TOLERANCE:g} % of the window.",
        "- Upper end of the range against the simulated program without the fault, in percent of the window:",
        "  median error {:.2f}, 90th percentile {:.1f}, worst {:.1f}.".format(
            *np.percentile(100 * np.abs(errors), (50, 90, 100))
        ),
        "",
        "| finding | found | missed | false | precision | recall | gains | range holds | median error | worst |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for code in sorted({plant.code for plant in PLANTS.values()} | set(score.false)):
        mine = [gain for gain in gains if gain.code == code]
        off = np.abs([gain.high - gain.everything for gain in mine]) if mine else np.zeros(1)
        hits, misses, wrong = score.right[code], score.missed[code], score.false[code]
        lines.append(
            f"| {code} | {hits} | {misses} | {wrong} | {_percent(hits, hits + wrong)} | {_percent(hits, hits + misses)}"
            f" | {len(mine)} | {_percent(sum(map(_inside, mine)), len(mine))}"
            f" | {_points(np.median(off), mine)} | {_points(off.max(), mine)} |"
        )
    if score.examples:
        lines += ["", "Missed or false, by seed:", ""] + [f"- {example}" for example in score.examples]
    return "\n".join(lines) + "\n"


_INTRODUCTION = """
# Against the truth

A training loop and a device with streams are simulated to the nanosecond (`tests/simulate.py`), with faults planted in
them, alone and in pairs, on one and on two ranks, with noise on every duration. The trace that a recorder would have
written is analyzed. The simulation knows what the host was doing in each gap, and running again without the fault tells
what it cost. `scripts/bench truth --write` made this page from {trials} drawn programs.

Each program follows from a seed. The rules were made and mended on the seeds
{tuned}; the figures below come from the
seeds {judging}, which were drawn once, after the last change.

- A fault must be found where its cost is 1.35 times the threshold of its finding or more; between that and the same
  factor below the threshold it is not scored. Everything else that is reported counts as false.
- A gain is weighed against a second simulation, in which half to all of the fault is repaired.
- What several faults explain is not demanded of one: a slow host counts as far as waits for the GPU leave something of
  it, and every program of two ranks exchanges something.

What this does not show: how well the simulated programs stand for real ones. The simulation and the replay are separate
code, but share assumptions: streams work in order, batches are taken in order, giving memory back waits for the GPU.
MEM, PREDICT, PROFILE, CPU, COPY005, HW003 and HW004 depend on arguments or counters more than on times; they are tested
just above and just below their thresholds by hand-drawn traces (`tests/findings/test_rules.py`, `test_cpu.py`).
"""


def _tuned() -> str:
    return ", ".join(f"{seeds[0]:,} to {seeds[-1]:,}" for seeds in TUNED)


def _inside(gain: object) -> bool:
    low, high, truth = (getattr(gain, name) for name in ("low", "high", "truth"))
    return bool(low - TOLERANCE <= truth <= high + TOLERANCE)


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "–"


def _points(error: float, cases: list[object]) -> str:
    return f"{100 * error:.1f} %" if cases else "–"


def batched(first: int, trials: int, size: int = 20) -> list[range]:
    """Return the seeds of all trials in batches."""
    end = first + trials
    return [range(start, min(start + size, end)) for start in range(first, end, size)]


def run_trials(seeds: range) -> Score:
    """Run some trials."""
    score = Score()
    for seed in seeds:
        run_trial(seed, score)
    return score


def joined(scores: list[Score]) -> Score:
    """Add scores up."""
    whole = Score()
    for score in scores:
        for field in fields(Score):
            setattr(whole, field.name, getattr(whole, field.name) + getattr(score, field.name))
    return whole


def main() -> None:
    """Run the trials and print the page."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--trials", type=int, default=1000)
    options.add_argument("--first-seed", type=int, default=JUDGING, help="of the seeds that are drawn, one a trial")
    options.add_argument("--jobs", type=int, default=2, help="processes")
    options.add_argument("--write", action="store_true", help="write docs/findings/truth.md")
    given = options.parse_args()
    seeds = range(given.first_seed, given.first_seed + given.trials)
    if given.write and any(tuned[0] <= seeds[-1] and seeds[0] <= tuned[-1] for tuned in TUNED):
        options.error("the rules were tuned on some of these seeds: judge by others")
    with multiprocessing.get_context("spawn").Pool(given.jobs) as pool:
        scores = list(pool.imap(run_trials, batched(given.first_seed, given.trials)))
    page = render(joined(scores), given.first_seed)
    if given.write:
        PAGE.write_text(page, encoding="utf-8")
    print(page)


if __name__ == "__main__":
    main()
