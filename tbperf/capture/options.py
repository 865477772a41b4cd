"""What to record."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

_DEFAULTS = {"train": (3, 8), "val": (3, 3), "predict": (1, 5)}
"""By phase: steps to wait (Ultralytics plots the first three batches) and steps to record."""


@dataclass(frozen=True)
class RecordOptions:
    """What to record; None leaves the choice to tbperf.  A step is one batch."""

    out: Path | None = None
    """Folder to write; a number is added if it exists."""
    wait: int | None = None
    """Steps of a phase before its first window may begin."""
    warmup: int = 1
    """Steps with the profiler on before those that are recorded."""
    active: int | None = None
    """Recorded steps of a window."""
    repeat: int = 1
    """Windows of training and of prediction."""
    gap: int = 0
    """Steps from the end of a window to the next, at least."""
    steps: tuple[int, int] | None = None
    """First and last step to record, instead of all of the above."""
    stacks: bool = False
    """Python and C++ call stacks."""
    shapes: bool = False
    """Shapes of the operators' inputs."""
    memory: bool = False
    """Allocations."""
    flops: bool = False
    """Estimated arithmetic of matrix products and convolutions."""
    modules: str = "layers"
    """Which of the model's modules show their calls: its «layers», «every» one, or «none»."""
    max_bytes: int = 1_000_000_000
    """Largest trace that is kept whole; a window ends early when it would grow beyond."""
    nsys: bool = False
    """Record with Nsight Systems instead of torch's profiler: one window."""
    nsys_report: bool = False
    """Keep Nsight's own report, too, which holds the environment."""

    def plans(self) -> dict[str, dict[str, Any]]:
        """Return the window plan of each phase, as bootstrap/tbperf_inside/schedule.py takes it."""
        return {
            phase: {
                "wait": wait if self.wait is None else self.wait,
                "warmup": self.warmup,
                "active": active if self.active is None else self.active,
                "repeat": 1 if phase == "val" else self.repeat,
                "gap": self.gap,
                "steps": self.steps,
                "settle": self.wait is None,
            }
            for phase, (wait, active) in _DEFAULTS.items()
        }

    def profiler(self) -> dict[str, bool]:
        """Return the options of ``torch.profiler.profile``."""
        return {
            "with_stack": self.stacks,
            "record_shapes": self.shapes,
            "profile_memory": self.memory,
            "with_flops": self.flops,
        }

    def describe(self) -> str:
        """Say in a few words what will be recorded."""
        if self.steps is not None:
            return "records steps {}-{}".format(*self.steps)
        train, val, predict = (plan["active"] * plan["repeat"] for plan in self.plans().values())
        return f"records {train} steps of training, {val} of validation, {predict} of prediction"
