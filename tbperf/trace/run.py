"""What a recording says about the run that it was made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class StepTimes:
    """Steps of one phase, with the profiler and without."""

    steps: int
    """All steps of the phase, recorded or not."""
    total_ns: int
    """Their durations, summed; without the slow first ones."""
    unprofiled_ns: int | None
    """Median duration of steps without the profiler; null where there are none to speak of."""
    profiled_ns: int | None
    """Median duration of profiled steps."""
    slowdown: float | None
    """Profiled by unprofiled; null where either is missing."""
    unprofiled_stages_ns: Mapping[str, int] = field(default_factory=dict)
    """Mean time of a step in each stage, without the profiler."""
    profiled_stages_ns: Mapping[str, int] = field(default_factory=dict)
    """The same of profiled steps."""


@dataclass(frozen=True)
class LoggedSteps:
    """Steps that one process of a run took without the profiler, from the always-on log of the run folder.

    Without the slow first ones, in the order of time; columns of equal length.  Long logs are thinned: each row then
    stands for several steps that followed each other.
    """

    folder: str
    """The run folder."""
    phase: str
    process: str
    """Process id, and rank where there are several."""
    steps_per_row: int
    """Steps that a row is the mean of; the last row may be of fewer."""
    steps: int
    """All steps that the rows stand for."""
    dur_ns: tuple[int, ...]
    """Mean duration of the steps of each row."""
    images: tuple[float, ...] | None
    """Mean number of images of a step; null where the log does not tell for every step."""
    stages: Mapping[str, tuple[int, ...]]
    """Mean time of a step in each stage."""


@dataclass(frozen=True)
class Run:
    """A run folder's own account."""

    folder: str
    command: tuple[str, ...]
    status: str
    """«ended», or «running» where the recorder was killed before it could close the folder."""
    exit_code: int | None
    versions: Mapping[str, str | None]
    hardware: Mapping[str, Any]
    arguments: Mapping[str, Mapping[str, Any]]
    """The arguments that Ultralytics used, by phase (train, val, predict)."""
    steps: Mapping[str, StepTimes]
    """By phase."""
    outside_ns: Mapping[str, int]
    """Time of stages outside of all steps (validate, save, setup …), over the whole run."""
    notes: tuple[str, ...] = field(default=())
    started_unix_ns: int | None = None
    profiler: Mapping[str, Any] = field(default_factory=dict)
    """Options of the profiler: what it recorded beyond the calls themselves."""

    def phase_ns(self, phase: str) -> int:
        """Return the durations of the steps of a phase, summed; 0 where there were none."""
        return self.steps[phase].total_ns if phase in self.steps else 0
