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
from tbperf.readers.streams import path_or_stream
from tbperf.scrub.folder import copied_by, copy_folder
from tbperf.scrub.names import Names
from tbperf.scrub.packing import check_name
from tbperf.scrub.removed import Removed
from tbperf.scrub.values import Copy

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Removed", "scrub"]


def scrub(source: Path, target: Path) -> Removed:
    """Copy a recording without what is private; say what the copy lacks.

    A recording is a trace of torch.profiler, an SQLite export of Nsight Systems, or a folder with any of them, such as
    a run folder; ``-`` is the standard input.  Never writes over anything.  Raises TraceFormatError for what is none of
    these, UsageError where the target exists already, TbperfError where it cannot be written.
    """
    removed = Removed()
    copy = Copy(Names(removed), removed)
    if source.is_dir():
        if source.resolve() in (target.parent.resolve(), *target.resolve().parents):
            raise UsageError(f"{target}: lies in {source}, which is only read", "name a place outside of it")
        _write(target, lambda part: copy_folder(source, part, copy))
        return removed
    with path_or_stream(source, lambda head: copied_by(head) is not None) as found:
        copied = copied_by(found.first_bytes())
        if copied is None:
            raise TraceFormatError(
                f"{found.name}: neither a torch.profiler trace nor an SQLite export of Nsight Systems",
                "export a report with `nsys export --type sqlite REPORT.nsys-rep`; unpack an archive",
            )
        _write(target, lambda part: copied(found, part, copy))
    return removed


def _write(target: Path, write: Callable[[Path], None]) -> None:
    """Write a copy beside its place, and give it its name when it is whole."""
    check_name(target)
    if os.path.lexists(target):
        raise _taken(target)
    try:
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".tbperf-scrub-") as folder:
            part = Path(folder, target.name)
            write(part)
            _put(part, target)
    except FileExistsError as error:
        raise _taken(target) from error
    except OSError as error:
        raise TbperfError(f"{target}: {(error.strerror or str(error)).lower()}", "name another file") from error


def _taken(target: Path) -> UsageError:
    return UsageError(f"{target}: already exists", "name a new file")


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
