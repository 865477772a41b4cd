"""Bytes of a trace, wherever they lie: in a file, gzipped, or in an archive."""

from __future__ import annotations

import contextlib
import functools
import os
import tarfile
import tempfile
import zlib
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, cast

from tbperf.errors import TraceFormatError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

try:
    from isal import isal_zlib as fast_zlib
except ImportError:  # no wheel for this machine: a few times slower
    fast_zlib = zlib  # type: ignore[misc]

_GZIP_ERRORS: tuple[type[Exception], ...] = (zlib.error, cast("type[Exception]", fast_zlib.error))
BLOCK_BYTES = 4 << 20
_COMPRESSED_BYTES = 1 << 18
_GZIP_WINDOW = 31  # zlib's way to say: with gzip's header, window of 32 kB
_SNIFF_BYTES = 4096
_GZIP = b"\x1f\x8b"
_TAR = slice(257, 262), b"ustar"


@dataclass
class Source:
    """One trace, not yet read.  The members of an archive must be read in order."""

    name: str
    """Path, or path of the archive and name in it."""
    open: Callable[[], IO[bytes]]
    path: Path | None = None
    """Set where the bytes lie in a file of their own."""
    process: int | None = None
    """Which process of a file that holds several, as its reader numbers them."""
    damage: str = ""
    """Why the wrapping (gzip) could not be read to its end; what came before is good."""

    def size(self, file: IO[bytes]) -> int:
        """Return how many bytes are stored."""
        end = file.seek(0, os.SEEK_END)
        file.seek(0)
        return end

    def blocks(self, file: IO[bytes], size: int = BLOCK_BYTES) -> Iterator[bytes]:
        """Yield the contents in blocks of at most this size, unwrapped."""
        try:
            if not is_gzip(file):
                while block := file.read(size):
                    yield block
                return
            yield from self._unzipped(file, size)
        except OSError as error:
            raise _unreadable(self.name, error) from error
        except tarfile.TarError as error:
            raise _damaged_archive(self.name, str(error)) from error

    def _unzipped(self, file: IO[bytes], size: int) -> Iterator[bytes]:
        # Not gzip.open: where the file is damaged, that throws away what it had unpacked before.
        member = fast_zlib.decompressobj(_GZIP_WINDOW)
        while compressed := file.read(_COMPRESSED_BYTES):
            while compressed:
                if member.eof:  # files may be joined; zeros may follow
                    compressed = compressed.lstrip(b"\0")
                    if not compressed:
                        break
                    member = fast_zlib.decompressobj(_GZIP_WINDOW)
                try:
                    block = member.decompress(compressed, size)
                except _GZIP_ERRORS as error:
                    self.damage = str(error)
                    return
                compressed = member.unused_data if member.eof else member.unconsumed_tail
                if block:
                    yield block
        if not member.eof:
            self.damage = "the file ends too early"

    def first_bytes(self) -> bytes:
        """Return the first bytes of the contents, unwrapped; empty for an empty file."""
        with self.open() as file:
            return next(self.blocks(file, _SNIFF_BYTES), b"")


def file_source(path: Path) -> Source:
    """Return a file as a source."""

    def open_file() -> IO[bytes]:
        try:
            return path.open("rb")
        except OSError as error:
            raise _unreadable(str(path), error) from error

    return Source(str(path), open_file, path)


def archive_members(source: Source, wanted: Callable[[str], bool]) -> Iterator[Source]:
    """Yield the files of a tar archive (also a gzipped one) that are wanted, without unpacking it to disk."""
    with source.open() as file, contextlib.ExitStack() as stack:
        contents = file
        if is_gzip(file):  # members are read twice, and going back in a gzip file means to begin anew
            contents = stack.enter_context(tempfile.TemporaryFile())
            for block in source.blocks(file):
                contents.write(block)
            contents.seek(0)
        try:
            with tarfile.open(fileobj=contents, mode="r:") as archive:
                for member in archive:
                    if member.isfile() and wanted(member.name):
                        name = f"{source.name}/{member.name}"
                        yield Source(name, functools.partial(_opened, archive, member))
        except tarfile.TarError as error:
            source.damage = source.damage or str(error)
        if source.damage:
            raise _damaged_archive(source.name, source.damage)


def _damaged_archive(name: str, why: str) -> TraceFormatError:
    return TraceFormatError(f"{name}: a damaged archive: {why}", "make it again, or unpack it and analyze the folder")


def is_gzip(file: IO[bytes]) -> bool:
    """Tell whether an open file is gzipped."""
    zipped = file.read(len(_GZIP)) == _GZIP
    file.seek(0)
    return zipped


def _opened(archive: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
    file: Any = archive.extractfile(member)
    return file  # type: ignore[no-any-return]


def is_archive(head: bytes) -> bool:
    """Tell whether these first bytes begin a tar archive."""
    place, mark = _TAR
    return head[place] == mark


def _unreadable(name: str, error: OSError) -> TraceFormatError:
    hint = "is it whole, and on a disk that can be read?"
    if isinstance(error, FileNotFoundError):
        hint = "check the path; a recording lies in its run folder, runs/tbperf/<date> by default"
    elif isinstance(error, PermissionError):
        hint = "make it readable for this user"
    elif isinstance(error, IsADirectoryError):
        hint = "name a file, or a folder that holds traces"
    return TraceFormatError(f"{name}: {(error.strerror or str(error)).lower()}", hint)
