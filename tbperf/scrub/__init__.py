"""Copies of recordings that are safe to share: without what they tell of people, machines and other programs.

What stays is listed (`tbperf.scrub.allowed`): kinds of events and their arguments, tables and their columns, and for
each the shape that a value may have.  What is not on the list is left out, also what nobody has heard of yet; names
that are not known become pseudonyms.  Every figure of a report on the copy is that of a report on the original.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tbperf.errors import TbperfError, TraceFormatError, UsageError
from tbperf.readers import file_source
from tbperf.readers.chrome import looks_like_json
from tbperf.readers.nsys.store import SQLITE_MAGIC
from tbperf.scrub.folder import copy_folder
from tbperf.scrub.kineto import copy_trace
from tbperf.scrub.names import Names
from tbperf.scrub.nsys import copy_database
from tbperf.scrub.packing import check_name, opened
from tbperf.scrub.removed import Removed
from tbperf.scrub.values import Copy

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Removed", "scrub"]


def scrub(source: Path, target: Path) -> Removed:
    """Copy a recording without what is private; say what the copy lacks.

    A recording is a trace of torch.profiler, an SQLite export of Nsight Systems, or a folder with any of them, such as
    a run folder.  Never writes over anything.  Raises TraceFormatError for what is none of these, UsageError where the
    target exists already, TbperfError where it cannot be written.
    """
    write = _copied_by(source)
    check_name(target)
    if os.path.lexists(target):
        raise _taken(target)
    if source.is_dir() and source.resolve() in (target.parent.resolve(), *target.resolve().parents):
        raise UsageError(f"{target}: lies in {source}, which is only read", "name a place outside of it")
    removed = Removed()
    try:
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".tbperf-scrub-") as folder:
            part = Path(folder, target.name)
            write(source, part, Copy(Names(removed), removed))
            _put(part, target)
    except FileExistsError as error:
        raise _taken(target) from error
    except OSError as error:
        raise TbperfError(f"{target}: {(error.strerror or str(error)).lower()}", "name another file") from error
    return removed


def _taken(target: Path) -> UsageError:
    return UsageError(f"{target}: already exists", "name a new file")


def _copied_by(source: Path) -> Callable[[Path, Path, Copy], None]:
    """Return what copies a recording of this sort."""
    if source.is_dir():
        return _copy_folder
    head = file_source(source).first_bytes()
    if head.startswith(SQLITE_MAGIC):
        return copy_database
    if looks_like_json(head):
        return _copy_trace
    raise TraceFormatError(
        f"{source}: neither a torch.profiler trace nor an SQLite export of Nsight Systems",
        "export a report with `nsys export --type sqlite REPORT.nsys-rep` first; unpack an archive",
    )


def _copy_trace(source: Path, target: Path, copy: Copy) -> None:
    with opened(target) as out:
        copy_trace(file_source(source), out, copy)


def _copy_folder(source: Path, target: Path, copy: Copy) -> None:
    target.mkdir()
    copy_folder(source, target, copy)


def _put(part: Path, target: Path) -> None:
    """Give the copy its name; unlike a renaming, it fails where something came to exist there meanwhile."""
    if part.is_dir():
        target.mkdir()
        part.replace(target)
        return
    try:
        os.link(part, target)
    except FileExistsError:
        raise
    except OSError:  # file systems without links
        with part.open("rb") as file, target.open("xb") as out:
            shutil.copyfileobj(file, out)
