"""What a comparison says: plain data, the same for the terminal, for JSON and for Python."""

from __future__ import annotations

from dataclasses import dataclass, field

from tbperf.analyses import Rows
from tbperf.comparison.settings import Mismatch, Setting

SCHEMA = "tbperf-comparison/1"

NOISE, UNKNOWN, LESS, MORE, ADDED, GONE = "noise", "unknown", "less", "more", "added", "gone"
CHANGED = frozenset({LESS, MORE, ADDED, GONE})
"""What is more than noise."""


@dataclass(frozen=True)
class Difference:
    """One figure on both sides.  Times are nanoseconds a step (an image, a window: see ``per``)."""

    name: str
    unit: str
    better: str | None
    """Which is better: low or high; null where neither is."""
    a: float | None
    """Null where this side does not have it."""
    b: float | None
    expected: float
    """What B would have if nothing had changed: a or, for what is compared beyond what all parts share, that much of
    a; 0 where A does not have it."""
    difference: float
    """b − expected, with 0 where B does not have it."""
    low: float | None
    """Where the interval of the difference begins; null where nothing tells how far it scatters."""
    high: float | None
    change: str
    """noise: the interval holds 0; less, more: it does not; added, gone: only one side has it; unknown: no interval."""


@dataclass(frozen=True)
class WorkDifference:
    """A kernel, operator or family of kernels on both sides, a step (an image, a window)."""

    sort: str
    """kernel, family, operator, operator with shapes."""
    name: str
    shapes: str | None
    stage: str | None
    a_ns: float | None
    """Null where this side does not have it; kernels: their durations, operators: their own time on the host."""
    b_ns: float | None
    a_calls: float | None
    """Null also where the work lies in several stages: calls are counted by name."""
    b_calls: float | None
    expected_ns: float
    """As in Difference."""
    difference_ns: float
    low_ns: float | None
    high_ns: float | None
    change: str
    """As in Difference."""


@dataclass(frozen=True)
class Measured:
    """A series of hardware samples on both sides: their means over the recorded steps, over devices and runs."""

    series: str
    """What was measured, with its unit."""
    a: float
    b: float


@dataclass(frozen=True)
class SideSummary:
    """What one side of the comparison was."""

    runs: tuple[str, ...]
    """Folders or files; more than one are replicas."""
    steps: int
    """Steps that the step time is the mean of; 0 where none are marked."""
    profiled_steps: int
    images: float | None
    """Images a step and process."""
    on_device: bool


@dataclass(frozen=True)
class Comparison:
    """What changed from side A to side B.  Field names are those of the JSON."""

    tbperf: str
    verdict: tuple[str, ...]
    cautions: tuple[str, ...]
    """What makes the comparison doubtful; empty where nothing does."""
    a: SideSummary
    b: SideSummary
    phase: str | None
    source: str
    """Where step times come from: the log of all unprofiled steps, profiled steps, or whole windows."""
    per: str
    """What times are given by: step, image or window."""
    interval: float
    """Share of repeated recordings that the intervals would hold for."""
    alike: float
    """What all stages of B took, in multiples of A, where that is explained by a slower or busier machine; else 1."""
    named_stage: str | None
    """The stage that explains most of the difference, or «(no stage)»; null where none changed by more than noise."""
    named_cause: str | None
    """The part of the device's time that explains most of it: a cause of idle time, or a sort of work."""
    figures: Rows[Difference]
    stages: Rows[Difference]
    """Host time by stage, largest change first."""
    device_parts: Rows[Difference]
    """The device's time: kernels, what they do not hide, and idle time by cause."""
    device_work: Rows[Difference]
    """Device work by the stage that launched it."""
    work: Rows[WorkDifference]
    """Kernels and operators, largest change first; what takes less than 0.1 % of a step on both sides is left out."""
    hardware: Rows[Measured]
    """What the hardware did meanwhile, where both sides sampled it."""
    settings: tuple[Setting, ...]
    """What was set differently."""
    told: tuple[str, ...]
    """Kinds of settings that both sides tell: what is not among ``settings`` was the same."""
    mismatches: tuple[Mismatch, ...]
    schema: str = field(default=SCHEMA)
