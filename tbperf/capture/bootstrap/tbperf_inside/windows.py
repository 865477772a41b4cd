"""When to capture (Schedule: pure arithmetic), doing it (Windows), and what with (Capture)."""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import time
from typing import TYPE_CHECKING, Any, Callable, Iterator, NamedTuple

if TYPE_CHECKING:
    from .fetches import WindowFlag
    from .modules import ModuleCalls
    from .ranges import ProfilerRanges

_FEWEST_STEPS = 3
"""What a pass too short for its window still yields, at the price of a colder start."""


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

    def recorded(self, steps: int, next_step: int) -> None:
        """Count the steps of a window; while it was written, the loader's queue filled up."""
        self._to_record -= steps
        self._queue_full_at = next_step

    def decide(self, at: Position) -> Window | None:
        """Return the window that begins with this step, if one does."""
        if self._plan.steps is not None:
            return self._chosen(at, *self._plan.steps)
        if self._to_record <= 0:
            return None
        return self._open_ended(at) if at.left is None else self._within_pass(at, at.left)

    def is_near(self, at: Position) -> bool:
        """Return whether a window may begin before the batches that are loaded by now are used up."""
        if self._plan.steps is None:
            return self._to_record > 0
        first, last = self._plan.steps
        return first - self._plan.warmup - max(_NEAR_STEPS, 2 * at.queue) <= at.step <= last

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


class TraceFiles(NamedTuple):
    """Names trace files as TensorBoard expects them."""

    folder: str
    process: str

    def new(self) -> str:
        """Return a path that no other trace has."""
        host = re.sub(r"[^A-Za-z0-9-]", "-", socket.gethostname()) or "host"
        name = f"{host}_{self.process}.{time.time_ns()}.pt.trace.json"
        return os.path.join(self.folder, "trace", name)


class Windows:
    """Captures one window at a time, and writes what it saw when the window ends.

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
        self._window: Window | None = None
        self._phase = ""
        self._done = 0

    @property
    def state(self) -> str:
        """``off``, ``warmup`` or ``active``."""
        if self._window is None:
            return "off"
        return "active" if self._capture.on else "warmup"

    def begin_pass(self) -> None:
        """Let workers that start with a pass record their first batches, whatever the last pass was told."""
        if self._window is None:
            self._flag.lower()

    def before_step(self, phase: str, position: Position, about: dict[str, Any], model: Any) -> None:
        """Start or arm the capture if the schedule says so; ``about`` becomes metadata, calls in ``model`` ranges."""
        if self._window is None:
            schedule = self._schedules.get(phase)
            full = self._written >= self._max_bytes
            window = schedule.decide(position) if schedule is not None and not full else None
            if window is None or not self._capture.prepare(phase):
                near = schedule is not None and not full and schedule.is_near(position)
                (self._flag.lower if near else self._flag.rest)()
                return
            self._window, self._phase, self._done = window, phase, 0
            self._flag.raise_()
        if phase == self._phase and position.step == self._window.first:
            self._memory_before = _resident_bytes()
            self._capture.start({"phase": phase, "first_step": position.step, **about})
            self._calls.begin(phase, model)

    def after_step(self, phase: str, step: int) -> None:
        """Count a whole step, and end the window behind its last."""
        if self._window is None or phase != self._phase:
            return
        self._done += self._capture.on
        if step + 1 >= self._window.end:
            self.close(phase, step + 1)
        elif self._capture.on and _resident_bytes() - self._memory_before > self._max_bytes:
            self._note_limit(f"the window of {phase} ended {self._window.end - step - 1} steps early")
            self.close(phase, step + 1)

    def close(self, phase: str, next_step: int) -> None:
        """End the window of this phase, if one is open, and write its trace."""
        if self._window is None or phase != self._phase:
            return
        window, self._window = self._window, None
        self._flag.lower()
        self._calls.end()
        self._schedules[phase].recorded(self._done, next_step)
        captured = self._capture.on
        file = self._capture.stop()
        if not captured:
            return
        self._journal(
            "window",
            phase=phase,
            first_step=window.first,
            steps=self._done,
            planned_steps=window.end - window.first,
            warmup_steps=window.first - window.begin,
            file="" if file is None else os.path.basename(file),
        )
        if file is not None:
            self._written += os.path.getsize(file)
            if self._written >= self._max_bytes:
                self._note_limit("no further window was opened")

    def abort(self) -> None:
        """Stop the capture after a failure and forget what it saw."""
        self._window = None
        self._calls.end()
        self._capture.abort()
        self._flag.lower()

    def disown(self) -> None:
        """In a forked child: leave its classes as they were; the capture is the parent's."""
        self._calls.end()

    def _note_limit(self, what: str) -> None:
        self._journal("note", text=f"{what}: the limit of {self._max_bytes:,} bytes (--max-bytes) was reached")


def _resident_bytes() -> int:
    """Return the memory of this process; a profiler keeps its events there until the window ends."""
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


class Capture:
    """Something that captures a window: prepared before its warm-up, started and stopped around its steps."""

    on = False
    """Whether it captures."""

    def prepare(self, _phase: str) -> bool:
        """Get ready; return whether there may be a window now."""
        raise NotImplementedError

    def start(self, _about: dict[str, Any]) -> None:
        """Begin to capture, with what is to be told about it."""
        raise NotImplementedError

    def stop(self) -> str | None:
        """End; return the file that was written, None where nothing was or another process writes it."""
        raise NotImplementedError

    def abort(self) -> None:
        """End, and forget what was captured."""
        raise NotImplementedError


class NsightCapture(Capture):
    """Tells Nsight Systems, which runs the whole program, where its one window lies.

    CUPTI has one subscriber: torch's profiler stays off.
    """

    def __init__(self, ranges: ProfilerRanges) -> None:
        self._ranges = ranges
        self._captured = False

    def prepare(self, _phase: str) -> bool:
        """Be ready for the first window; nsys stops with the first capture range."""
        return not self._captured

    def start(self, _about: dict[str, Any]) -> None:
        """Begin the capture range, both kinds: nsys was told to wait for one of them."""
        import torch

        self._captured = self.on = True
        if torch.cuda.is_available():
            torch.cuda.synchronize()
            torch.cuda.cudart().cudaProfilerStart()
        self._ranges.begin_window()

    def stop(self) -> str | None:
        """End the capture range."""
        if self.on:
            import torch

            self._ranges.end_window()
            if torch.cuda.is_available():
                torch.cuda.cudart().cudaProfilerStop()
        self.on = False
        return None

    def abort(self) -> None:
        """End the capture range."""
        self.stop()


class TorchCapture(Capture):
    """Runs torch.profiler."""

    def __init__(
        self, options: dict[str, bool], ranges: ProfilerRanges, files: TraceFiles, journal: Callable[..., None]
    ) -> None:
        self._options = options
        self._ranges = ranges
        self._files = files
        self._journal = journal
        self._profiler: Any = None
        self._blocked = False

    def prepare(self, phase: str) -> bool:
        """Make a profiler and let it warm up, unless the program runs one of its own."""
        import torch
        from torch.autograd import profiler as autograd_profiler

        if getattr(autograd_profiler, "_is_profiler_enabled", False):
            if not self._blocked:
                self._blocked = True
                self._journal(
                    "note",
                    text=f"the program's own profiler ran in {phase}: tbperf started no second one",
                )
            return False
        options: dict[str, Any] = dict(self._options)
        config = _all_threads_config() if phase == "predict" and torch.cuda.is_available() else None
        if config is not None:
            options["experimental_config"] = config
        with _kineto_silenced():
            # Kineto starts when a profiler is made for the first time.
            self._profiler = torch.profiler.profile(**options)
            self._profiler.prepare_trace()
        return True

    def start(self, about: dict[str, Any]) -> None:
        """Begin to record."""
        metadata = {
            "schema": "tbperf-trace/1",
            **about,
            "unix_ns": time.time_ns(),
            "perf_ns": time.perf_counter_ns(),
        }
        preset = getattr(self._profiler, "preset_metadata_json", None)
        if preset is not None:
            preset("tbperf", json.dumps(metadata))
        self._profiler.start_trace()
        if preset is None:
            self._profiler.add_metadata_json("tbperf", json.dumps(metadata))
        self.on = self._ranges.recording = True

    def stop(self) -> str | None:
        """End, and write the trace."""
        recorded = self.on
        profiler = self._end()
        if not recorded:
            return None
        path = self._files.new()
        # A name that no reader looks for, until the file is whole.
        profiler.export_chrome_trace(path + ".part")
        if not _ends_well(path + ".part"):
            # Kineto says so in its own log at most, and which file it leaves depends on its version; on a full disk,
            # the rest of the recording needs the room.
            for leftover in (path + ".part", path + ".part.tmp"):
                with contextlib.suppress(OSError):
                    os.truncate(leftover, 0)  # it may be open still
                    os.remove(leftover)
            raise OSError("the profiler could not write its trace: no space left, or no folder")
        os.replace(path + ".part", path)
        return path

    def abort(self) -> None:
        """End, and forget what was recorded."""
        if self._profiler is not None:
            self._end()

    def _end(self) -> Any:
        profiler, self._profiler = self._profiler, None
        if not self.on:
            # Still warming up: a profiler must have started to be stopped.
            profiler.start_trace()
        self.on = self._ranges.recording = False
        profiler.stop_trace()
        return profiler


def _ends_well(path: str) -> bool:
    """Return whether a JSON document is there up to its end."""
    try:
        with open(path, "rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - 64))
            return file.read().rstrip().endswith(b"}")
    except OSError:
        return False


@contextlib.contextmanager
def _kineto_silenced() -> Iterator[None]:
    """Keep Kineto, which reads this once at its start, from writing into the program's output.

    Ultralytics sets it too, but not high enough for newer versions of torch.
    """
    variable = "KINETO_LOG_LEVEL"
    before = os.environ.get(variable)
    os.environ[variable] = "99"
    try:
        yield
    finally:
        if before is None:
            del os.environ[variable]
        else:
            os.environ[variable] = before


def _all_threads_config() -> Any:
    """Return what lets the profiler see the thread that loads images ahead, where torch can."""
    try:
        from torch._C._profiler import _ExperimentalConfig

        return _ExperimentalConfig(profile_all_threads=True)
    except (ImportError, TypeError):
        return None
