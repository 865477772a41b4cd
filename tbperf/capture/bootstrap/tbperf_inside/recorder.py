"""One process's recorder: sessions of steps on stage machine, profiler windows and step log."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from typing import Any, Callable

from .captures import Capture, NsightCapture, TorchCapture, TraceFiles
from .fetches import FetchLog, WindowFlag
from .guard import Guard
from .journal import Journal
from .modules import ModuleCalls
from .profilers import ProgramsProfilers
from .ranges import PassRanges, ProfilerRanges
from .schedule import Plan, Position
from .stages import StageMachine
from .steps import ProcessorClock, ProcessorTime, StepLog, step_log_path
from .windows import Windows


class Session:
    """One pass over batches: an epoch of training, a validation, or a prediction.

    It runs on one thread at a time, which may be another one each time when its caller asks for more.
    The hooks fill in what they learn on the way; all of it is optional.
    """

    def __init__(self, recorder: Recorder, phase: str) -> None:
        self._recorder = recorder
        self.phase = phase
        self.ranges = PassRanges(recorder.ranges)
        self.machine = StageMachine(self.ranges, recorder.count_outside)
        self.running_on: int | None = None
        """The thread that it runs on; None while its caller has not asked for more."""
        self.number: int | None = None
        """Of the open step, over the whole run."""
        self.passed = 0
        self.left: int | None = None
        self.passes_left = 0
        self.queue_capacity = 0
        self.prefetch: int | None = None
        """Batches that each worker of the loader prepares ahead."""
        self.batch: int | None = None
        self.model: Any = None
        """What computes; its layers are shown."""
        self.images: int | None = None
        self.queue: int | None = None
        self.optimizer: tuple[int, int] | None = None
        self.timed_blocks = 0
        """How many of the batch's timed blocks (``ops.Profile``) are over."""
        self.blocks_open = 0
        self.batch_began = False
        self.batch_over = False
        self.unconsumed = 0
        """Results of the batch that the caller of a prediction has not taken yet."""
        self.processor_before: ProcessorTime | None = None
        self.processor_taken: ProcessorTime | None = None
        """When the caller took the last result of a prediction's batch."""
        self.recorder_ns = 0
        """Time of the recorder's own before the open step."""

    @property
    def in_step(self) -> bool:
        """Whether a step is open."""
        return self.machine.in_step

    @property
    def all_taken(self) -> bool:
        """Whether the caller of a prediction has taken all results of the open step's batch."""
        return self.in_step and self.batch_over and self.unconsumed <= 1 and self.leaf_name == "consumer"

    @property
    def step(self) -> int:
        """Number of the current or next step, over the whole run."""
        return self._recorder.next_step(self.phase) if self.number is None else self.number

    def leaf(self, name: str) -> None:
        """Enter a stage of the step."""
        self.machine.leaf(name)
        self._recorder.pass_by(self)

    @property
    def leaf_name(self) -> str | None:
        """The stage that is open."""
        return self.machine.leaf_name

    def note_optimizer(self, interval: int) -> None:
        """Remember whether this step moved the weights, and how many steps later one will again."""
        if self.machine.seen_in_step("optimizer"):
            self._recorder.last_optimizer_step = self.step
        self.optimizer = (self._recorder.last_optimizer_step, interval)

    def begin_step(self, leaf: str) -> None:
        """Begin the next step with waiting for its batch."""
        self._recorder.begin_step(self, leaf)

    def end_step(self) -> None:
        """End the step, if one is open."""
        self._recorder.end_step(self)

    def suspend(self) -> None:
        """Leave this thread to the caller until it asks for more."""
        if self.all_taken:
            self.processor_taken = self._recorder.processor_time()
        self._recorder.suspend(self)

    def resume(self) -> None:
        """Go on, on whatever thread the caller asked for more."""
        self._recorder.resume(self)

    def leave(self) -> None:
        """End the pass; a step that did not come to its end is dropped."""
        self._recorder.leave(self)


class _Thread(threading.local):
    """What one thread does."""

    def __init__(self, recorder: Recorder) -> None:
        self.sessions: list[Session] = []
        """The passes that run on it, the innermost last."""
        self.outside = StageMachine(PassRanges(recorder.ranges), recorder.count_outside)
        """Stages outside of passes."""


class Recorder:
    """Everything that tbperf does in this process; ``settings`` are made in capture/launch.py."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self._settings = settings
        self._parents: list[Any] = []
        self.guard = Guard(self._stop, self._note_missing)
        self.programs_profilers = ProgramsProfilers(self.guard)
        self._begin()

    def _begin(self) -> None:
        settings = self._settings
        rank = os.environ.get("RANK", "")
        self.rank = int(rank) if rank.isdigit() else None
        process = str(os.getpid()) if self.rank is None else f"{os.getpid()}_rank{self.rank}"
        folder: str = settings["folder"]
        self.journal = Journal(folder)
        self.ranges = ProfilerRanges()
        self._lock = threading.RLock()
        self._steps_begun: dict[str, int] = {}
        self._outside: dict[str, tuple[int, int]] = {}
        plans = {phase: Plan(**plan) for phase, plan in settings["plans"].items()}
        files = TraceFiles(folder, process)
        capture: Capture = (
            NsightCapture(self.ranges)
            if settings["nsys"]
            else TorchCapture(settings["profiler"], self.ranges, files, self.programs_profilers)
        )
        calls = ModuleCalls(self.guard, self.journal.write, settings["modules"])
        flag = WindowFlag(folder)
        self._windows = Windows(plans, capture, self.journal.write, flag, calls, settings["max_bytes"])
        self.programs_profilers.when_one_begins(self._windows.give_way)
        self.fetches = FetchLog(folder)
        self._log = StepLog(step_log_path(folder, process))
        self._sessions: list[Session] = []
        """All passes that are not over, of all threads."""
        self._here = _Thread(self)
        self._connected = False
        self._processor = ProcessorClock()
        self.last_optimizer_step = -1
        self._told: set[str] = set()

    # Sessions

    def session(self, *phases: str) -> Session | None:
        """Return the innermost session of this thread (if it is of one of these phases)."""
        sessions = self._here.sessions
        if not sessions:
            return None
        session = sessions[-1]
        return session if not phases or session.phase in phases else None

    def enter(self, phase: str) -> Session:
        """Begin a pass over batches on this thread, inside whatever it does."""
        session = Session(self, phase)
        with self._lock:
            self._sessions.append(session)
        self.resume(session)
        self._windows.begin_pass()
        return session

    def suspend(self, session: Session) -> None:
        """Take a pass off this thread, and end those that were begun inside it and never ended."""
        sessions = self._here.sessions
        if session in sessions:
            while sessions[-1] is not session:
                self.leave(sessions[-1])
            sessions.pop()
        session.running_on = None

    def resume(self, session: Session) -> None:
        """Put a pass on this thread."""
        session.running_on = threading.get_ident()
        self._here.sessions.append(session)

    def leave(self, session: Session) -> None:
        """End a pass, and with it those that were begun inside it and never ended."""
        if session not in self._sessions:
            return
        self.suspend(session)
        with self._lock:
            self._sessions.remove(session)
        if session.all_taken:
            # What its caller did with the last result ended somewhere, but nobody knows when.
            self._end_step(session, before_leaf=True)
        self._drop_step(session)
        session.machine.close_all()
        self._windows.close(session, session.step)
        self._log.flush()

    def leave_phase(self, phase: str) -> None:
        """End the passes of this phase that an exception left behind on this thread."""
        for session in [session for session in self._here.sessions if session.phase == phase]:
            self.leave(session)

    # Steps

    def next_step(self, phase: str) -> int:
        """Return the number of the step of this phase that begins next."""
        return self._steps_begun.get(phase, 0)

    def begin_step(self, session: Session, leaf: str) -> None:
        """Begin a step of the innermost session."""
        if self.session() is not session:
            return
        started = time.perf_counter_ns()
        self._connect()
        self._drop_step(session)
        with self._lock:
            session.number = step = self.next_step(session.phase)
            self._steps_begun[session.phase] = step + 1
        position = Position(
            step=step,
            passed=session.passed,
            left=session.left,
            passes_left=session.passes_left,
            queue=session.queue_capacity,
            optimizer=session.optimizer,
        )
        about = {
            "rank": self.rank,
            "batch": session.batch,
            "prefetch": session.prefetch,
            "visible_devices": os.environ.get("CUDA_VISIBLE_DEVICES"),
            "pid": os.getpid(),
            "threads": _threads(),
            "tbperf": self._settings["version"],
        }
        self._windows.before_step(session, position, about)
        session.recorder_ns = time.perf_counter_ns() - started
        session.images = session.queue = None
        session.batch_began = session.batch_over = False
        session.unconsumed = 0
        session.timed_blocks = session.blocks_open = 0
        session.processor_before = self._processor.read()
        session.machine.begin_step(f"ProfilerStep#{step}", leaf)

    def _drop_step(self, session: Session) -> None:
        """Give back the number of a step that does not come to its end, unless a later one has begun."""
        with self._lock:
            number, session.number = session.number, None
            if number is not None and self.next_step(session.phase) == number + 1:
                self._steps_begun[session.phase] = number

    def end_step(self, session: Session) -> None:
        """End the step of the innermost session and log it."""
        if self.session() is session:
            self._end_step(session, before_leaf=False)

    def _end_step(self, session: Session, *, before_leaf: bool) -> None:
        step = session.number
        times = session.machine.end_step(before_leaf=before_leaf)
        if times is None or step is None:
            return
        before, after = session.processor_before, self._processor.read()
        if before_leaf and session.processor_taken is not None:
            after = session.processor_taken
        session.processor_before = session.processor_taken = session.number = None
        state = self._windows.state(session)
        session.passed += 1
        if session.left is not None:
            session.left -= 1
        started = time.perf_counter_ns()
        self._windows.after_step(session, step)
        session.recorder_ns += time.perf_counter_ns() - started
        self._log.append(
            {
                "phase": session.phase,
                "step": step,
                "thread": threading.get_native_id(),
                "unix_ns": times.unix_ns,
                "dur_ns": times.dur_ns,
                "stages": times.stages,
                "images": session.images,
                "queue": session.queue,
                **({} if before is None else after.since(before)),
                "profiler": state,
                "recorder_ns": session.recorder_ns,
            }
        )

    def pass_by(self, session: Session) -> None:
        """Let what waits for the window to end have it, between two stages."""
        self._windows.pass_by(session)

    def processor_time(self) -> ProcessorTime:
        """Return what this process and this thread have used so far."""
        return self._processor.read()

    # Stages that nest

    def nested(self, name: str) -> Callable[[Any], None]:
        """Open a stage inside whatever is open on this thread; returns what closes it."""
        sessions = self._here.sessions
        machine = sessions[-1].machine if sessions else self._here.outside
        inside = len(sessions)
        depth = machine.open(name)

        def leave(_result: Any) -> None:
            for session in sessions[inside:]:
                self.leave(session)
            machine.close_to(depth)

        return leave

    def count_outside(self, stage: str, dur_ns: int) -> None:
        """Count a stage outside of all steps."""
        with self._lock:
            times, total_ns = self._outside.get(stage, (0, 0))
            self._outside[stage] = (times + 1, total_ns + dur_ns)

    # What the parent must know

    def tell_arguments(self, phase: str, engine: Any) -> None:
        """Report the arguments of a trainer, validator or predictor, once a phase."""
        if phase not in self._told:
            self._told.add(phase)
            device = getattr(engine, "device", None)
            arguments = _plain(vars(engine.args))
            self.journal.write("arguments", phase=phase, rank=self.rank, device=str(device), arguments=arguments)

    # The life of the process

    def finish(self) -> None:
        """Write what is left when the program ends, also by an exception or Ctrl-C."""
        self.guard(self._finish)

    def _finish(self) -> None:
        for session in list(self._sessions):
            self.leave(session)
        self._here.outside.close_all()
        self._log.flush()
        if self._outside:
            outside = {name: {"count": n, "total_ns": ns} for name, (n, ns) in self._outside.items()}
            self.journal.write("outside", stages=outside)

    def forget_the_parent(self) -> None:
        """Start afresh after a fork: what is open is the parent's, and not ours to close."""
        self.guard(self._windows.disown)
        self._parents.append((self._sessions, self._here, self._windows))
        self.guard(self._processor.close)
        self.guard(self._begin)

    def _stop(self, error: str, trace: str) -> None:
        """Leave the program as if we had never been here."""
        _quietly(self.journal.write, "failed", error=error, traceback=trace)
        for session in list(self._sessions):
            _quietly(session.machine.close_all)
        _quietly(self._here.outside.close_all)
        _quietly(self._windows.abort)
        _quietly(self._log.flush)
        self._sessions.clear()

    def _note_missing(self, what: str) -> None:
        self.journal.write("missing", what=what)

    def _connect(self) -> None:
        """Meet torch, which the program has imported and set up by now."""
        with self._lock:
            if not self._connected:
                self._connected = True
                self.ranges.connect()
                self.journal.write("versions", nvtx_ranges=self.ranges.nvtx_connected, **_versions())


def _quietly(function: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
    with contextlib.suppress(Exception):
        function(*args, **kwargs)


def _versions() -> dict[str, str | None]:
    from importlib import metadata

    import torch

    try:
        nvtx: str | None = metadata.version("nvtx")
    except metadata.PackageNotFoundError:
        nvtx = None
    cudnn = torch.backends.cudnn.version() if torch.cuda.is_available() else None
    return {
        "python": ".".join(map(str, sys.version_info[:3])),
        "torch": str(torch.__version__),
        "cuda": torch.version.cuda,
        "cudnn": None if cudnn is None else str(cudnn),
        "ultralytics": getattr(sys.modules.get("ultralytics"), "__version__", None),
        "nvtx": nvtx,
    }


def _threads() -> dict[str, int | None]:
    """Return how many threads torch computes with at this moment, and the cores that they may run on."""
    torch = sys.modules.get("torch")
    return {
        "intra_op": None if torch is None else torch.get_num_threads(),
        "inter_op": None if torch is None else torch.get_num_interop_threads(),
        "usable_cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
    }


def _plain(arguments: Any) -> Any:
    """Return Ultralytics' arguments as values that JSON knows."""
    if isinstance(arguments, dict):
        return {str(name): _plain(value) for name, value in arguments.items()}
    if isinstance(arguments, (list, tuple)):
        return [_plain(value) for value in arguments]
    return arguments if isinstance(arguments, (bool, int, float, str, type(None))) else str(arguments)
