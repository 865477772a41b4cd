"""Who profiles: the program's own profilers go first, and Kineto's log stays what it would be without tbperf.

A process has one Kineto, and a thread one session of torch's profiler: who starts a second one ends the first without
a word, and exporting a session that is gone reads freed memory.  So all that starts a session is watched where torch
itself calls it, below ``torch.profiler``, ``torch.autograd.profiler``, ``emit_nvtx`` and ``emit_itt`` alike.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import sys
import threading
from typing import TYPE_CHECKING, Any, Callable, Iterator

from .patching import MARK

if TYPE_CHECKING:
    from types import ModuleType

    from .guard import Guard
    from .imports import ImportHooks

_PROFILER = "profiler"
_SEES_RANGES = "recording of operators or allocations"
"""Of the program's own: execution traces and the memory's history would show tbperf's ranges."""


_Function = Callable[..., Any]
_Around = Callable[[_Function], _Function]
"""Takes a function of torch and returns what is called in its place."""


class OwnCalls(threading.local):
    """Whether this thread is inside tbperf's own use of torch's profiler."""

    active = False


class ProgramsProfilers:
    """The profilers that the program itself runs, as far as torch knows of them."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        self._own = OwnCalls()
        self._running: dict[tuple[str, int], None] = {}
        """By what it is and on which thread it began."""
        self._give_way: Callable[[str], None] = lambda _what: None
        self.import_thread: int | None = None
        """The thread that imported torch: Kineto complains on stderr when another one starts it."""

    def register(self, hooks: ImportHooks) -> None:
        """Watch torch's profilers from the moment when the program imports them."""
        hooks.after("torch.autograd.profiler", self._on_profiler)
        hooks.after("torch.autograd.profiler_legacy", self._on_legacy)
        hooks.after("torch.profiler.profiler", self._on_observers)
        hooks.after("torch.cuda.memory", self._on_memory)

    def when_one_begins(self, give_way: Callable[[str], None]) -> None:
        """Call ``give_way`` with what begins before any of them does, on the thread where it begins."""
        self._give_way = give_way

    @property
    def running(self) -> str | None:
        """What of the program's own profiles now; None while nothing does."""
        for what, _thread in list(self._running):
            return f"the program's own {what}"
        return _attached()

    @contextlib.contextmanager
    def ours(self) -> Iterator[None]:
        """Tell our own sessions on this thread from the program's."""
        before, self._own.active = self._own.active, True
        try:
            yield
        finally:
            self._own.active = before

    def _on_profiler(self, module: ModuleType) -> None:
        self.import_thread = threading.get_ident()
        for place in _places(module):
            for begins in ("_prepare_profiler", "_enable_profiler"):
                self._watch(place, begins, self._beginning(_PROFILER))
            self._watch(place, "_disable_profiler", self._ending(_PROFILER))

    def _on_legacy(self, module: ModuleType) -> None:
        for place in _places(module):
            self._watch(place, "_enable_profiler_legacy", self._beginning(_PROFILER))
            self._watch(place, "_disable_profiler_legacy", self._ending(_PROFILER))

    def _on_observers(self, module: ModuleType) -> None:
        for place in (module, sys.modules.get("torch._C._profiler")):
            self._watch(place, "_enable_execution_trace_observer", self._beginning(_SEES_RANGES))
            self._watch(place, "_disable_execution_trace_observer", self._ending(_SEES_RANGES))

    def _on_memory(self, _module: ModuleType) -> None:
        for name in ("_cuda_record_memory_history", "_cuda_record_memory_history_legacy"):
            self._watch(sys.modules.get("torch._C"), name, self._switching(_SEES_RANGES))

    def _watch(self, place: Any, name: str, around: _Around) -> None:
        function = getattr(place, name, None)
        if callable(function) and not hasattr(function, MARK):
            watched = functools.wraps(function)(around(function))
            setattr(watched, MARK, True)
            setattr(place, name, watched)

    def _beginning(self, what: str) -> _Around:
        def around(function: _Function) -> _Function:
            def begins(*args: Any, **kwargs: Any) -> Any:
                if self._own.active:
                    return function(*args, **kwargs)
                self._guard(self._begins, what)
                try:
                    return function(*args, **kwargs)
                except BaseException:
                    self._ended(what)
                    raise

            return begins

        return around

    def _ending(self, what: str) -> _Around:
        def around(function: _Function) -> _Function:
            def ends(*args: Any, **kwargs: Any) -> Any:
                try:
                    return function(*args, **kwargs)
                finally:
                    if not self._own.active:
                        self._ended(what)

            return ends

        return around

    def _switching(self, what: str) -> _Around:
        """Watch what is switched on and off by its first argument."""

        def around(function: _Function) -> _Function:
            begins, ends = self._beginning(what)(function), self._ending(what)(function)

            def switches(*args: Any, **kwargs: Any) -> Any:
                on = args[0] if args else kwargs.get("enabled", True)
                return (begins if on else ends)(*args, **kwargs)

            return switches

        return around

    def _begins(self, what: str) -> None:
        # Known before ours has ended: no new window of ours begins in between.
        self._running[what, threading.get_ident()] = None
        self._give_way(what)

    def _ended(self, what: str) -> None:
        """Forget the one that began on this thread, or, as profilers of all threads end anywhere, any."""
        if self._running.pop((what, threading.get_ident()), self) is self:
            for other in [key for key in self._running if key[0] == what][:1]:
                self._running.pop(other, None)


def _places(module: ModuleType) -> list[Any]:
    """Return where torch keeps the functions that start and stop a session, each imported by name."""
    return [module, *(sys.modules.get(name) for name in ("torch.autograd", "torch._C._autograd"))]


def _attached() -> str | None:
    """Return the tool that has CUPTI, or takes traces when it is asked from outside; None where there is none."""
    if os.environ.get("KINETO_USE_DAEMON", "0") not in {"", "0"}:
        return "Kineto on demand (KINETO_USE_DAEMON)"
    torch = sys.modules.get("torch")
    for variable in ("NSYS_PROFILING_SESSION_ID", "CUDA_INJECTION64_PATH", "ROCP_TOOL_LIBRARIES"):
        if os.environ.get(variable) and torch is not None and torch.cuda.is_available():
            return f"a profiler that is attached ({variable})"
    return None


class KinetoLog:
    """Keeps Kineto from writing about tbperf's sessions into the program's output, and about no other's.

    Kineto reads KINETO_LOG_LEVEL once, when it is first used; from then on the level is a variable of its library.
    """

    _SILENT = 99
    _LEVEL = "_ZN9libkineto6Logger14severityLevel_E"

    def __init__(self) -> None:
        self._level: Any = None
        self._searched = False

    @contextlib.contextmanager
    def silenced(self) -> Iterator[None]:
        """Silence what Kineto says; when it is used for the first time, it learns its level as the program set it."""
        level = self._find()
        if level is None:
            with _variable("KINETO_LOG_LEVEL", str(self._SILENT)):
                yield
            return
        before, level.value = level.value, self._SILENT
        try:
            yield
        finally:
            # Otherwise Kineto was used for the first time, and has learned its level.
            if level.value == self._SILENT:
                level.value = before

    def _find(self) -> Any:
        if not self._searched:
            self._searched = True
            torch = sys.modules["torch"]
            library = os.path.join(os.path.dirname(torch.__file__ or ""), "lib", "libtorch_cpu.so")
            with contextlib.suppress(OSError, ValueError):
                self._level = ctypes.c_int.in_dll(ctypes.CDLL(library), self._LEVEL)
        return self._level


@contextlib.contextmanager
def _variable(name: str, value: str) -> Iterator[None]:
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
