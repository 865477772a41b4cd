"""Shows stages to torch.profiler, as ``record_function``, and to NVTX tools."""

from __future__ import annotations

import itertools
import os
import threading
from typing import Any, Callable, Optional, Tuple

from .stages import Ranges

Token = Tuple[Optional[int], Optional["_Pushed"]]
"""The number of a range of torch's profiler, and the range of NVTX."""

_LISTENING = ("NVTX_INJECTION64_PATH", "NSYS_PROFILING_SESSION_ID")
"""In the environment where an NVTX tool watches the program, also without CUDA."""

_WINDOW = "tbperf.window"
"""What nsys captures where it cannot wait for cudaProfilerStart; capture/nsight.py names it."""


class _Pushed:
    """A range on the NVTX stack of the thread that pushed it."""

    __slots__ = ("closed", "thread")

    def __init__(self, thread: int) -> None:
        self.thread = thread
        self.closed = False


class _NvtxStacks(threading.local):
    """What each thread has pushed: NVTX pops whatever is on top, so that only the top may be popped."""

    def __init__(self) -> None:
        self.pushed: list[_Pushed] = []


class ProfilerRanges:
    """Ranges under the same name in both worlds.

    A range costs time even when nobody profiles, so torch's are opened only for the pass that is recorded
    (`PassRanges`).  NVTX goes through torch's own binding: the ``nvtx`` package asks the tool whether its domain is
    on, older Nsight Systems say no, and its ranges vanish without a word.
    """

    def __init__(self) -> None:
        self._nvtx: Any = None
        self._nvtx_stacks = _NvtxStacks()
        self._enter: Any = None
        self._exit: Any = None
        self._window: Any = None
        self._numbers = itertools.count(1)
        self._recorded: dict[int, Any] = {}
        """By number: the open ranges of torch's profiler.  Each is taken out by whoever closes it, so by one only."""

    def connect(self) -> None:
        """Look for the profilers; called when the program has imported torch."""
        import torch

        # The cheapest way to the range that record_function makes: under 2 µs instead of 10 to 15,
        # so that the hole between two stages stays small.
        self._enter = getattr(torch.autograd, "_record_function_with_args_enter", None)
        self._exit = getattr(torch.autograd, "_record_function_with_args_exit", None)
        if self._enter is None or self._exit is None:
            self._enter, self._exit = _enter_record_function, _exit_record_function
        if torch.cuda.is_available() or any(name in os.environ for name in _LISTENING):
            self._nvtx = _torch_nvtx()

    @property
    def nvtx_connected(self) -> bool:
        """Whether ranges go to NVTX too."""
        return self._nvtx is not None

    def begin_window(self) -> None:
        """Open the range that tells Nsight Systems what to capture; it encloses whole steps."""
        if self._nvtx is not None:
            self._window = self._nvtx.rangeStartA(_WINDOW)

    def end_window(self) -> None:
        """Close that range."""
        if self._nvtx is not None and self._window is not None:
            self._nvtx.rangeEnd(self._window)
            self._window = None

    def record(self, name: str) -> int:
        """Open a range that torch's profiler sees; returns its number."""
        number = next(self._numbers)
        self._recorded[number] = self._enter(name)
        return number

    def end_record(self, number: int) -> None:
        """Close that range, on whatever thread, unless `end_recording` did."""
        handle = self._recorded.pop(number, None)
        if handle is not None:
            self._exit(handle)

    def end_recording(self) -> None:
        """Close all ranges of torch's profiler, innermost first.

        A range that is closed later would write into the memory of a session that is gone, as soon as another one runs.
        """
        while self._recorded:
            try:
                _, handle = self._recorded.popitem()
            except KeyError:  # its own thread was faster
                return
            self._exit(handle)

    def push(self, name: str) -> _Pushed:
        """Open a range for NVTX on this thread."""
        self._pop_closed()
        pushed = _Pushed(threading.get_ident())
        self._nvtx_stacks.pushed.append(pushed)
        self._nvtx.rangePushA(name)
        return pushed

    def pop(self, pushed: _Pushed) -> None:
        """Close it; one that another thread pushed, or that another lies upon, ends when its thread comes to it."""
        pushed.closed = True
        self._pop_closed()

    def _pop_closed(self) -> None:
        stack = self._nvtx_stacks.pushed
        while stack and stack[-1].closed:
            stack.pop()
            self._nvtx.rangePop()


class PassRanges(Ranges):
    """The ranges of one pass over batches: NVTX always has them, torch's profiler while the pass is ``recorded``."""

    def __init__(self, profilers: ProfilerRanges) -> None:
        self._profilers = profilers
        self.recorded = False

    def open(self, name: str) -> Token | None:
        """Open a range on this thread."""
        profilers = self._profilers
        if profilers.nvtx_connected:
            pushed = profilers.push(name)
            return (profilers.record(name) if self.recorded else None, pushed)
        return (profilers.record(name), None) if self.recorded else None

    def close(self, token: Token | None) -> None:
        """Close the range, also when recording stopped since it was opened."""
        if token is not None:
            number, pushed = token
            if number is not None:
                self._profilers.end_record(number)
            if pushed is not None:
                self._profilers.pop(pushed)

    def shortest(self) -> tuple[Callable[[str], Any], Callable[[Any], None]]:
        """Return what opens and closes ranges of torch's profiler alone where nothing else is there to see them."""
        profilers = self._profilers
        if self.recorded and not profilers.nvtx_connected:
            return profilers.record, profilers.end_record
        return self.open, self.close


def _enter_record_function(name: str) -> Any:
    import torch

    record_function = torch.autograd.profiler.record_function(name)
    record_function.__enter__()
    return record_function


def _exit_record_function(record_function: Any) -> None:
    record_function.__exit__(None, None, None)


def _torch_nvtx() -> Any:
    """Return torch's NVTX binding, or None in builds without CUDA."""
    try:
        from torch._C import _nvtx
    except ImportError:
        return None
    return _nvtx if hasattr(_nvtx, "rangePushA") else None
