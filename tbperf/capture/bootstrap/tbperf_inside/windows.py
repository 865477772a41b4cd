"""Opens and closes the windows in which the profiler runs."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any, Callable, Protocol

from .schedule import Plan, Position, Schedule, Window

if TYPE_CHECKING:
    from .captures import Capture
    from .fetches import WindowFlag
    from .modules import ModuleCalls
    from .ranges import PassRanges

_PATIENCE_S = 60.0
"""How long a profiler of the program waits for ours to end where another thread is just writing a trace."""

_PASSING_BY_S = 0.3
"""How long it waits for the pass of the window to come to its next stage: it may be in the middle of an operator."""


class Owner(Protocol):
    """The pass over batches that a window belongs to."""

    phase: str
    ranges: PassRanges
    model: Any
    running_on: int | None
    """The thread that it runs on; None while its caller has not asked for more."""


class Windows:
    """Captures one window at a time, and writes what it saw when the window ends.

    A window belongs to one pass over batches; passes beside it, nested or on other threads, are none of its steps.
    Writing at once costs the same as writing later, and what is written survives a SIGKILL.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - what begins and ends with a window, and where to tell of it
        self,
        plans: dict[str, Plan],
        capture: Capture,
        journal: Callable[..., None],
        flag: WindowFlag,
        calls: ModuleCalls,
        max_bytes: int,
    ) -> None:
        self._schedules = {phase: Schedule(plan) for phase, plan in plans.items()}
        self._capture = capture
        self._journal = journal
        self._flag = flag
        self._calls = calls
        self._max_bytes = max_bytes
        self._written = 0
        self._memory_before = 0
        self._threads: Any = None
        self._window: Window | None = None
        self._owner: Owner | None = None
        self._done = 0
        self._steps_of_others = 0
        """Steps of other passes since the owner was last heard of."""
        self._noted: set[str] = set()
        self._asked: str | None = None
        """What of the program's waits for the window to end."""
        self._ended = threading.Event()
        self._lock = threading.RLock()
        """Held while a window opens or closes; nobody but the program's own profiler waits for it."""

    def state(self, owner: Owner) -> str:
        """``off``, ``warmup`` or ``active``; ``beside`` where another pass has the window."""
        if self._window is None:
            return "off"
        if self._owner is not owner:
            return "beside"
        return "active" if self._capture.on else "warmup"

    def begin_pass(self) -> None:
        """Let workers that start with a pass record their first batches, whatever the last pass was told."""
        if self._window is None:
            self._flag.lower()

    def before_step(self, owner: Owner, position: Position, about: dict[str, Any]) -> None:
        """Start or arm the capture if the schedule says so; ``about`` becomes metadata."""
        if not self._lock.acquire(blocking=self._owner is owner):
            return
        try:
            self._capture.tidy()
            if self._window is not None and self._owner is not owner:
                self._wait_no_longer_than(self._window.end - self._window.begin)
            if self._window is None:
                self._open(owner, position)
            if self._window is not None and self._owner is owner:
                self._steps_of_others = 0
                if position.step >= self._window.first and not self._capture.on:
                    self._start(owner, position, about)
        finally:
            self._lock.release()

    def _wait_no_longer_than(self, steps: int) -> None:
        """Close the window of a pass that nobody has asked for more while others did so many steps."""
        self._steps_of_others += 1
        if self._steps_of_others > steps and self._owner is not None and self._owner.running_on is None:
            self._drop("its results were not asked for, while other passes went on")

    def _open(self, owner: Owner, position: Position) -> None:
        schedule = self._schedules.get(owner.phase)
        full = self._written >= self._max_bytes
        window = schedule.decide(position) if schedule is not None and not full else None
        hindrance = "" if window is None else self._capture.prepare(owner.phase)
        if window is None or hindrance is not None:
            if hindrance:
                self._note(f"{hindrance}: tbperf opened no window there", hindrance=True)
            near = schedule is not None and not full and schedule.is_near(position)
            (self._flag.lower if near else self._flag.rest)()
            return
        self._window, self._owner, self._done, self._steps_of_others = window, owner, 0, 0
        self._flag.raise_()

    def _start(self, owner: Owner, position: Position, about: dict[str, Any]) -> None:
        if self._window is not None:
            self._window = self._window._replace(first=position.step)
        self._memory_before = _resident_bytes()
        self._threads = about.get("threads")
        self._capture.start({"phase": owner.phase, "first_step": position.step, **about})
        owner.ranges.recorded = True
        self._calls.begin(owner)

    def after_step(self, owner: Owner, step: int) -> None:
        """Count a whole step, and end the window behind its last."""
        with self._lock:
            if self._window is None or self._owner is not owner:
                return
            self._done += self._capture.on
            if step + 1 >= self._window.end:
                self.close(owner, step + 1)
            elif self._capture.on and _resident_bytes() - self._memory_before > self._max_bytes:
                left = self._window.end - step - 1
                self._note_limit(f"the window of {owner.phase} ended {left} steps early")
                self.close(owner, step + 1)

    def close(self, owner: Owner, next_step: int) -> None:
        """End the window of this pass, if one is open, and write its trace."""
        with self._lock:
            if self._window is None or self._owner is not owner:
                return
            if not self._capture.ends_here:
                self._drop("its steps moved to another thread, where torch's profiler cannot follow")
                return
            window = self._window
            self._schedules[owner.phase].recorded(self._done, next_step)
            captured = self._capture.on
            self._forget()
            file = self._capture.stop()
            if captured:
                self._tell(owner.phase, window, file)

    def _tell(self, phase: str, window: Window, file: str | None) -> None:
        self._journal(
            "window",
            phase=phase,
            first_step=window.first,
            steps=self._done,
            planned_steps=window.end - window.first,
            warmup_steps=window.first - window.begin,
            threads=self._threads,
            file="" if file is None else os.path.basename(file),
        )
        if file is not None:
            self._written += os.path.getsize(file)
            if self._written >= self._max_bytes:
                self._note_limit("no further window was opened")

    def pass_by(self, owner: Owner) -> None:
        """End the window between two stages of its pass, if the program asked for that on another thread."""
        if self._asked is not None and self._owner is owner:
            with self._lock:
                if self._window is not None:
                    self._drop(f"the program's own {self._asked} began in it")

    def give_way(self, what: str) -> None:
        """End the window, if one is open, because the program begins to profile, on this or another thread."""
        owner = self._owner
        if owner is not None and owner.running_on not in {None, threading.get_ident()}:
            self._ended.clear()
            self._asked = what
            self._ended.wait(_PASSING_BY_S)
            self._asked = None
        if not self._lock.acquire(timeout=_PATIENCE_S):
            return
        try:
            if self._window is not None:
                self._drop(f"the program's own {what} began in it")
        finally:
            self._lock.release()

    def _drop(self, why: str) -> None:
        """End the window without a trace: what it saw is not what it was opened for."""
        owner = self._owner
        self.abort()
        if owner is not None:
            self._schedules[owner.phase].dropped()
            self._note(f"a window of {owner.phase} was dropped: {why}", hindrance=True)

    def abort(self) -> None:
        """Stop the capture and forget what it saw."""
        with self._lock:
            self._forget()
            self._capture.abort()

    def _forget(self) -> None:
        owner, self._window, self._owner = self._owner, None, None
        self._ended.set()
        if owner is not None:
            owner.ranges.recorded = False
        self._calls.end()
        self._flag.lower()

    def disown(self) -> None:
        """In a forked child: leave its classes as they were; the capture is the parent's."""
        self._calls.end()

    def _note(self, text: str, *, hindrance: bool = False) -> None:
        """Tell the parent, once; a ``hindrance`` is why a window left no trace."""
        if text not in self._noted:
            self._noted.add(text)
            self._journal("note", text=text, hindrance=hindrance)

    def _note_limit(self, what: str) -> None:
        self._note(f"{what}: the limit of {self._max_bytes:,} bytes (--max-bytes) was reached")


def _resident_bytes() -> int:
    """Return the memory of this process; a profiler keeps its events there until the window ends."""
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0
