"""Traces in tar and zip archives, read without unpacking the archive to disk."""

from __future__ import annotations

import functools
import tarfile
import zipfile
import zlib
from typing import IO, TYPE_CHECKING, Any

from tbperf.errors import TraceFormatError
from tbperf.readers.files import BLOCK_BYTES, Source, damaged_archive, open_regular, spooled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_TAR = slice(257, 262), b"ustar"
_ZIP = (b"PK\x03\x04", b"PK\x05\x06")


def is_archive(head: bytes) -> bool:
    """Tell whether these first bytes begin a tar or zip archive."""
    place, mark = _TAR
    return head[place] == mark or head.startswith(_ZIP)


def archive_members(source: Source, wanted: Callable[[str], bool]) -> Iterator[Source]:
    """Yield the files of an archive (also a compressed one) that are wanted; each must be read before the next."""
    with source.on_disk() as path, path.open("rb") as file:
        found = _zip_members if file.read(4).startswith(_ZIP) else _tar_members
        file.seek(0)
        yield from found(source, file, wanted)
    if source.outcome.damage:
        raise damaged_archive(source.name, source.outcome.damage)


def _tar_members(source: Source, file: IO[bytes], wanted: Callable[[str], bool]) -> Iterator[Source]:
    try:
        with tarfile.open(fileobj=file, mode="r:") as archive:
            for member in archive:
                if member.isfile() and wanted(member.name):
                    opened = functools.partial(_opened, source.name, archive, member)
                    yield Source(f"{source.name}/{member.name}", opened, passing=True)
    except tarfile.TarError as error:
        source.outcome.damage = source.outcome.damage or str(error)
    except (ValueError, OverflowError) as error:  # numbers in a header that are none
        source.outcome.damage = source.outcome.damage or f"a broken header: {error}"


def _opened(name: str, archive: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
    try:
        file: Any = archive.extractfile(member)
    except tarfile.TarError as error:
        raise damaged_archive(name, str(error)) from error
    return file  # type: ignore[no-any-return]


_ZIP_ERRORS = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError, OSError)
"""A damaged archive, a way of compression that is not known here, a member that needs a password."""


def _zip_members(source: Source, file: IO[bytes], wanted: Callable[[str], bool]) -> Iterator[Source]:
    try:
        archive = zipfile.ZipFile(file)
    except _ZIP_ERRORS as error:
        source.outcome.damage = str(error)
        return
    with archive:
        members = archive.infolist()
        if any(member.filename.endswith("/data.pkl") for member in members):
            raise TraceFormatError(
                f"{source.name}: what torch.save writes, such as a model, not a trace", "name a trace or a run folder"
            )
        for member in members:
            if not member.is_dir() and wanted(member.filename):
                name = f"{source.name}/{member.filename}"
                source.check_size(member.file_size)
                # To a file, for reading goes back and forth, which in a zip archive means to begin anew.
                with spooled(name, _zipped(source.name, archive, member)) as path:
                    yield Source(name, functools.partial(open_regular, path), path, passing=True)


def _zipped(name: str, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Iterator[bytes]:
    try:
        with archive.open(member) as file:
            while block := file.read(BLOCK_BYTES):
                yield block
    except _ZIP_ERRORS as error:
        raise damaged_archive(name, str(error)) from error
