"""Which stage is open, and how long each took.

A pass over batches (an epoch, a validation, a prediction) is a frame.  Inside a step of a frame
exactly one leaf stage is open at each moment: entering the next leaf closes the last at the same
instant, so that the leaves of a step sum to its duration.  Further stages nest inside a leaf
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


class Frame:
    """One pass over batches."""

    __slots__ = (
        "base",
        "leaf_at",
        "stages",
        "step_at",
        "step_start_ns",
        "step_token",
        "step_unix_ns",
    )

    def __init__(self, base: int) -> None:
        self.base = base
        """Depth of the stack below this frame."""
        self.leaf_at: int | None = None
        self.stages: dict[str, int] = {}
        self.step_start_ns: int | None = None
        self.step_unix_ns = 0
        self.step_at = base
        """Depth of the stack below the open step."""
        self.step_token: Any = None


class StageMachine:
    """The stack of open stages of one thread."""

    def __init__(
        self,
        ranges: Ranges,
        clock: Callable[[], int] = time.perf_counter_ns,
        unix_clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self._ranges = ranges
        self._clock = clock
        self._unix_clock = unix_clock
        self._stack: list[_Stage] = []
        self._frames: list[Frame] = []
        self.outside: dict[str, tuple[int, int]] = {}
        """Stages outside of all steps: how often, and ns in all, nested ones excluded."""

    @property
    def depth(self) -> int:
        """Number of open stages."""
        return len(self._stack)

    @property
    def frame(self) -> Frame | None:
        """The innermost pass over batches."""
        return self._frames[-1] if self._frames else None

    def open(self, name: str) -> int:
        """Open a stage inside whatever is open; returns the depth to close it with."""
        self._push(name, self._clock())
        return len(self._stack) - 1

    def close_to(self, depth: int) -> None:
        """Close the stages above ``depth``, if still there, with the passes begun inside them."""
        while self._frames and self._frames[-1].base > depth:
            self.leave_frame(self._frames[-1])
        now = self._clock()
        frame = self.frame
        if frame is not None and frame.step_at > depth:
            self._close_step(frame, now)
        while len(self._stack) > depth:
            self._pop(now)

    def enter_frame(self) -> Frame:
        """Begin a pass over batches inside whatever is open."""
        frame = Frame(len(self._stack))
        self._frames.append(frame)
        return frame

    def leave_frame(self, frame: Frame) -> None:
        """End a pass, with those inside it that never ended; an unfinished step is dropped."""
        if frame not in self._frames:
            return
        now = self._clock()
        while True:
            last = self._frames[-1]
            self._close_step(last, now)
            while len(self._stack) > last.base:
                self._pop(now)
            self._frames.pop()
            if last is frame:
                return

    def begin_step(self, title: str, leaf: str) -> None:
        """Begin a step of the innermost frame, with its first leaf."""
        frame = self._frames[-1]
        self._close_step(frame, self._clock())
        frame.stages = {}
        frame.step_at = len(self._stack)
        frame.step_unix_ns = self._unix_clock()
        frame.step_token = self._ranges.open(title)
        frame.step_start_ns = now = self._clock()
        self._enter_leaf(frame, leaf, now)

    def leaf(self, name: str) -> None:
        """Close the open leaf and open the next; outside of a step nothing happens."""
        frame = self.frame
        if frame is None or frame.step_start_ns is None:
            return
        now = self._clock()
        if frame.leaf_at is None or frame.leaf_at != len(self._stack) - 1:
            self._drop_leaf(frame, now)
            self._enter_leaf(frame, name, now)
            return
        # The usual case: nothing between closing and opening, which would be a hole between two ranges.
        title = PREFIX + name
        last = self._stack.pop()
        self._ranges.close(last.token)
        token = self._ranges.open(title)
        self._count(last, now)
        self._stack.append(_Stage(name, now, token))

    @property
    def leaf_name(self) -> str | None:
        """Name of the open leaf of the innermost frame."""
        frame = self.frame
        if frame is None or frame.leaf_at is None:
            return None
        return self._stack[frame.leaf_at].name

    def end_step(self) -> StepTimes | None:
        """End the step of the innermost frame; None when none is open."""
        frame = self.frame
        if frame is None or frame.step_start_ns is None:
            return None
        now = self._clock()
        times = StepTimes(frame.step_unix_ns, now - frame.step_start_ns, frame.stages)
        self._close_step(frame, now)
        return times

    def close_all(self) -> None:
        """Close everything, innermost first, so that every profiler sees balanced ranges."""
        if self._frames:
            self.leave_frame(self._frames[0])
        self.close_to(0)

    def _enter_leaf(self, frame: Frame, name: str, now: int) -> None:
        frame.leaf_at = len(self._stack)
        self._push(name, now)

    def _drop_leaf(self, frame: Frame, now: int) -> None:
        if frame.leaf_at is not None:
            while len(self._stack) > frame.leaf_at:
                self._pop(now)
            frame.leaf_at = None

    def _close_step(self, frame: Frame, now: int) -> None:
        if frame.step_start_ns is not None:
            while len(self._stack) > frame.step_at:
                self._pop(now)
            frame.leaf_at = frame.step_start_ns = None
            self._ranges.close(frame.step_token)

    def _push(self, name: str, now: int) -> None:
        self._stack.append(_Stage(name, now, self._ranges.open(PREFIX + name)))

    def _pop(self, now: int) -> None:
        stage = self._stack.pop()
        self._ranges.close(stage.token)
        self._count(stage, now)

    def _count(self, stage: _Stage, now: int) -> None:
        dur_ns = now - stage.start_ns
        own_ns = dur_ns - stage.inner_ns
        frame = self.frame
        base = frame.base if frame is not None else 0
        if len(self._stack) > base:
            # Not across frames: a pass inside another's callback is that callback's time there.
            self._stack[-1].inner_ns += dur_ns
        if frame is not None and frame.step_start_ns is not None:
            frame.stages[stage.name] = frame.stages.get(stage.name, 0) + own_ns
        else:
            count, total_ns = self.outside.get(stage.name, (0, 0))
            self.outside[stage.name] = (count + 1, total_ns + own_ns)
