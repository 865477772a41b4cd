"""Count false alarms and planted faults that are found when runs are compared.

    scripts/bench compare drawn [--pairs N]
    scripts/bench compare record FOLDER [--rounds N]     a round: a plain training (but in every 4th), a slowed one
    scripts/bench compare judge FOLDER

`drawn` draws timelines whose steps scatter and whose runs drift as said in `DRAWN`.  `record` re-records a small
training of the demo's sort on this machine, interleaved, and goes on where it was stopped.  `judge` compares plain runs
with the next two plain ones (nothing changed), and each slowed one with the two nearest plain ones.  A run serves in
several pairs: pairs that share a run are not independent of each other.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tbperf.comparison import Comparison
    from tbperf.report import Report

HERE = Path(__file__).parent
IMAGES, SIZE = 160, 96
PLANTED = ("preprocess", "forward", "loss", "dataload")
DRAWN = {
    "steps": 16,
    "scatter": 0.02,  # relative standard deviation of a stage in a step
    "memory": 0.5,  # of it, how much the next step keeps
    "drift": 0.003,  # relative standard deviation of a run
    "own": 0.002,  # relative standard deviation of a stage in a run
}
STAGES = {"dataload": 30.0, "preprocess": 5.0, "forward": 25.0, "loss": 8.0, "backward": 45.0, "optimizer": 7.0}
"""Drawn stages, in milliseconds."""


def record(folder: Path, rounds: int, ms: float) -> None:
    """Record so many rounds, but for those that are there; slowed stages get so much more work of the CPU."""
    from tbperf.capture.dataset import write_dataset

    folder.mkdir(parents=True, exist_ok=True)
    data = folder / "data" / "data.yaml"
    if not data.exists():
        write_dataset(folder / "data", images=IMAGES, size=SIZE)
        for kind in ("images", "labels"):  # Ultralytics validates once in the end: briefly
            for path in sorted((folder / "data" / kind / "val").iterdir())[4:]:
                path.unlink()
    for number in range(rounds):
        if number % 4 != 3:  # noqa: PLR2004 - a plain run serves its own round, and every third the next one, too
            _record(folder, data, number, "none", 0.0)
        _record(folder, data, number, PLANTED[number % len(PLANTED)], ms)


def _record(folder: Path, data: Path, number: int, stage: str, ms: float) -> None:
    run = folder / f"{number:03d}-{stage}"
    if (run / "planted.json").exists():
        return
    shutil.rmtree(run, ignore_errors=True)
    begun, scratch = time.monotonic(), folder / "scratch"
    training = [sys.executable, HERE / "compare_train.py", data, scratch, stage, f"{ms:.2f}"]
    command = [sys.executable, "-m", "tbperf", "record", "--out", run, "--", *training]
    subprocess.run([str(part) for part in command], check=True, capture_output=True)
    shutil.rmtree(scratch, ignore_errors=True)
    (run / "planted.json").write_text(json.dumps({"stage": stage, "ms": ms}))
    took = time.monotonic() - begun
    print(f"{run.name}: {took:.0f} s, step {_median_step(run) / 1e6:.0f} ms, planted {ms:.1f} ms", flush=True)


def _median_step(run: Path) -> int:
    found: int = json.loads((run / "run.json").read_text())["steps"]["train"]["unprofiled"]["median_dur_ns"]
    return found


class Tally:
    """Figures tested, and how many of them were said to have changed."""

    def __init__(self) -> None:
        self.tested: Counter[str] = Counter()
        self.alarms: Counter[str] = Counter()

    def add(self, found: Comparison, but: str | None = None) -> None:
        """Count the figures of a comparison, but those of one stage."""
        from tbperf.comparison.result import CHANGED

        tables: dict[str, Any] = {
            "figures": found.figures,
            "stages": found.stages,
            "device": (*found.device_parts, *found.device_work),
            "kernels and operators": found.work,
        }
        for name, rows in tables.items():
            counted = [row for row in rows if but is None or but not in (row.name, getattr(row, "stage", None))]
            self.tested[name] += len(counted)
            self.alarms[name] += sum(row.change in CHANGED for row in counted)

    def print(self, title: str) -> None:
        """Print a line a table."""
        for name, tested in self.tested.items():
            if tested:
                alarms = self.alarms[name]
                print(f"| {title}, {name} | {alarms} of {tested:,} | {100 * alarms / tested:.2f} % |")


def judge(folder: Path, first: int, replicas: list[int]) -> None:
    """Compare what was recorded from a round on, each time with so many plain runs on side A."""
    from tbperf import analyze

    reports: dict[str, Report] = {
        run.parent.name: analyze(run.parent)
        for run in sorted(folder.glob("*/planted.json"))
        if int(run.parent.name[:3]) >= first
    }
    plain = [name for name in reports if name.endswith("-none")]
    steps = [_median_step(folder / name) / 1e6 for name in plain]
    print(f"{len(plain)} plain runs, median step {min(steps):.0f} to {max(steps):.0f} ms ({median(steps):.0f} ms),")
    for count in replicas:
        _judge(reports, plain, count)


def _judge(reports: Mapping[str, Report], plain: Sequence[str], replicas: int) -> None:
    from tbperf.comparison import compare_reports

    print(f"{replicas} of them on side A\n\n| | | |\n|---|---|---|")
    nothing = Tally()
    pairs = 0
    for at in range(replicas, len(plain)):
        for after in plain[at : at + 2]:  # the next one, and the one after that
            nothing.add(compare_reports([reports[name] for name in plain[at - replicas : at]], [reports[after]]))
            pairs += 1
    nothing.print(f"nothing changed ({pairs} pairs): false alarms")
    named: Counter[str] = Counter()
    tried: Counter[str] = Counter()
    for name, report in reports.items():
        stage = name.partition("-")[2]
        nearest = sorted(plain, key=lambda run, name=name: (abs(int(run[:3]) - int(name[:3])), run))[: replicas + 1]
        if stage == "none" or len(nearest) <= replicas:
            continue
        for side in (nearest[:-1], nearest[1:]):
            found = compare_reports([reports[run] for run in side], [report])
            tried[stage] += 1
            named[stage] += found.named_stage == stage
            if found.named_stage != stage:
                print(f"missed: {name} against {', '.join(side)}: {found.verdict[0]}", file=sys.stderr)
    for stage, count in tried.items():
        print(f"| {stage} slowed: named first | {named[stage]} of {count} | {100 * named[stage] / count:.0f} % |")
    if tried:
        share = 100 * named.total() / tried.total()
        print(f"| all slowed stages: named first | {named.total()} of {tried.total()} | {share:.1f} % |")


def drawn(pairs: int, planted: float) -> None:
    """Compare drawn runs: with nothing changed, and with a stage slowed by so much of the step."""
    from tbperf.analyses import Rows
    from tbperf.comparison import compare_reports

    rng = np.random.default_rng(0)
    nothing, beside = Tally(), Tally()
    named: Counter[str] = Counter()
    tried: Counter[str] = Counter()
    for number in range(pairs):
        a, b = _drawn_report(rng), _drawn_report(rng)
        nothing.add(compare_reports([a], [b]))
        stage = list(STAGES)[number % len(STAGES)]
        found = compare_reports([a], [_drawn_report(rng, stage, planted * sum(STAGES.values()))])
        tried[stage] += 1
        named[stage] += found.named_stage == stage
        beside.add(replace(found, figures=Rows(), device_parts=Rows()), but=stage)  # these did change
    print(f"{pairs} pairs of drawn runs: {DRAWN}\n\n| | | |\n|---|---|---|")
    nothing.print("nothing changed: false alarms")
    share = 100 * named.total() / pairs
    print(f"| a stage slowed by {planted:.0%} of the step: named first | {named.total()} of {pairs} | {share:.1f} % |")
    print(f"| by stage | {', '.join(f'{stage} {named[stage]} of {tried[stage]}' for stage in STAGES)} | |")
    beside.print("other stages then: false alarms")


def _drawn_report(rng: np.random.Generator, slowed: str = "", by_ms: float = 0.0) -> Report:
    sys.path.insert(0, str(HERE.parents[1]))
    from tbperf.analyses import examine
    from tbperf.report import report_on
    from tests.draw import Timeline

    timeline, at = Timeline(), 0.0
    drift = 1 + DRAWN["drift"] * rng.standard_normal()
    columns = {}
    for stage, ms in STAGES.items():
        mean = (ms + (by_ms if stage == slowed else 0.0)) * drift * (1 + DRAWN["own"] * rng.standard_normal())
        columns[stage] = mean * (1 + DRAWN["scatter"] * np.fromiter(_remembering(rng), float))
    for step in range(int(DRAWN["steps"])):
        begun = at
        for stage, column in columns.items():
            us = 1000 * float(column[step])
            timeline.stage(stage, at, at + us).op(f"aten::{stage}", at, at + 0.8 * us)
            # Loading aside, the device works for half of the time that the host takes.
            if stage != "dataload":
                timeline.kernel(at + 10, at + 0.5 * us, name=f"{stage}_kernel", call=(at + 1, at + 6))
            at += us
        timeline.step(step, begun, at)
    return report_on([examine(timeline.trace())])


def _remembering(rng: np.random.Generator) -> Iterator[float]:
    """Yield noise of standard deviation 1 that keeps some of what it was."""
    value, keeps = rng.standard_normal(), DRAWN["memory"]
    for _ in range(int(DRAWN["steps"])):
        yield value
        value = keeps * value + np.sqrt(1 - keeps**2) * rng.standard_normal()


def main() -> None:
    """Do what is asked for."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("what", choices=("drawn", "record", "judge"))
    options.add_argument("folder", type=Path, nargs="?")
    options.add_argument("--pairs", type=int, default=500)
    options.add_argument("--planted", type=float, default=0.02)
    options.add_argument("--rounds", type=int, default=41)
    options.add_argument("--ms", type=float, default=13.0, help="a tenth of an undisturbed step, where docs were made")
    options.add_argument("--steps", type=int, default=DRAWN["steps"], help="of a drawn run")
    options.add_argument("--first", type=int, default=0, help="round to judge from")
    options.add_argument("--replicas", type=int, nargs="*", default=[1, 3], help="plain runs on side A")
    given = options.parse_args()
    DRAWN["steps"] = given.steps
    if given.what == "drawn":
        drawn(given.pairs, given.planted)
    elif given.folder is None:
        options.error(f"{given.what} needs a folder")
    elif given.what == "record":
        record(given.folder.resolve(), given.rounds, given.ms)
    else:
        judge(given.folder, given.first, given.replicas)


if __name__ == "__main__":
    main()
