"""Findings, causes and gains against simulated traces whose truth is known.

A trial draws a program and plants up to two faults in it, of a strength that costs it something between nothing and
half of its time.  What must be found is decided by what the simulation knows, not by what an analysis says: idle time
by cause, or how much shorter the same program runs without the fault.  Faults near the threshold of their finding are
not scored; everything else that is reported without having been planted counts as false.
"""

from __future__ import annotations

import dataclasses
import functools
import random
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tbperf.analyses import examine
from tbperf.findings import diagnose, thresholds
from tests.simulate import US, Fault, Program, Simulation, simulate

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True)
class Plant:
    """A fault that can be planted, and the finding that it must lead to."""

    code: str
    strength: Callable[[random.Random, int], float]
    """Draws a strength for a program whose steps take so many ns."""
    threshold: float
    """Share of the window from which on it is a finding."""
    cause: str | None = None
    """Cause of idle time that the threshold speaks of; None: time that is saved without the fault."""
    ranks: int = 0
    """Ranks that the program must have; 0 for any."""
    fixed: tuple[float, float] = (0.5, 1.0)
    """How much of it is repaired when the gain is checked."""
    also: tuple[str, ...] = ()
    """Codes that are right, too, but not demanded."""
    least: float | None = None
    """Share of the window below which it must not be reported, where that is not the threshold."""
    weighed: bool = True
    """Whether its cost is time at all."""


def _step(low: float, high: float) -> Callable[[random.Random, int], float]:
    """Draw a strength in parts of a step."""
    return lambda draw, step: step * draw.uniform(low, high)


def _count(low: int, high: int) -> Callable[[random.Random, int], float]:
    return lambda draw, _step: draw.randint(low, high)


def _between(low: float, high: float) -> Callable[[random.Random, int], float]:
    return lambda draw, _step: draw.uniform(low, high)


_LATE = ("HW004",)
PLANTS = {
    "starved": Plant("LOADER001", _step(1.0, 2.0), thresholds.STARVED, "dataloader", fixed=(1.0, 1.0)),
    "few workers": Plant("LOADER002", _step(1.0, 2.0), thresholds.STARVED, "dataloader", fixed=(1.0, 1.0)),
    "in process": Plant("LOADER002", _step(0.2, 1.5), thresholds.STARVED, "dataloader"),
    "slow transform": Plant("LOADER003", _step(1.0, 2.0), thresholds.STARVED, "dataloader"),
    "slow storage": Plant("LOADER004", _step(1.0, 2.0), thresholds.STARVED, "dataloader"),
    "syncs": Plant("SYNC001", _between(0.1, 1.0), thresholds.WAITING),
    "logging": Plant("SYNC002", _count(3, 30), thresholds.WAITING),
    "reads": Plant("COPY003", _count(4, 40), thresholds.TINY_READS),
    "pageable": Plant("COPY001", _between(1e6, 30e6), thresholds.PAGEABLE),
    "exposed": Plant("COPY002", _between(5e6, 150e6), thresholds.EXPOSED, least=thresholds.WORTH_TRYING),
    "blocking": Plant("COPY004", _between(10e6, 100e6), thresholds.BLOCKING, fixed=(1.0, 1.0), also=("COPY002",)),
    "tables": Plant("COPY004", _between(0.1, 1.0), thresholds.BLOCKING, also=("COPY002",)),
    "slow host": Plant(
        "LAUNCH001",
        _between(3, 20),
        thresholds.LAUNCH_BOUND,
        "host_op",
        fixed=(1.0, 1.0),
    ),
    "tiny": Plant("LAUNCH002", _count(200, 800), thresholds.TINY_COST, also=("LAUNCH001",), least=0.0),
    "python": Plant("HOST001", _step(0.5, 2.0), thresholds.PYTHON, "python"),
    "dominant": Plant(
        "KERNEL001", _step(0.3, 1.5), thresholds.DOMINANT, fixed=(0.2, 0.5), least=thresholds.WORTH_TRYING
    ),
    "fp32": Plant("KERNEL002", _between(1.6, 3.0), thresholds.NO_TENSOR_CORES, least=thresholds.WORTH_TRYING),
    "layout": Plant("KERNEL003", _between(2 * US, 40 * US), thresholds.LAYOUT, least=thresholds.WORTH_TRYING),
    "fills": Plant("KERNEL004", _between(2 * US, 40 * US), thresholds.FILLS, least=thresholds.WORTH_TRYING),
    "casts": Plant("KERNEL005", _between(4 * US, 60 * US), thresholds.CASTS, least=thresholds.WORTH_TRYING),
    "allocations": Plant("ALLOC001", _step(0.02, 0.3), thresholds.ALLOCATING, "allocation", fixed=(1.0, 1.0)),
    "loads": Plant("COMPILE001", _step(0.5, 2.0), thresholds.LOADING_CODE, "module_load"),
    "exchange": Plant("COMM001", _step(0.1, 1.0), thresholds.EXCHANGE, ranks=2, least=thresholds.WORTH_TRYING),
    "validation": Plant("STAGE001", _step(0.5, 2.0), thresholds.SAVING, "validation"),
    "saving": Plant("STAGE002", _step(0.5, 2.0), thresholds.SAVING, "save"),
    "plots": Plant("STAGE002", _step(0.5, 2.0), thresholds.SAVING, "plot"),
    "suppression": Plant("STAGE003", _step(0.5, 2.0), thresholds.NMS),
    "hot": Plant("HW001", _between(0.0, 0.6), thresholds.THROTTLED, weighed=False),
    "capped": Plant("HW002", _between(0.0, 0.9), thresholds.POWER_CAPPED, weighed=False),
}
TURNS = (
    None,
    None,
    *PLANTS,
    "syncs",
    "starved",
    "slow transform",
    "slow storage",
    "validation",
    "tables",
    "slow host",
    "exchange",
)
"""What is planted first, in turn: nothing, and twice what is found too rarely to tell how often it is found."""
LATE = ("starved", "few workers", "in process", "slow transform", "slow storage")
OF_THE_LOADER = {"slow transform": 0.7 * 0.85, "slow storage": 0.8 * 0.85}
"""What part of a batch's time it is."""
WAITING = ("syncs", "logging", "reads", "pageable", "blocking", "tables")
"""Faults that make the host wait for the device."""
TWO_FAULTS = 0.4
"""Part of the trials with a second fault."""
MARGIN = 1.35
"""What lies closer to its threshold than this factor is not scored."""


@dataclass(frozen=True)
class Weighed:
    """A finding's gain against what a simulated repair saves; shares of the window."""

    code: str
    low: float
    high: float
    truth: float
    """Saved by a repair of the drawn extent."""
    everything: float
    """Saved without the fault."""


@dataclass
class Score:
    """What came of the trials."""

    trials: int = 0
    unexact: list[str] = field(default_factory=list)
    """Trials whose idle time by cause is not what the simulation knows."""
    right: Counter[str] = field(default_factory=Counter)
    missed: Counter[str] = field(default_factory=Counter)
    false: Counter[str] = field(default_factory=Counter)
    silent: int = 0
    """Healthy trials of which nothing was said."""
    healthy: int = 0
    gains: list[Weighed] = field(default_factory=list)
    examples: list[str] = field(default_factory=list)
    """Trials in which something was missed or false."""


def draw_program(seed: int) -> Program:
    """Draw a program with no, one or two faults; seeds that follow each other take turns with the first one."""
    draw = random.Random(seed)  # noqa: S311 - reproducible, not secret
    base = Program(
        seed=seed,
        steps=5,
        ops=draw.randint(12, 24),
        op_ns=draw.randint(6, 14) * US,
        kernel_ns=draw.randint(40, 120) * US,
        noise=draw.uniform(0.0, 0.3),
        ranks=draw.choice((1, 1, 2)),
    )
    step = 3 * base.ops * base.kernel_ns
    names = [name for name in (TURNS[seed % len(TURNS)],) if name is not None]
    if any(PLANTS[name].ranks for name in names):
        base = dataclasses.replace(base, ranks=PLANTS[names[0]].ranks)
    if names and draw.random() < TWO_FAULTS:
        allowed = [n for n, p in PLANTS.items() if p.ranks in (0, base.ranks) and n not in names]
        if set(names) & set(LATE):  # batches are late for one reason
            allowed = [name for name in allowed if name not in LATE]
        names.append(draw.choice(allowed))
    faults = tuple(Fault(name, PLANTS[name].strength(draw, step)) for name in names)
    return dataclasses.replace(base, faults=faults)


def cost_of(run: Simulation, name: str) -> float:
    """Return what a fault costs, as the threshold of its finding measures it: a share of the window."""
    plant = PLANTS[name]
    if not plant.weighed:
        return run.told[name]
    if name == "slow host":  # what waits leave of it: where they empty the queue, they are told
        alone = simulate(functools.reduce(lambda program, wait: repaired(program, wait, 1.0), WAITING, run.program))
        idle = min(one.causes()[plant.cause] / one.window_ns for one in (run, alone))
        return min(idle, saved(run, run.program.without(name)))
    if plant.cause is not None:
        return run.causes()[plant.cause] / run.window_ns
    if name == "dominant":  # of the kernel time
        whole = sum(end - start for start, end, *_ in run.work)
        return run.program.steps * run.program.strength(name) / whole
    # What blocking costs is the waiting, not the copy; of collectives, all of each.
    whole = name in ("blocking", "tables", "exchange")
    gone = saved(run, repaired(run.program, name, 1.0) if whole else run.program.without(name))
    if name in ("layout", "fills", "casts"):  # kernel time, where that is saved, too
        kernels = 3 * run.program.ops * run.program.steps * run.program.strength(name)
        return min(kernels / run.window_ns, gone)
    return gone


def saved(run: Simulation, other: Program) -> float:
    """Return how much shorter another program is, as a share of the window."""
    return (run.window_ns - simulate(other).window_ns) / run.window_ns


def repaired(program: Program, name: str, part: float) -> Program:
    """Return the program with a fault repaired in part."""
    if name == "fp32":  # it runs 1.5 to 3 times as fast
        return program.weakened(name, 1 / (1.5 + 3 * (part - 0.5)))
    if name in OF_THE_LOADER:  # what is slow goes, the rest of the loader's work stays
        return program.weakened(name, 1 - part * OF_THE_LOADER[name])
    if name == "exchange":  # less of each collective, not only of what is planted
        other = program.weakened(name, 1 - part)
        return dataclasses.replace(other, exchange_ns=round(program.exchange_ns * (1 - part)))
    if name == "tables":  # so many of them are copied without waiting
        other = program.weakened(name, 1 - part)
        sent = Fault("sent tables", program.strength(name) * part)
        return dataclasses.replace(other, faults=(*other.faults, sent))
    if name == "blocking" or (name == "pageable" and part < 1):  # the copy stays, from pinned memory
        faults = tuple(Fault("exposed", f.strength) if f.name == name else f for f in program.faults)
        return dataclasses.replace(program, faults=faults)
    return program.without(name) if part == 1.0 else program.weakened(name, 1 - part)


def run_trial(seed: int, score: Score) -> None:
    """Simulate a program, diagnose its trace, and score what was said."""
    run = simulate(draw_program(seed))
    report = examine(run.trace())
    findings = {finding.code: finding for finding in diagnose([report]) if finding.code != "MEM002"}
    score.trials += 1
    planted = [fault.name for fault in run.program.faults]
    about = ", ".join(f"{f.name} {f.strength:.3g}" for f in run.program.faults) or "healthy"
    known = run.causes()
    if dict(known) != {row.cause: row.idle_ns for row in report.idle}:
        score.unexact.append(f"{seed}: {about}")
    if not planted:
        score.healthy += 1
        score.silent += not findings
    demanded: dict[str, bool] = {}
    for name in planted:
        plant = PLANTS[name]
        cost = cost_of(run, name)
        if cost >= plant.threshold * MARGIN:
            demanded[plant.code] = True
        elif cost > (plant.threshold if plant.least is None else plant.least) / MARGIN:
            demanded.setdefault(plant.code, False)
    excused = {code for name in planted for code in PLANTS[name].also}
    if "COMM001" in findings and "exchange" not in planted and run.program.ranks > 1:  # every such program exchanges
        excused |= {"COMM001"} if cost_of(run, "exchange") > thresholds.WORTH_TRYING / MARGIN else set()
    for code, must in demanded.items():
        if must and code in findings:
            score.right[code] += 1
        elif must:
            score.missed[code] += 1
            score.examples.append(f"{seed}: {about}: {code} missed")
    for code in findings.keys() - demanded.keys() - excused:
        score.false[code] += 1
        score.examples.append(f"{seed}: {about}: {code} false, {findings[code].cost_share:.3f}")
    draw = random.Random(-seed - 1)  # noqa: S311 - as above
    for name in planted:
        plant, finding = PLANTS[name], findings.get(PLANTS[name].code)
        same = [other for other in planted if plant.code in (PLANTS[other].code, *PLANTS[other].also)]
        if finding is None or finding.gain is None or not plant.weighed or len(same) > 1:
            continue
        truth = saved(run, repaired(run.program, name, draw.uniform(*plant.fixed)))
        everything = saved(run, repaired(run.program, name, plant.fixed[1]))
        window = run.window_ns
        score.gains.append(
            Weighed(plant.code, finding.gain.low_ns / window, finding.gain.high_ns / window, truth, everything)
        )
