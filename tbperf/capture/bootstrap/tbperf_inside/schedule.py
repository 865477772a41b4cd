"""When to capture: pure arithmetic over the steps of a phase."""

from __future__ import annotations

from typing import NamedTuple

_FEWEST_STEPS = 3
"""What a pass too short for its window still yields, at the price of a colder start."""

_MOST_DROPPED = 3
"""Windows that end without a trace before no more of the phase are tried."""

_NEAR_STEPS = 16
"""At least so many steps before a window, what the loader's workers do is recorded."""


class Plan(NamedTuple):
    """What to record of one phase; counts are steps."""

    wait: int
    """Steps of the run before the first window may begin; by default those that plot batches."""
    warmup: int
    """Steps with the profiler on whose events are thrown away: its own start-up costs."""
    active: int
    """Recorded steps of a window."""
    repeat: int = 1
    """Windows; a shorter one, at the end of a short pass, is made up for later."""
    gap: int = 0
    """Steps from the end of a window to the next, at least."""
    steps: tuple[int, int] | None = None
    """First and last step to record; overrules the rest."""
    settle: bool = True
    """Whether to wait for a steady loader and the first optimizer step, and to end on one."""


class Position(NamedTuple):
    """Where a run stands before a step."""

    step: int
    """Number of this step in its phase, over the whole run."""
    passed: int
    """Steps of this pass (epoch, validation, prediction) done."""
    left: int | None = None
    """Steps of this pass to come, this one included; None when nobody knows."""
    passes_left: int = 0
    """Passes to come after this one."""
    queue: int = 0
    """Batches that the loader prepares ahead: a full queue hides a slow loader for as many."""
    optimizer: tuple[int, int] | None = None
    """Last optimizer step (-1: none yet) and steps from one to the next; None without optimizer."""


class Window(NamedTuple):
    """The profiler is on from step ``begin`` and records from ``first`` up to before ``end``."""

    begin: int
    first: int
    end: int


class Schedule:
    """Decides before each step of a phase whether a window begins with it."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._to_record = plan.active * plan.repeat
        self._queue_full_at = 0
        self._not_before = 0
        self._tries_left = _MOST_DROPPED

    def dropped(self) -> None:
        """Count a window that ended without a trace: what ended the last one may end the next."""
        self._tries_left -= 1

    def recorded(self, steps: int, next_step: int) -> None:
        """Count the steps of a window; while it was written, the loader's queue filled up."""
        self._to_record -= steps
        self._queue_full_at = next_step
        self._not_before = next_step + self._plan.gap

    def decide(self, at: Position) -> Window | None:
        """Return the window that begins with this step, if one does."""
        if self._tries_left <= 0:
            return None
        if self._plan.steps is not None:
            return self._chosen(at, *self._plan.steps)
        if self._to_record <= 0 or at.step < self._not_before:
            return None
        return self._open_ended(at) if at.left is None else self._within_pass(at, at.left)

    def is_near(self, at: Position) -> bool:
        """Return whether a window may begin before the batches that are loaded by now are used up."""
        if self._tries_left <= 0:
            return False
        ahead = self._plan.warmup + max(_NEAR_STEPS, 2 * at.queue)
        if self._plan.steps is None:
            return self._to_record > 0 and at.step >= self._not_before - ahead
        first, last = self._plan.steps
        return first - ahead <= at.step <= last

    def _chosen(self, at: Position, first: int, last: int) -> Window | None:
        if not first - self._plan.warmup <= at.step <= last:
            return None
        end = last + 1 if at.left is None else min(last + 1, at.step + at.left)
        first = max(first, at.step)
        return Window(at.step, first, end) if first < end else None

    def _open_ended(self, at: Position) -> Window | None:
        active = min(self._plan.active, self._to_record)
        if at.step < self._plan.wait:
            return None
        first = at.step + self._plan.warmup
        return Window(at.step, first, first + active)

    def _within_pass(self, at: Position, left: int) -> Window | None:
        """Take the first good step, and at the latest the last from which the window fits."""
        length = at.passed + left
        warmup = min(self._plan.warmup, length - 1)
        wanted = min(self._plan.active, self._to_record)
        cold = max(0, self._plan.wait - (at.step - at.passed))
        room = length - cold - warmup
        if room < wanted and cold and at.passes_left:
            return None
        active = min(wanted, max(room, min(_FEWEST_STEPS, length - warmup)))
        latest = length - warmup - active
        if at.passed > latest or (at.passed < latest and not self._is_good(at, warmup + active)):
            return None
        first = at.step + warmup
        return Window(at.step, first, first + active)

    def _is_good(self, at: Position, steps: int) -> bool:
        if at.step < self._plan.wait:
            return False
        if not self._plan.settle:
            return True
        since_full = min(at.passed, at.step - self._queue_full_at)
        if since_full < at.queue:
            return False
        if at.optimizer is None:
            return True
        last, interval = at.optimizer
        return last >= 0 and (at.step + steps - 1 - last) % interval == 0
