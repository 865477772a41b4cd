"""Copies of recordings that can be given to others: without what they tell of people, machines and other programs.

What is copied is listed (times, names of kernels, calls and ranges, sizes, devices); what is not listed is left out.
Paths in texts that are copied are cut down to their last part, or to the package that a file belongs to.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tbperf.errors import TbperfError, TraceFormatError, UsageError
from tbperf.readers import file_source
from tbperf.readers.chrome import looks_like_json
from tbperf.readers.nsys.store import SQLITE_MAGIC
from tbperf.scrub.kineto import copy_json
from tbperf.scrub.nsys import copy_database
from tbperf.scrub.texts import Removed

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Removed", "scrub"]


def scrub(source: Path, target: Path) -> Removed:
    """Copy a trace of torch.profiler or an SQLite export of Nsight Systems without what is private; say what went.

    Never writes over a file.  Raises TraceFormatError for what is neither, UsageError where the target stands already,
    TbperfError where it cannot be written.
    """
    head = file_source(source).first_bytes()
    copy: Callable[[Path, Path, Removed], None]
    if head.startswith(SQLITE_MAGIC):
        copy = copy_database
    elif looks_like_json(head):
        copy = copy_json
    else:
        raise TraceFormatError(
            f"{source}: neither a torch.profiler trace nor an SQLite export of Nsight Systems",
            "export a report with `nsys export --type sqlite REPORT.nsys-rep` first",
        )
    if target.exists() or target.is_symlink():
        raise UsageError(f"{target}: something stands there already", "name a new file")
    removed = Removed()
    try:
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".tbperf-scrub-") as folder:
            part = Path(folder, target.name)
            copy(source, part, removed)
            os.link(part, target)  # unlike a renaming, it fails where a file came to stand there meanwhile
    except FileExistsError as error:
        raise UsageError(f"{target}: something stands there already", "name a new file") from error
    except OSError as error:
        raise TbperfError(f"{target}: {(error.strerror or str(error)).lower()}", "name another file") from error
    return removed
