"""Waits for the command, and lets signals reach it as if nothing stood between it and who sends them."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

_FAULTS = {
    signal.SIGSEGV,
    signal.SIGBUS,
    signal.SIGFPE,
    signal.SIGILL,
    signal.SIGTRAP,
    signal.SIGSYS,
    signal.SIGPIPE,
    signal.SIGXFSZ,
}
"""What this process brings upon itself."""

_STOPS_AT_THE_TERMINAL = {signal.SIGTTIN, signal.SIGTTOU}
"""The kernel sends these to the whole group, which must stop as a whole."""

_FORWARDED = {
    *(signal.valid_signals() - _FAULTS - _STOPS_AT_THE_TERMINAL - {signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD})
}

_TAKEN = {*_FORWARDED, signal.SIGCHLD}

_ALARM = signal.SIGALRM
"""Of a timer that was set before this process's program began: a command does not inherit it."""

_SENT_BY_KERNEL = 0x80
"""``si_code`` of a signal from the terminal, whose whole foreground group gets it, or from a limit or timer of ours."""

_ASKED_AGAIN_S = 1.0
"""Where another thread of this process takes a SIGCHLD, none is seen here."""

_REACHES_ALL_S = 0.02
"""How long a signal may take to reach the other processes that it was sent to."""


def wait(pid: int, beside: Callable[[int], AbstractContextManager[None]]) -> int:
    """Wait for a child to end; return its exit code, or −n when signal n ended it.

    ``beside`` is told the child's number; what it returns is entered while the child runs.
    """
    with _entered(beside, pid):
        while True:
            try:
                _, status = os.waitpid(pid, 0)
            except ChildProcessError:  # someone else waited for it
                return 0
            if not os.WIFSTOPPED(status):
                return os.waitstatus_to_exitcode(status)


@contextlib.contextmanager
def _entered(beside: Callable[[int], AbstractContextManager[None]], pid: int) -> Iterator[None]:
    """Enter what runs beside the command, which must be waited for whatever happens to that."""
    stack = contextlib.ExitStack()
    with contextlib.suppress(Exception):
        stack.enter_context(beside(pid))
    try:
        yield
    finally:
        with contextlib.suppress(Exception):
            stack.close()


class Signals:
    """Takes the signals that this process is sent while it stands for the command; used in the main thread only.

    Signals to this process alone are passed on.  Those to a whole group, as a terminal, ``timeout`` or a service's
    manager send them, have reached the command already.
    """

    def __init__(self) -> None:
        self.before = signal.pthread_sigmask(signal.SIG_BLOCK, _TAKEN)
        """What was blocked until now, as it must be in the command."""
        self.ignored: tuple[int, ...] = ()
        """What was ignored until now and cannot be while we wait, but must be in the command."""
        if signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN:
            # Before there is a command: otherwise the system keeps no exit code of one that ends at once.
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            self.ignored = (signal.SIGCHLD,)
        self._witness = _Witness()
        self._early: list[int] = []
        while (arrived := signal.sigtimedwait(_FORWARDED, 0)) is not None:
            self._early.append(arrived.si_signo)

    def wait(self, pid: int, beside: Callable[[int], AbstractContextManager[None]]) -> int:
        """Do what `wait` does, and pass signals on meanwhile."""
        # The threads of what runs beside inherit our mask, so that signals still wait for us.
        with _entered(beside, pid):
            for number in self._early:
                _send(pid, number)
            while True:
                exit_code = self._look_after(pid)
                if exit_code is not None:
                    return exit_code
                arrived = signal.sigtimedwait(_TAKEN, _ASKED_AGAIN_S)
                if arrived is not None and arrived.si_signo != signal.SIGCHLD:
                    self._pass_on(pid, arrived)

    def close(self) -> None:
        """Let signals through again; those that came for the command are forgotten."""
        self._witness.close()
        while signal.sigtimedwait(_TAKEN, 0) is not None:
            pass
        for number in self.ignored:
            signal.signal(number, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_SETMASK, self.before)

    def _look_after(self, pid: int) -> int | None:
        """Return the exit code of a child that has ended; stop when it has stopped."""
        try:
            found, status = os.waitpid(pid, os.WNOHANG | os.WUNTRACED)
        except ChildProcessError:  # someone else waited for it
            return 0
        if not found:
            return None
        if os.WIFSTOPPED(status):
            if _owns_the_terminal():
                # The shell waits for us to stop, and takes the terminal back then.
                _stop() if os.WSTOPSIG(status) == signal.SIGTSTP else os.kill(os.getpid(), signal.SIGSTOP)
            return None
        return os.waitstatus_to_exitcode(status)

    def _pass_on(self, pid: int, arrived: signal.struct_siginfo) -> None:
        number = arrived.si_signo
        if arrived.si_code == _SENT_BY_KERNEL:
            reached = number != _ALARM
        else:
            reached = self._witness.has_seen(number)
            if reached:
                while signal.sigtimedwait({number}, 0) is not None:
                    pass  # sent to us alone and to the group, as `timeout` does
        if not reached:
            _send(pid, number)
        if number == signal.SIGTSTP:
            _stop()


def _send(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _stop() -> None:
    """Stop as the terminal asks for it; return when this process is continued."""
    signal.raise_signal(signal.SIGTSTP)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTSTP})
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTSTP})


def _owns_the_terminal() -> bool:
    """Tell whether a shell with job control waits for us."""
    try:
        terminal = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return False
    finally:
        os.close(terminal)


class _Witness:
    """A process of our group that takes no signals: what waits for it was sent to the group, and to the command, too.

    It ends with this process, however that ends: it reads from a pipe that nobody else holds.
    """

    def __init__(self) -> None:
        self._process = self._started()
        self._seen: set[int] = set()

    def has_seen(self, number: int) -> bool:
        """Tell whether a signal that has just come was sent to all of the group."""
        time.sleep(_REACHES_ALL_S)
        self._seen |= self._waiting()
        if number not in self._seen:
            return False
        self._seen.remove(number)
        # What waits is not seen a second time: another one must take over.
        fresh = self._started()
        self.close()
        self._process = fresh
        return True

    def close(self) -> None:
        """End it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            if self._process.stdin is not None:
                self._process.stdin.close()
            self._process = None

    def _waiting(self) -> set[int]:
        if self._process is None:
            return set()
        try:
            lines = Path(f"/proc/{self._process.pid}/status").read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            return set()
        mask = next((int(line.split()[1], 16) for line in lines if line.startswith("ShdPnd:")), 0)
        return {number for number in _FORWARDED if mask >> (number - 1) & 1}

    @staticmethod
    def _started() -> subprocess.Popen[bytes] | None:
        """Start it with our blocked signals; None where there is no room: then every signal is passed on."""
        try:
            return subprocess.Popen(
                ["/bin/sh", "-c", "read -r nothing"],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        except OSError:
            return None


def in_main_thread() -> bool:
    """Tell whether signals can be taken here: they reach the main thread alone."""
    return threading.current_thread() is threading.main_thread()


@contextlib.contextmanager
def taken_signals() -> Iterator[Signals | None]:
    """Take signals while the body runs; None in another thread than the main one, which is not ours to stop."""
    if not in_main_thread():
        yield None
        return
    signals = Signals()
    try:
        yield signals
    finally:
        signals.close()
