"""One process's recorder: sessions of steps on stage machine, profiler windows and step log."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from typing import Any, Callable

from .fetches import FetchLog, WindowFlag
from .guard import Guard
from .journal import Journal
from .modules import ModuleCalls
from .ranges import ProfilerRanges
from .stages import Frame, StageMachine
from .steps import StepLog, step_log_path
from .windows import Capture, NsightCapture, Plan, Position, TorchCapture, TraceFiles, Windows


class Session:
    """One pass over batches: an epoch of training, a validation, or a prediction.

    The hooks fill in what they learn on the way; all of it is optional.
    """

    def __init__(self, recorder: Recorder, phase: str, frame: Frame) -> None:
        self._recorder = recorder
        self.phase = phase
        self.frame = frame
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

    @property
    def in_step(self) -> bool:
        """Whether a step is open."""
        return self.frame.step_start_ns is not None

    @property
    def step(self) -> int:
        """Number of the current or next step, over the whole run."""
        return self._recorder.steps_done.get(self.phase, 0)

    def leaf(self, name: str) -> None:
        """Enter a stage of the step; a pass inside this one keeps its stages to itself."""
        if self._recorder.session() is self:
            self._recorder.machine.leaf(name)

    @property
    def leaf_name(self) -> str | None:
        """The stage that is open."""
        return self._recorder.machine.leaf_name

    def note_optimizer(self, interval: int) -> None:
        """Remember whether this step moved the weights, and how many steps later one will again."""
        if self.in_step and "optimizer" in self.frame.stages:
            self._recorder.last_optimizer_step = self.step
        self.optimizer = (self._recorder.last_optimizer_step, interval)

    def begin_step(self, leaf: str) -> None:
        """Begin the next step with waiting for its batch."""
        self._recorder.begin_step(self, leaf)

    def end_step(self) -> None:
        """End the step, if one is open."""
        self._recorder.end_step(self)

    def leave(self) -> None:
        """End the pass; a step that did not come to its end is dropped."""
        self._recorder.leave(self)


class Recorder:
    """Everything that tbperf does in this process; ``settings`` are made in capture/launch.py."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self._settings = settings
        self._parents: list[Any] = []
        self.guard = Guard(self._stop, self._note_missing)
        self._begin()

    def _begin(self) -> None:
        settings = self._settings
        rank = os.environ.get("RANK", "")
        self.rank = int(rank) if rank.isdigit() else None
        process = str(os.getpid()) if self.rank is None else f"{os.getpid()}_rank{self.rank}"
        folder: str = settings["folder"]
        self.journal = Journal(folder)
        self.ranges = ProfilerRanges()
        self.machine = StageMachine(self.ranges)
        self.steps_done: dict[str, int] = {}
        plans = {phase: Plan(**plan) for phase, plan in settings["plans"].items()}
        files = TraceFiles(folder, process)
        capture: Capture = (
            NsightCapture(self.ranges)
            if settings["nsys"]
            else TorchCapture(settings["profiler"], self.ranges, files, self.journal.write)
        )
        calls = ModuleCalls(self.ranges, self.guard, self.journal.write, settings["modules"])
        flag = WindowFlag(folder)
        self._windows = Windows(plans, capture, self.journal.write, flag, calls, settings["max_bytes"])
        self.fetches = FetchLog(folder)
        self._log = StepLog(step_log_path(folder, process))
        self._sessions: list[Session] = []
        self._thread: int | None = None
        self._connected = False
        self._profiler_cost_ns = 0
        self.last_optimizer_step = -1
        self.muted = False
        """Whether something runs on this thread that has no place in the innermost session."""
        self._told: set[str] = set()

    # Sessions

    def session(self, *phases: str) -> Session | None:
        """Return the innermost session, if it is on this thread (and of one of these phases)."""
        if self.muted or not self._sessions or self._thread != threading.get_ident():
            return None
        session = self._sessions[-1]
        return session if not phases or session.phase in phases else None

    def enter(self, phase: str) -> Session | None:
        """Begin a pass over batches; None on a second thread, whose stages would tangle."""
        if not self._claim_thread():
            return None
        self._connect()
        session = Session(self, phase, self.machine.enter_frame())
        self._sessions.append(session)
        self._windows.begin_pass()
        return session

    def leave(self, session: Session) -> None:
        """End a pass, and with it those that were begun inside it and never ended."""
        if session not in self._sessions:
            return
        while session in self._sessions:
            last = self._sessions.pop()
            self.machine.leave_frame(last.frame)
            self._windows.close(last.phase, last.step)
        self._log.flush()
        self._release_thread()

    def leave_phase(self, phase: str) -> None:
        """End the passes of this phase that an exception left behind."""
        for session in [session for session in self._sessions if session.phase == phase]:
            self.leave(session)

    # Steps

    def begin_step(self, session: Session, leaf: str) -> None:
        """Begin a step of the innermost session."""
        if self.session() is not session:
            return
        started = time.perf_counter_ns()
        position = Position(
            step=session.step,
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
            "tbperf": self._settings["version"],
        }
        self._windows.before_step(session.phase, position, about, session.model)
        self._profiler_cost_ns = time.perf_counter_ns() - started
        session.images = session.queue = None
        session.batch_began = session.batch_over = False
        session.unconsumed = 0
        session.timed_blocks = session.blocks_open = 0
        self.machine.begin_step(f"ProfilerStep#{session.step}", leaf)

    def end_step(self, session: Session) -> None:
        """End the step of the innermost session and log it."""
        if self.session() is not session:
            return
        times = self.machine.end_step()
        if times is None:
            return
        state = self._windows.state
        step = session.step
        self.steps_done[session.phase] = step + 1
        session.passed += 1
        if session.left is not None:
            session.left -= 1
        started = time.perf_counter_ns()
        self._windows.after_step(session.phase, step)
        self._profiler_cost_ns += time.perf_counter_ns() - started
        self._log.append(
            {
                "phase": session.phase,
                "step": step,
                "unix_ns": times.unix_ns,
                "dur_ns": times.dur_ns,
                "stages": times.stages,
                "images": session.images,
                "queue": session.queue,
                "profiler": state,
                "recorder_ns": self._profiler_cost_ns,
            }
        )

    # Stages that nest

    def nested(self, name: str) -> Callable[[Any], None] | None:
        """Open a stage inside whatever is open; returns what closes it."""
        if not self._claim_thread():
            return None
        depth = self.machine.open(name)

        def leave(_result: Any) -> None:
            self.machine.close_to(depth)
            self._release_thread()

        return leave

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
        self.machine.close_all()
        self._log.flush()
        if self.machine.outside:
            outside = {name: {"count": n, "total_ns": ns} for name, (n, ns) in self.machine.outside.items()}
            self.journal.write("outside", stages=outside)

    def forget_the_parent(self) -> None:
        """Start afresh after a fork: what is open is the parent's, and not ours to close."""
        self.guard(self._windows.disown)
        self._parents.append((self.machine, self._windows))
        self.guard(self._begin)

    def _stop(self, error: str, trace: str) -> None:
        """Leave the program as if we had never been here."""
        _quietly(self.journal.write, "failed", error=error, traceback=trace)
        _quietly(self.machine.close_all)
        _quietly(self._windows.abort)
        _quietly(self._log.flush)
        self._sessions.clear()

    def _note_missing(self, what: str) -> None:
        self.journal.write("missing", what=what)

    def _claim_thread(self) -> bool:
        if self.muted:
            return False
        thread = threading.get_ident()
        if self._thread is None:
            self._thread = thread
        return self._thread == thread

    def _release_thread(self) -> None:
        if not self._sessions and self.machine.depth == 0:
            self._thread = None

    def _connect(self) -> None:
        """Meet torch, which the program has imported by now."""
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


def _plain(arguments: Any) -> Any:
    """Return Ultralytics' arguments as values that JSON knows."""
    if isinstance(arguments, dict):
        return {str(name): _plain(value) for name, value in arguments.items()}
    if isinstance(arguments, (list, tuple)):
        return [_plain(value) for value in arguments]
    return arguments if isinstance(arguments, (bool, int, float, str, type(None))) else str(arguments)
