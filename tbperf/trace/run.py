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

    def phase_ns(self, phase: str) -> int:
        """Return the durations of the steps of a phase, summed; 0 where there were none."""
        return self.steps[phase].total_ns if phase in self.steps else 0
