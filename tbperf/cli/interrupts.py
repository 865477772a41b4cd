"""Ctrl-C: one line at most, nothing half-written, exit code 130."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from collections.abc import Iterator

INTERRUPTED_CODE = 130

_IMPATIENT_S = 1.0
_AGAIN_S = 0.01


class Interrupts:
    """Raises KeyboardInterrupt once, so that what is half done is undone; whoever asks again after a while is heard."""

    def __init__(self) -> None:
        self._first_s: float | None = None
        if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
            signal.signal(signal.SIGINT, self._arrived)
            sys.unraisablehook = self._unraisable

    @property
    def arrived(self) -> bool:
        """Whether the user has asked for the end: what fails then, fails because of it."""
        return self._first_s is not None

    def _arrived(self, _number: int, _frame: object) -> None:
        now = time.monotonic()
        if self._first_s is None:
            self._first_s = now
            raise KeyboardInterrupt
        if now - self._first_s > _IMPATIENT_S:
            os._exit(INTERRUPTED_CODE)

    def _unraisable(self, lost: sys.UnraisableHookArgs) -> None:
        """Ask again where an interrupt came while Python ran something that cannot raise, as it tidies up an object."""
        if lost.exc_type is not KeyboardInterrupt:
            sys.__unraisablehook__(lost)
            return
        self._first_s = None
        signal.signal(signal.SIGALRM, self._arrived)
        signal.setitimer(signal.ITIMER_REAL, _AGAIN_S)

    @staticmethod
    def end_with(code: int) -> None:
        """End at once with this code when the user asks for it now: all is done, and Python only tidies up."""
        if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
            signal.signal(signal.SIGINT, lambda _number, _frame: os._exit(code))


class EndedError(KeyboardInterrupt):
    """This process was told to end by a signal."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


@contextlib.contextmanager
def ending_signals() -> Iterator[None]:
    """Raise EndedError in the body at the first signal that would end this process; further ones are ignored.

    Signals that whoever started this process has it ignore, as ``nohup`` does, stay ignored.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in _ENDING}
    mine = [number for number in _ENDING if before[number] is not signal.SIG_IGN]

    def arrived(number: int, _frame: object) -> None:
        for each in mine:
            signal.signal(each, signal.SIG_IGN)
        raise EndedError(number)

    for number in mine:
        signal.signal(number, arrived)
    try:
        yield
    finally:
        for number in mine:
            signal.signal(number, before[number])


def die_by(number: int) -> NoReturn:
    """End this process by a signal, so that a shell and other callers see the end that the command had."""
    sys.stdout.flush()
    with contextlib.suppress(OSError, ValueError):
        # The core of interest, if any, is the command's.
        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    with contextlib.suppress(OSError, ValueError):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
    os.kill(os.getpid(), number)
    sys.exit(128 + number)  # the first process of a container cannot end by a signal of its own
