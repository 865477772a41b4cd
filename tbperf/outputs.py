"""Writes to the places that a user names, whatever stands there.

A regular file is replaced by a whole new one, or stays as it is.  Everything else is written through, as a shell's
``>`` does it: devices, FIFOs, and what a symbolic link leads to.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import shutil
import stat
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

from tbperf.errors import TbperfError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

_RIGHTS = 0o777

_NO_WAY_IN = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENAMETOOLONG)
"""No other file can be made in this folder; the one that is there may be writable all the same."""

_HELD_IN_PLACE = (errno.EBUSY, errno.EPERM, errno.EACCES, errno.EXDEV)
"""The file cannot be replaced: it is mounted there by itself, or its folder is sticky and another user's."""

_OWN_FILE = re.compile(r"/dev/(?:(stdin|stdout|stderr)|fd/(\d+))|/proc/(?:self|thread-self|\d+)/fd/(\d+)")
_STANDARD = {"stdin": 0, "stdout": 1, "stderr": 2}
_MOST_LINKS = 40


def write_output(path: Path, content: bytes) -> None:
    """Write content to a place that a user named."""
    with open_output(path) as file:
        file.write(content)


@contextlib.contextmanager
def open_output(path: Path) -> Iterator[BinaryIO]:
    """Open a place that a user named for new content, which is there when the body has ended without an error.

    Raises:
        UsageError: A folder stands there.
        TbperfError: It cannot be written.
    """
    try:
        with _opened(path) as file:
            yield file
    except IsADirectoryError as error:
        raise UsageError(f"{path}: is a directory", "name a file") from error
    except OSError as error:
        raise TbperfError(f"{path}: {(error.strerror or str(error)).lower()}", "name another file") from error


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    own = _number_of_own_file(path)
    if own is not None:
        # Where the shell has begun to write already, and perhaps to append: not once more from the start.
        with os.fdopen(os.dup(own), "wb") as file:
            yield file
        return
    # What a link leads to, so that the link stays.
    target = Path(os.path.realpath(path))
    try:
        there = target.stat()
    except FileNotFoundError:
        there = None
    if there is not None and not stat.S_ISREG(there.st_mode):
        with _through(target) as file:
            yield file
        return
    part = target.with_name(f".tbperf-{secrets.token_hex(6)}.part")
    try:
        handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    except OSError as error:
        if there is None or error.errno not in _NO_WAY_IN:
            raise
        with _through(target) as file:
            yield file
        return
    try:
        with os.fdopen(handle, "wb") as file:
            if there is not None:
                _like(file, there)
            yield file
        _put_in_place(part, target)
    finally:
        part.unlink(missing_ok=True)


def _through(target: Path) -> BinaryIO:
    return cast("BinaryIO", os.fdopen(os.open(target, os.O_WRONLY | os.O_TRUNC | os.O_NOCTTY), "wb"))


def _like(file: BinaryIO, other: os.stat_result) -> None:
    """Give a file another's owner and rights, as far as this user may."""
    with contextlib.suppress(OSError):
        os.fchown(file.fileno(), other.st_uid, other.st_gid)
    with contextlib.suppress(OSError):
        os.fchmod(file.fileno(), other.st_mode & _RIGHTS)


def _put_in_place(part: Path, target: Path) -> None:
    try:
        part.replace(target)
    except OSError as error:
        if error.errno not in _HELD_IN_PLACE or not target.is_file():
            raise
        with part.open("rb") as source, _through(target) as file:
            shutil.copyfileobj(source, file)


def _number_of_own_file(path: Path) -> int | None:
    """Return which of this process's open files a path stands for, such as 1 for /dev/stdout, also behind links."""
    name = os.path.abspath(path)  # noqa: PTH100 - which follows no link
    for _ in range(_MOST_LINKS):
        found = _OWN_FILE.fullmatch(name)
        if found:
            if name.startswith("/proc/") and name.split("/")[2] not in ("self", "thread-self", str(os.getpid())):
                return None
            return _STANDARD[found[1]] if found[1] else int(found[2] or found[3])
        try:
            link = os.readlink(name)  # noqa: PTH115 - names, not paths
        except OSError:
            return None
        name = os.path.normpath(os.path.join(os.path.dirname(name), link))  # noqa: PTH118, PTH120 - the same
    return None
