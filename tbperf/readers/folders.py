"""What lies in a folder and below it: files that are worth a look, and what could not be looked at."""

from __future__ import annotations

import os
from pathlib import Path
from typing import IO

from tbperf.errors import TraceFormatError
from tbperf.readers.files import Source, file_source, unreadable
from tbperf.readers.nsys import is_folder_of_tables, is_recording, some_table

TRACE_SUFFIX = ".pt.trace.json"
JSON_SUFFIX = ".json"
COMPRESSED = ("", ".gz", ".zst", ".bz2", ".xz")
"""How files are named that hold JSON; what they hold is told by their contents."""

_MARK = b'"traceEvents"'
_EXPORTS = "plugins"
"""The folder of what is there for TensorBoard's dashboards: copies of traces."""


def is_json_name(name: str, suffix: str = JSON_SUFFIX) -> bool:
    """Tell whether a file is named as JSON, or as traces of torch's profiler are, compressed or not."""
    return name.endswith(tuple(suffix + packed for packed in COMPRESSED))


def sources_in_folder(folder: Path) -> list[Source]:
    """Return what may be traces in a folder and below it; reading those that cannot be read says why.

    In a folder without files named as torch's profiler names them, JSON files with trace events in them count.
    Raises TraceFormatError where there is nothing of the sort.
    """
    files, folders, unread = _walked(folder)
    json_files = [file for file in files if is_json_name(file.name) and _EXPORTS not in file.relative_to(folder).parts]
    found = [file for file in json_files if is_json_name(file.name, TRACE_SUFFIX)]
    found = found or [file for file in json_files if _may_hold_events(file)]
    found += sorted([*filter(is_folder_of_tables, folders), *filter(is_recording, files)])
    if found:
        return [*map(path_source, found), *unread]
    if unread:
        unread[0].open()  # says why
    raise TraceFormatError(
        f"{folder}: no traces in this folder",
        "`tbperf record -- yolo train …` records some; torch.profiler names its own *.pt.trace.json",
    )


def path_source(path: Path) -> Source:
    """Return a file as a source, or a folder that is one recording, told by one of its files."""
    if not is_folder_of_tables(path):
        return file_source(path)
    return Source(str(path), file_source(some_table(path)).open, path)


def _walked(folder: Path) -> tuple[list[Path], list[Path], list[Source]]:
    """Return all files, all folders, and the folders that may not be looked into; links to folders are not followed."""
    files: list[Path] = []
    folders: list[Path] = []
    closed: list[OSError] = []
    for here, _, names in os.walk(folder, onerror=closed.append):
        folders.append(Path(here))
        files += [Path(here, name) for name in names]
    return sorted(files), sorted(folders), [_unread(error) for error in closed]


def _unread(error: OSError) -> Source:
    refused = unreadable(str(error.filename), error)

    def refuse() -> IO[bytes]:
        raise refused

    return Source(str(error.filename), refuse, passing=True)


def _may_hold_events(file: Path) -> bool:
    """Look into a file whose name does not tell; one that cannot be looked into is not passed over in silence."""
    try:
        return _MARK in file_source(file).first_bytes()
    except TraceFormatError:
        return True
