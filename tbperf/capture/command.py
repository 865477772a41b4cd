"""The command: found and started as a shell finds and starts it."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import stat
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from tbperf.errors import TbperfError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_SHELL = "/bin/sh"
_SAMPLE_BYTES = 128
_USUAL_FILES = 1024

_SET_BY_PYTHON = (signal.SIGPIPE, signal.SIGXFSZ)
"""Ignored by every Python, which its children must not inherit."""


class CommandNotFoundError(TbperfError):
    """There is no such command; the exit code is a shell's."""

    exit_code = 127


class CommandNotExecutableError(TbperfError):
    """The command is there and cannot be run; the exit code is a shell's."""

    exit_code = 126


class NoProcessError(TbperfError):
    """The system has no room for another process: the command can only run in place of this one."""


def find_program(command: Sequence[str]) -> str:
    """Return the file that a shell would run.

    Raises:
        CommandNotFoundError: There is none.
        CommandNotExecutableError: It cannot be executed, or is a folder.
    """
    name = command[0] if command else ""
    path = os.environ.get("PATH", os.defpath)
    if not name or ("/" not in name and path):
        return _find_on_path(name, path)
    try:
        _check_executable(name)
    except OSError as error:
        raise refusal(name, error) from error
    return name


def _find_on_path(name: str, path: str) -> str:
    """Return the first executable file of this name; a file that is not executable counts where there is no other."""
    not_executable = ""
    for folder in path.split(os.pathsep) if name else ():
        file = f"{folder or '.'}/{name}"
        try:
            is_folder = stat.S_ISDIR(os.stat(file).st_mode)  # noqa: PTH116 - Path would take the ./ away
        except OSError:
            continue
        if not is_folder and os.access(file, os.X_OK):
            return file
        if not is_folder:
            not_executable = not_executable or file
    if not_executable:
        raise refusal(not_executable, _permission_denied())
    hint = "check the name, and that the environment that provides it is active"
    raise CommandNotFoundError(f"{name or '(nothing)'}: command not found", hint)


def _check_executable(file: str) -> None:
    if stat.S_ISDIR(os.stat(file).st_mode):  # noqa: PTH116 - Path would take a slash at the end away
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not os.access(file, os.X_OK):
        raise _permission_denied()


def _permission_denied() -> OSError:
    return PermissionError(errno.EACCES, os.strerror(errno.EACCES))


def refusal(name: str, error: OSError) -> TbperfError:
    """Return the error of a command that cannot be run, with the exit code that a shell gives it."""
    reason = (error.strerror or str(error)).lower()
    if error.errno == errno.ENOENT:
        missing = reason if not Path(name).exists() else "its interpreter was not found"
        return CommandNotFoundError(f"{name}: {missing}", "check the path, and the first line of a script")
    hint = f"chmod +x {name}" if isinstance(error, PermissionError) else "name a program or a script"
    return CommandNotExecutableError(f"{name}: {reason}", hint)


def inheritable_files() -> frozenset[int]:
    """Return the open files that a command would inherit now."""
    try:
        numbers = [int(file.name) for file in Path("/proc/self/fd").iterdir()]
    except OSError:  # a change of root without /proc
        numbers = list(range(_USUAL_FILES))
    found = set()
    for number in numbers:
        with contextlib.suppress(OSError):
            if os.get_inheritable(number):
                found.add(number)
    return frozenset(found)


def start(
    program: str,
    command: Sequence[str],
    environment: Mapping[str, str],
    *,
    files: frozenset[int],
    blocked_signals: Iterable[int] | None,
    ignored_signals: Iterable[int] = (),
) -> int:
    """Start a program as a shell starts it, and return its process number.

    It inherits these files and no others, these blocked signals (None: those of this thread), and nothing of what
    Python does to signals.  It ignores these signals besides those that this process ignores.  A script without `#!` is
    run by ``sh``.

    Raises:
        NoProcessError: There is no room for a process.
        OSError: The program cannot be run; E2BIG where its arguments and environment are too long.
    """

    def unblock() -> None:
        for number in ignored_signals:
            signal.signal(number, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked_signals or ())

    def spawn(file: str, arguments: Sequence[str]) -> int:
        # Not os.posix_spawn: the C library has it ignore two signals more.
        process = subprocess.Popen(  # noqa: S603 - the user's command
            list(arguments),
            executable=file,
            env=environment,
            pass_fds=sorted(number for number in files & inheritable_files() if number > 2),  # noqa: PLR2004
            preexec_fn=None if blocked_signals is None else unblock,  # noqa: PLW1509 - it calls the system and no more
        )
        process.returncode = 0  # it is not for Popen to wait for
        return process.pid

    try:
        try:
            return spawn(program, command)
        except OSError as error:
            if error.errno != errno.ENOEXEC or _is_binary(program):
                raise
            return spawn(_SHELL, [_SHELL, program, *command[1:]])
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE):
            reason = (error.strerror or str(error)).lower()
            raise NoProcessError(f"no process can be started: {reason}", "end others, or raise the limit") from error
        raise


def _is_binary(program: str) -> bool:
    """Tell by the first line whether a file is no text, as a shell does before it takes it for a script."""
    try:
        with Path(program).open("rb") as file:
            first_line, _, _ = file.read(_SAMPLE_BYTES).partition(b"\n")
    except OSError:
        return False
    return b"\0" in first_line


def become(program: str, command: Sequence[str], environment: Mapping[str, str]) -> NoReturn:
    """Run a program in place of this process, as `start` would run it."""
    for number in _SET_BY_PYTHON:
        signal.signal(number, signal.SIG_DFL)
    try:
        os.execve(program, list(command), environment)  # noqa: S606 - the user's command
    except OSError as error:
        if error.errno != errno.ENOEXEC or _is_binary(program):
            raise refusal(program, error) from error
    os.execve(_SHELL, [_SHELL, program, *command[1:]], environment)  # noqa: S606 - the same
