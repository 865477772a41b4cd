"""What captures a window: torch's profiler, or Nsight Systems around the whole program."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import re
import socket
import sys
import threading
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from .profilers import KinetoLog

if TYPE_CHECKING:
    from .profilers import ProgramsProfilers
    from .ranges import ProfilerRanges


_WAITED_STEPS = 16
"""Steps on other threads than the main one for which Kineto's first use there is waited for without a note."""


class TraceFiles(NamedTuple):
    """Names trace files as TensorBoard expects them."""

    folder: str
    process: str

    def new(self) -> str:
        """Return a path that no other trace has."""
        host = re.sub(r"[^A-Za-z0-9-]", "-", socket.gethostname()) or "host"
        name = f"{host}_{self.process}.{time.time_ns()}.pt.trace.json"
        return os.path.join(self.folder, "trace", name)


class Capture:
    """Something that captures a window: prepared before its warm-up, started and stopped around its steps."""

    on = False
    """Whether it captures."""

    def prepare(self, _phase: str) -> str | None:
        """Get ready for a window now; returns why there can be none."""
        raise NotImplementedError

    def start(self, _about: dict[str, Any]) -> None:
        """Begin to capture, with what is to be told about it."""
        raise NotImplementedError

    @property
    def ends_here(self) -> bool:
        """Whether it can be stopped on this thread."""
        return True

    def stop(self) -> str | None:
        """End; return the file that was written, None where nothing was or another process writes it."""
        raise NotImplementedError

    def abort(self) -> None:
        """End, on whatever thread, and forget what was captured."""
        raise NotImplementedError

    def tidy(self) -> None:
        """Do what could not be done on another thread."""


class NsightCapture(Capture):
    """Tells Nsight Systems, which runs the whole program, where its one window lies.

    CUPTI has one subscriber: torch's profiler stays off.
    """

    def __init__(self, ranges: ProfilerRanges) -> None:
        self._ranges = ranges
        self._captured = False

    def prepare(self, _phase: str) -> str | None:
        """Be ready for the first window; nsys stops with the first capture range."""
        return "" if self._captured else None

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
    """Runs torch.profiler.

    A session belongs to the thread that started it, but for one that records all threads, which newer versions of torch
    have.  A prediction gets such a one where it can: its steps may move between threads.
    """

    def __init__(
        self, options: dict[str, bool], ranges: ProfilerRanges, files: TraceFiles, programs: ProgramsProfilers
    ) -> None:
        self._options = options
        self._ranges = ranges
        self._files = files
        self._programs = programs
        self._log = KinetoLog()
        self._profiler: Any = None
        self._thread = 0
        self._all_threads = False
        self._used = False
        """Whether Kineto has been used in this process."""
        self._soon: Any = None
        self._waited = 0
        """Steps that waited for Kineto's first use."""
        self._left_behind: set[int] = set()
        """Threads on which a session could not be ended."""

    def _use_kineto_soon(self) -> None:
        """Have Kineto used for the first time where that is silent: on the thread that imported torch, the main one.

        That thread does it when it next runs Python, as it would run the handler of a signal.  No sooner than a window
        is due: once Kineto has been used, children that the program forks may not end well.
        """
        if self._soon is None and self._programs.import_thread == threading.main_thread().ident:
            self._soon = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p)(self._use_kineto)
            ctypes.pythonapi.Py_AddPendingCall(self._soon, None)

    def _use_kineto(self, _nothing: Any) -> int:
        try:
            import torch

            # A GPU is not ours to wake up.
            asleep = _may_have_gpu() and not torch.cuda.is_initialized()
            if not self._used and not asleep and self._programs.running is None:
                self._run_briefly(torch.profiler.profile() if _may_have_gpu() else _LightProfiler({}))
                self._used = True
        except Exception:
            return 0  # no window opens, which is told
        return 0

    def prepare(self, phase: str) -> str | None:
        """Make a profiler and let it warm up, unless the program runs one of its own."""
        import torch
        from torch.autograd import profiler as autograd_profiler

        running = self._programs.running
        if running is None and getattr(autograd_profiler, "_is_profiler_enabled", False):
            running = "the program's own profiler"
        if running is not None:
            return f"{running} ran in {phase}"
        if not self._used and threading.get_ident() != self._programs.import_thread:
            self._use_kineto_soon()
            self._waited += 1
            if self._waited < _WAITED_STEPS:
                return ""
            return f"{phase} runs on other threads than the one that imported torch, where Kineto must be used first"
        self._used = True
        options: dict[str, Any] = dict(self._options)
        if options.get("with_stack") and _python_is_profiled():
            options["with_stack"] = False
        config = _all_threads_config() if phase == "predict" else None
        if config is not None:
            options["experimental_config"] = config
        self._all_threads = config is not None
        self._thread = threading.get_ident()
        with self._programs.ours(), self._log.silenced():
            self._profiler = _light_profiler(options) or torch.profiler.profile(**options)
            self._profiler.prepare_trace()
        return None

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
        self._start()
        if preset is None:
            self._profiler.add_metadata_json("tbperf", json.dumps(metadata))
        self.on = True

    def _start(self) -> None:
        self._thread = threading.get_ident()
        with self._programs.ours(), self._log.silenced():
            self._profiler.start_trace()

    @property
    def ends_here(self) -> bool:
        """Whether it can be stopped on this thread."""
        return self._all_threads or self._thread == threading.get_ident()

    def stop(self) -> str | None:
        """End, and write the trace."""
        recorded = self.on
        profiler = self._end()
        if not recorded:
            return None
        path = self._files.new()
        # A name that no reader looks for, until the file is whole.
        with self._log.silenced():
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
        if self._profiler is None:
            return
        if self.ends_here or not self.on:
            self._end()
        else:
            self._leave_behind()

    def tidy(self) -> None:
        """End the session that another thread could not end on this one."""
        thread = threading.get_ident()
        if thread in self._left_behind and self._programs.running is None:
            self._left_behind.discard(thread)
            from torch.autograd import profiler as autograd_profiler

            spare = autograd_profiler.profile()
            with self._programs.ours(), self._log.silenced():
                # Kineto must have a session for what ends here to end; this one is nobody's.
                spare._prepare_trace()
                autograd_profiler._disable_profiler()

    def _end(self) -> Any:
        profiler, self._profiler = self._profiler, None
        self._ranges.end_recording()
        if not self.on:
            # Still warming up: a profiler must have started to be stopped.
            self._profiler = profiler
            self._start()
            self._profiler = None
        self.on = False
        with self._programs.ours(), self._log.silenced():
            profiler.stop_trace()
        return profiler

    def _leave_behind(self) -> None:
        """Free Kineto of a session of another thread, whose own part of it ends when it comes by, or with it."""
        self._profiler = None
        self._ranges.end_recording()
        self.on = False
        self._left_behind.add(self._thread)
        self._run_briefly(_LightProfiler({}))

    def _run_briefly(self, profiler: Any) -> None:
        """Start and stop a session of nobody's."""
        with self._programs.ours():
            with self._log.silenced():
                profiler.prepare_trace()
            # Kineto's first use has set its level.
            with self._log.silenced():
                profiler.start_trace()
                profiler.stop_trace()


class _LightProfiler:
    """What ``torch.profiler.profile`` does on the CPU, without importing ``torch._inductor``: seconds, and 150 MB.

    It imports that to ask about CUDA graphs, of which there are none here.
    """

    def __init__(self, options: dict[str, Any]) -> None:
        from torch.autograd.profiler import profile

        self._profile = profile(**options)
        self._options = options
        self._metadata: dict[str, str] = {}

    def preset_metadata_json(self, key: str, value: str) -> None:
        """Keep what becomes metadata of the trace when it starts."""
        self._metadata[key] = value

    def prepare_trace(self) -> None:
        """Warm up."""
        self._profile._prepare_trace()

    def start_trace(self) -> None:
        """Begin to record."""
        from torch.autograd import _add_metadata_json

        self._profile._start_trace()
        for option in ("profile_memory", "with_stack", "record_shapes", "with_flops"):
            if self._options.get(option):
                _add_metadata_json(option, "1")
        for key, value in self._metadata.items():
            _add_metadata_json(key, value)

    def stop_trace(self) -> None:
        """End."""
        self._profile.__exit__(None, None, None)

    def export_chrome_trace(self, path: str) -> None:
        """Write what was recorded."""
        self._profile.export_chrome_trace(path)


def _light_profiler(options: dict[str, Any]) -> _LightProfiler | None:
    """Return a profiler of the CPU alone, where that is all there is to record."""
    import torch

    distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
    alone = torch.autograd._supported_activities() == {torch.autograd.ProfilerActivity.CPU}
    return None if distributed or not alone or "torch._inductor" in sys.modules else _LightProfiler(options)


def _may_have_gpu() -> bool:
    """Return whether a driver is there, without asking it."""
    return any(os.path.exists(path) for path in ("/dev/nvidiactl", "/dev/nvidia0", "/dev/dxg", "/dev/kfd"))


def _python_is_profiled() -> bool:
    """Return whether another tool has Python's one place for a profiler, which call stacks would take from it."""
    return sys.getprofile() is not None or getattr(threading, "_profile_hook", None) is not None


def _ends_well(path: str) -> bool:
    """Return whether a JSON document is there up to its end."""
    try:
        with open(path, "rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - 64))
            return file.read().rstrip().endswith(b"}")
    except OSError:
        return False


def _all_threads_config() -> Any:
    """Return what lets the profiler see the thread that loads images ahead, where torch can."""
    try:
        from torch._C._profiler import _ExperimentalConfig

        return _ExperimentalConfig(profile_all_threads=True)
    except (ImportError, TypeError):
        return None
