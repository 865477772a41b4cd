"""How a copy is compressed: as its name says."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import lzma
from typing import IO, TYPE_CHECKING, Any

from tbperf.errors import UsageError
from tbperf.readers.unwrap import ZSTD

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_LEVEL = 6
_MODULES: dict[str, Any] = {".bz2": bz2, ".xz": lzma, ".zst": ZSTD}


@contextlib.contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    """Open a new file for writing, compressed if its name says so.  Raises UsageError for what cannot be written."""
    check_name(path)
    with path.open("xb") as file:
        if path.suffix == ".gz":
            # Neither the name of the file nor the time goes into the header.
            with gzip.GzipFile("", "wb", _LEVEL, file, mtime=0) as packed:
                yield packed  # type: ignore[misc]
        elif module := _MODULES.get(path.suffix):
            with module.open(file, "wb") as packed:
                yield packed
        else:
            yield file


def is_packed(path: Path) -> bool:
    """Tell whether a name promises that a file is compressed."""
    return path.suffix == ".gz" or path.suffix in _MODULES


def check_name(path: Path) -> None:
    """Raise UsageError for a name that promises a compression which is not at hand."""
    if path.suffix == ".zst" and ZSTD is None:
        raise UsageError(f"{path}: zstd is not at hand", "name the copy .json.gz, or `pip install backports.zstd`")
