"""Bytes of a trace, wherever they lie: in a file, compressed, in an archive, or coming through a pipe."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import functools
import os
import shutil
import stat
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from tbperf.errors import TbperfError, TraceFormatError
from tbperf.readers.unwrap import COMPRESSED_BYTES, Outcome, is_bare, unwrapped

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

BLOCK_BYTES = 4 << 20
SNIFF_BYTES = 4096

MOST_SPOOLED_BYTES = 16 << 30
"""What is not in a file of its own goes to a temporary one: at most so much, and half of the free space of the disk."""

_UNPACKED_A_BYTE_OF_MEMORY = 4
"""A trace takes about a quarter of its text in memory: what unpacks to more than so much of it cannot be held."""


@dataclass
class Source:
    """One trace, not yet read."""

    name: str
    """Path, or path of the archive and name in it."""
    open: Callable[[], IO[bytes]]
    path: Path | None = None
    """Set where the bytes lie in a file of their own."""
    process: int | None = None
    """Which process of a file that holds several, as its reader numbers them."""
    passing: bool = False
    """It must be read before the next one is asked for: a member of an archive, or what came through a pipe."""
    notes: tuple[str, ...] = ()
    """What was found about it before it was read."""
    outcome: Outcome = dataclasses.field(default_factory=Outcome)
    """What was met while its contents were unwrapped."""

    @property
    def damage(self) -> str:
        """Why the wrapping could not be read to its end; what came before is good."""
        return self.outcome.damage

    @property
    def lasting_path(self) -> Path | None:
        """The file that the user knows it by, beside which more may lie."""
        return None if self.passing else self.path

    def size(self, file: IO[bytes]) -> int:
        """Return how many bytes are stored."""
        end = file.seek(0, os.SEEK_END)
        file.seek(0)
        return end

    def check_size(self, size: int) -> None:
        """Raise TraceFormatError for contents of which this machine cannot hold what a trace takes."""
        if size > (most := most_unpacked_bytes()):
            raise _too_large(self.name, most)

    def blocks(self, file: IO[bytes], size: int = BLOCK_BYTES) -> Iterator[bytes]:
        """Yield the contents in blocks of at most this size, unwrapped."""
        total = 0
        self.outcome = Outcome()
        try:
            bare = self.is_bare(file)
            stored = iter(lambda: file.read(size if bare else min(size, COMPRESSED_BYTES)), b"")
            for block in unwrapped(stored, size, self.outcome):
                total += len(block)
                self.check_size(total)
                yield block
        except OSError as error:
            raise unreadable(self.name, error) from error
        except tarfile.TarError as error:
            raise damaged_archive(self.name, str(error)) from error
        except TraceFormatError as error:  # of the unwrapping, which does not know the name
            if error.message.startswith(self.name):
                raise
            raise TraceFormatError(f"{self.name}: {error.message}", error.hint) from error

    def is_bare(self, file: IO[bytes]) -> bool:
        """Tell whether an open file holds the contents as they are."""
        bare = is_bare(file.read(SNIFF_BYTES))
        file.seek(0)
        return bare

    def first_bytes(self) -> bytes:
        """Return the first bytes of the contents, unwrapped; empty for an empty file."""
        with self.open() as file:
            return self.first_bytes_of(file)

    def first_bytes_of(self, file: IO[bytes]) -> bytes:
        """Return the first bytes of the contents of an open file."""
        head = b""
        for block in self.blocks(file, SNIFF_BYTES):
            head += block
            if len(head) >= SNIFF_BYTES:
                break
        return head[:SNIFF_BYTES]

    @contextlib.contextmanager
    def on_disk(self) -> Iterator[Path]:
        """Lend the contents as a file: the one that it is, or a temporary one."""
        if self.path is not None and self.path.is_dir():
            yield self.path
            return
        with self.open() as file:
            path = self.path if self.is_bare(file) else None
            if path is None:
                with spooled(self.name, self.blocks(file)) as path:
                    yield path
                return
        yield path


def file_source(path: Path) -> Source:
    """Return a file as a source."""

    def open_file() -> IO[bytes]:
        try:
            return open_regular(path)
        except (OSError, ValueError) as error:
            raise unreadable(str(path), error, path) from error

    return Source(str(path), open_file, path)


def open_regular(path: Path) -> IO[bytes]:
    """Open a file; raises OSError for what is none, rather than to wait for the other end of a pipe."""
    _check_regular(path.stat().st_mode)
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0))
    try:
        _check_regular(os.fstat(descriptor).st_mode)  # it may have been replaced in between
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


Identity = tuple[int, int]
"""What tells a file from another that takes its place: device and number."""


def identity_of(file: IO[bytes]) -> Identity:
    """Return what tells an open file from others."""
    status = os.fstat(file.fileno())
    return status.st_dev, status.st_ino


def part_of(file: IO[bytes], name: str, identity: Identity, begin: int, end: int) -> bytes:
    """Read a part of an open file; raises TraceFormatError where it is another one by now, or not whole any more."""
    if identity_of(file) != identity:
        raise _changed(name, "another file took its place while it was read")
    file.seek(begin)
    data = file.read(end - begin)
    if len(data) < end - begin:
        raise _changed(name, "it became shorter while it was read")
    return data


def _changed(name: str, how: str) -> TraceFormatError:
    return TraceFormatError(f"{name}: {how}", "analyze it again when nothing writes it any more")


def _check_regular(mode: int) -> None:
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, f"{kind_of_file(mode)}, not a file")


def kind_of_file(mode: int) -> str:
    """Say what an entry of a folder is that is no regular file."""
    kinds = (
        (stat.S_ISFIFO, "a named pipe"),
        (stat.S_ISSOCK, "a socket"),
        (stat.S_ISCHR, "a device"),
        (stat.S_ISBLK, "a device"),
    )
    return next((kind for is_of, kind in kinds if is_of(mode)), "something")


@contextlib.contextmanager
def spooled(name: str, blocks: Iterable[bytes]) -> Iterator[Path]:
    """Lend contents as a temporary file; raises TbperfError where there is no room for them."""
    with contextlib.ExitStack() as stack:
        try:
            file = stack.enter_context(tempfile.NamedTemporaryFile(prefix="tbperf-"))
            most = min(MOST_SPOOLED_BYTES, shutil.disk_usage(file.name).free // 2)
        except OSError as error:
            raise _no_room(name, error) from error
        total = 0
        for block in blocks:
            total += len(block)
            if total > most:
                raise TbperfError(
                    f"{name}: more than {_gigabytes(most)}, which is the most that is kept in a temporary file",
                    "write it to a file, unpacked, and analyze that; TMPDIR names the folder of temporary files",
                )
            try:
                file.write(block)
            except OSError as error:
                raise _no_room(name, error) from error
        try:
            file.flush()
        except OSError as error:
            raise _no_room(name, error) from error
        yield Path(file.name)


def _too_large(name: str, most: int) -> TraceFormatError:
    return TraceFormatError(
        f"{name}: its contents are more than {_gigabytes(most)}, more than this machine can hold",
        "is it a trace? look into it; or analyze it on a machine with more memory",
    )


def _no_room(name: str, error: OSError) -> TbperfError:
    why = (error.strerror or str(error)).lower()
    return TbperfError(
        f"{name}: it cannot be kept in a temporary file: {why}", "set TMPDIR to a folder with room for it"
    )


def _gigabytes(size: int) -> str:
    return f"{size / (1 << 30):,.3g} GiB"


def most_unpacked_bytes() -> int:
    """Return the size beyond which a compressed trace is not unpacked on this machine."""
    return _UNPACKED_A_BYTE_OF_MEMORY * memory_bytes()


@functools.cache
def memory_bytes() -> int:
    """Return how much memory this process may use: the machine's, or its container's."""
    found = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")] if hasattr(os, "sysconf") else []
    for limit in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        with contextlib.suppress(OSError, ValueError):
            found.append(int(Path(limit).read_text()))
    return min(found, default=8 << 30)


def unreadable(name: str, error: OSError | ValueError, path: Path | None = None) -> TraceFormatError:
    """Say why a file cannot be read, and what to do."""
    why = ((error.strerror if isinstance(error, OSError) else None) or str(error)).lower()
    hint = "is it whole, and on a disk that can be read?"
    if isinstance(error, FileNotFoundError):
        hint = "check the path; a recording lies in its run folder, runs/tbperf/<date> by default"
        with contextlib.suppress(OSError):
            if path is not None and path.is_symlink():
                target = str(path.readlink())
                why = f"a link to {target}, which is not there"
                hint = "`git annex get` fetches it" if "annex/objects" in target else "make the link anew"
    elif isinstance(error, PermissionError):
        hint = "make it readable for this user"
    elif isinstance(error, IsADirectoryError):
        hint = "name a file, or a folder that holds traces"
    elif isinstance(error, OSError) and error.errno == errno.EINVAL and "not a file" in why:
        hint = "name a pipe itself to have it read; in folders, only files are"
    return TraceFormatError(f"{name}: {why}", hint)


def damaged_archive(name: str, why: str) -> TraceFormatError:
    """Say that an archive cannot be read to its end."""
    return TraceFormatError(f"{name}: a damaged archive: {why}", "make it again, or unpack it and analyze the folder")
