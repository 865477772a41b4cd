"""Which stage is open, and how long each took.

Each pass over batches (an epoch, a validation, a prediction) has a machine of its own, and so has what a thread
does outside of passes.  Inside a step exactly one leaf stage is open at each moment: entering the next leaf closes
the last at the same instant, so that the leaves of a step sum to its duration.  Further stages nest inside a leaf
(``ema`` in ``optimizer``) or lie outside of the steps (``setup``).

Durations are exclusive: a nested stage's time is not counted again in the stage around it.
"""

from __future__ import annotations

import time
from typing import Any, Callable, NamedTuple

PREFIX = "tbperf/"


class Ranges:
    """Shows stages to profilers; this one shows them to nobody."""

    def open(self, _name: str) -> Any:
        """Open a range; what is returned closes it."""
        return None

    def close(self, token: Any) -> None:
        """Close the range that was opened last."""

    def shortest(self) -> tuple[Callable[[str], Any], Callable[[Any], None]]:
        """Return what opens and what closes a range, at the least cost that it can be had for as things are now."""
        return self.open, self.close


class StepTimes(NamedTuple):
    """One finished step."""

    unix_ns: int
    dur_ns: int
    stages: dict[str, int]


class _Stage:
    __slots__ = ("inner_ns", "name", "start_ns", "token")

    def __init__(self, name: str, start_ns: int, token: Any) -> None:
        self.name = name
        self.start_ns = start_ns
        self.inner_ns = 0
        self.token = token


class StageMachine:
    """The stack of open stages of one pass, or of one thread outside of passes.

    It may move between threads, but only one uses it at a time.
    """

    def __init__(
        self,
        ranges: Ranges,
        count_outside: Callable[[str, int], None],
        clock: Callable[[], int] = time.perf_counter_ns,
        unix_clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self._ranges = ranges
        self._count_outside = count_outside
        """Told of each stage that ends outside of the steps: its name, and ns without what is nested in it."""
        self._clock = clock
        self._unix_clock = unix_clock
        self._stack: list[_Stage] = []
        self._leaf_at: int | None = None
        """Depth of the stack below the open leaf."""
        self._stages: dict[str, int] = {}
        self._step_start_ns: int | None = None
        self._step_unix_ns = 0
        self._step_at = 0
        """Depth of the stack below the open step."""
        self._step_token: Any = None

    @property
    def depth(self) -> int:
        """Number of open stages."""
        return len(self._stack)

    @property
    def in_step(self) -> bool:
        """Whether a step is open."""
        return self._step_start_ns is not None

    @property
    def leaf_name(self) -> str | None:
        """Name of the open leaf."""
        return None if self._leaf_at is None else self._stack[self._leaf_at].name

    def seen_in_step(self, stage: str) -> bool:
        """Return whether this stage has ended in the open step."""
        return self.in_step and stage in self._stages

    def open(self, name: str) -> int:
        """Open a stage inside whatever is open; returns the depth to close it with."""
        self._push(name, self._clock())
        return len(self._stack) - 1

    def close_to(self, depth: int) -> None:
        """Close the stages above ``depth``, if still there, and the step that was begun inside them."""
        now = self._clock()
        if self._step_at > depth:
            self._close_step(now)
        while len(self._stack) > depth:
            self._pop(now)

    def begin_step(self, title: str, leaf: str) -> None:
        """Begin a step with its first leaf; one that is open ends, and is dropped."""
        self._close_step(self._clock())
        self._stages = {}
        self._step_at = len(self._stack)
        self._step_unix_ns = self._unix_clock()
        self._step_token = self._ranges.open(title)
        self._step_start_ns = now = self._clock()
        self._enter_leaf(leaf, now)

    def leaf(self, name: str) -> None:
        """Close the open leaf and open the next; outside of a step nothing happens."""
        if self._step_start_ns is None:
            return
        now = self._clock()
        if self._leaf_at is None or self._leaf_at != len(self._stack) - 1:
            self._drop_leaf(now)
            self._enter_leaf(name, now)
            return
        # The usual case: nothing between closing and opening, which would be a hole between two ranges.
        title = PREFIX + name
        last = self._stack.pop()
        self._ranges.close(last.token)
        token = self._ranges.open(title)
        self._count(last, now)
        self._stack.append(_Stage(name, now, token))

    def end_step(self, *, before_leaf: bool = False) -> StepTimes | None:
        """End the step, now or where its open leaf began; None when none is open."""
        if self._step_start_ns is None:
            return None
        now = self._clock()
        if before_leaf and self._leaf_at is not None:
            now = self._stack[self._leaf_at].start_ns
        times = StepTimes(self._step_unix_ns, now - self._step_start_ns, self._stages)
        self._close_step(now)
        return times

    def close_all(self) -> None:
        """Close everything, innermost first, so that every profiler sees balanced ranges."""
        self._close_step(self._clock())
        self.close_to(0)

    def _enter_leaf(self, name: str, now: int) -> None:
        self._leaf_at = len(self._stack)
        self._push(name, now)

    def _drop_leaf(self, now: int) -> None:
        if self._leaf_at is not None:
            while len(self._stack) > self._leaf_at:
                self._pop(now)
            self._leaf_at = None

    def _close_step(self, now: int) -> None:
        if self._step_start_ns is not None:
            while len(self._stack) > self._step_at:
                self._pop(now)
            self._leaf_at = self._step_start_ns = None
            self._step_at = 0
            self._ranges.close(self._step_token)

    def _push(self, name: str, now: int) -> None:
        self._stack.append(_Stage(name, now, self._ranges.open(PREFIX + name)))

    def _pop(self, now: int) -> None:
        stage = self._stack.pop()
        self._ranges.close(stage.token)
        self._count(stage, now)

    def _count(self, stage: _Stage, now: int) -> None:
        dur_ns = now - stage.start_ns
        own_ns = dur_ns - stage.inner_ns
        if self._stack:
            self._stack[-1].inner_ns += dur_ns
        if self._step_start_ns is not None:
            self._stages[stage.name] = self._stages.get(stage.name, 0) + own_ns
        else:
            self._count_outside(stage.name, own_ns)
