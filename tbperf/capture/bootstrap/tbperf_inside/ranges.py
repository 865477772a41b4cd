"""Shows stages to torch.profiler, as ``record_function``, and to NVTX tools."""

from __future__ import annotations

import os
from typing import Any, Callable, Tuple

from .stages import Ranges

Token = Tuple[Any, bool]

_LISTENING = ("NVTX_INJECTION64_PATH", "NSYS_PROFILING_SESSION_ID")
"""In the environment where an NVTX tool watches the program, also without CUDA."""

_WINDOW = "tbperf.window"
"""What nsys captures where it cannot wait for cudaProfilerStart; capture/nsight.py names it."""


class ProfilerRanges(Ranges):
    """Ranges under the same name in both worlds.

    A range costs time even when nobody profiles, so torch's are opened only while ``recording``.
    NVTX goes through torch's own binding: the ``nvtx`` package asks the tool whether its domain is
    on, older Nsight Systems say no, and its ranges vanish without a word.
    """

    def __init__(self) -> None:
        self.recording = False
        self._nvtx: Any = None
        self._enter: Any = None
        self._exit: Any = None
        self._window: Any = None

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

    def open(self, name: str) -> Token | None:
        """Open a range on this thread."""
        if self._nvtx is not None:
            self._nvtx.rangePushA(name)
            return (self._enter(name) if self.recording else None, True)
        return (self._enter(name), False) if self.recording else None

    def shortest(self) -> tuple[Callable[[str], Any], Callable[[Any], None]]:
        """Return torch's own functions where nothing but torch's profiler is there to see the range."""
        return (self._enter, self._exit) if self.recording and self._nvtx is None else (self.open, self.close)

    def close(self, token: Token | None) -> None:
        """Close the range, also when recording stopped since it was opened."""
        if token is not None:
            handle, in_nvtx = token
            if handle is not None:
                self._exit(handle)
            if in_nvtx:
                self._nvtx.rangePop()


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
