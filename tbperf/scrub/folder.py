"""Run folders, and other folders with traces: the files that are known, under names that may stay."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from tbperf.errors import TraceFormatError
from tbperf.readers import file_source
from tbperf.readers.beside import HARDWARE, read_fetches
from tbperf.readers.chrome import looks_like_json
from tbperf.readers.kineto import rank_of
from tbperf.readers.nsys.store import SQLITE_MAGIC
from tbperf.readers.run import NAME as RUN_FILE
from tbperf.scrub.allowed import HARDWARE_HEADER, HARDWARE_ROW, LOADED_BATCH, LOGGED_STEP, RUN, RUN_ENTRIES
from tbperf.scrub.kineto import copy_trace
from tbperf.scrub.nsys import copy_database
from tbperf.scrub.values import kept_entries, read_object

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tbperf.readers import Source
    from tbperf.scrub.values import Copy, Rule

    Write = Callable[[Path, Path, Copy], None]

_FOLDERS = re.compile(r"trace|nsys|\d{4}-\d{2}-\d{2}-\d{4}(?:-\d{1,3})?")
"""Names of folders that stay: those in a run folder, and the times that run folders are called by."""

_LEFT_OUT = frozenset(("plugins", "tbperf", "journal"))
"""Folders in a run folder that hold copies for TensorBoard, and what its processes reported."""

_FILES = re.compile(
    r"(?P<stem>.*?)(?P<ending>(?:\.pt\.trace)?\.json(?:\.gz|\.bz2|\.xz|\.zst)?|\.sqlite(?P<packed>\.gz|\.bz2|\.xz|\.zst)?)",
    re.DOTALL | re.IGNORECASE,
)
_OF_RECORDER = re.compile(r"(?P<host>.*)(?P<numbers>_\d{1,10}(?:_rank\d{1,6})?\.\d{1,20})", re.DOTALL)


def copied_by(head: bytes) -> Callable[[Source, Path, Copy], None] | None:
    """Return what copies a file whose contents begin like this; None for what is no recording."""
    if head.startswith(SQLITE_MAGIC):
        return copy_database
    return copy_trace if looks_like_json(head) else None


def copy_folder(source: Path, target: Path, copy: Copy) -> None:
    """Write what stays of a folder into a new one.  Raises TraceFormatError where nothing in it is known."""
    target.mkdir()
    files = sorted(path for path in source.rglob("*") if not path.is_dir())
    runs = {path.parent for path in files if path.name == RUN_FILE}
    places = _places(source, files)
    known = 0
    for path in files:
        write = _writer(path, source, runs) if path.is_file() else None
        if write is not None and _is_written(write, path, target / places[path], copy):
            known += 1
        else:
            copy.removed.entries["files"] += 1
    if not known:
        raise TraceFormatError(f"{source}: nothing in this folder can be scrubbed", "name a run folder, or a trace")


def _writer(path: Path, source: Path, runs: set[Path]) -> Write | None:
    """Return what writes a file; None for one that is not known."""
    if path.parent in runs:
        return next((write for name, write in _OF_RUNS if name.fullmatch(path.name)), None) or _writer_of_trace(path)
    inside = path.relative_to(source).parts
    beside = next((run for run in path.parents if run in runs), None)
    if "plugins" in inside or (beside is not None and path.relative_to(beside).parts[0] in _LEFT_OUT):
        return None
    return _writer_of_trace(path)


def _writer_of_trace(path: Path) -> Write | None:
    if not _FILES.fullmatch(path.name):
        return None
    copied = copied_by(file_source(path).first_bytes())
    return None if copied is None else lambda path, target, copy: copied(file_source(path), target, copy)


def _is_written(write: Write, path: Path, target: Path, copy: Copy) -> bool:
    """Write one file; one that turns out to be no trace leaves nothing behind."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        write(path, target, copy)
    except TraceFormatError:
        target.unlink(missing_ok=True)
        return False
    return True


# The files that docs/run-folder.md describes


def _copy_run(path: Path, target: Path, copy: Copy) -> None:
    with file_source(path).open() as file:
        content = read_object(file.read())
    if content is None:
        raise TraceFormatError(f"{path}: cannot be read", "is it whole?")
    target.write_bytes(b"{\n%b\n}\n" % b",\n".join(kept_entries(RUN, RUN_ENTRIES, content, copy)))


def _copy_steps(path: Path, target: Path, copy: Copy) -> None:
    with file_source(path).open() as log, target.open("xb") as out:
        for line in log:
            out.write(_object_line(LOGGED_STEP, "entries of the step log", line, copy))


def _copy_hardware(path: Path, target: Path, copy: Copy) -> None:
    with file_source(path).open() as log, target.open("xb") as out:
        out.write(_object_line(HARDWARE_HEADER, "entries of the hardware log", log.readline(), copy))
        for line in log:
            kept = HARDWARE_ROW.kept(line.strip(), copy)
            out.write(_unreadable_line(line, copy) if kept is None else kept + b"\n")


def _object_line(rules: Mapping[str, Rule], what: str, line: bytes, copy: Copy) -> bytes:
    """Return a line as it may be written; null for one that cannot be read, so that readers count it as they did."""
    content = read_object(line)
    if content is None:
        return _unreadable_line(line, copy)
    return b"{%b}\n" % b", ".join(kept_entries(rules, what, content, copy))


def _unreadable_line(line: bytes, copy: Copy) -> bytes:
    copy.removed.entries["lines that cannot be read"] += 1
    return b"null\n" if line.endswith(b"\n") else b""  # without its end, it is what a killed run leaves


def _copy_loader(path: Path, target: Path, copy: Copy) -> None:
    """Write the batches that can be read; their records are numbers."""
    with target.open("xb") as out:
        for fetch in read_fetches(path):
            about = {name: msgspec.json.encode(getattr(fetch.about, name)) for name in LOADED_BATCH}
            out.write(b"{%b}\n" % b", ".join(kept_entries(LOADED_BATCH, "entries of loader records", about, copy)))
            out.write(fetch.records.tobytes())


_OF_RUNS: tuple[tuple[re.Pattern[str], Write], ...] = (
    (re.compile(re.escape(RUN_FILE)), _copy_run),
    (re.compile(r"steps\.\d{1,10}(?:_rank\d{1,6})?\.jsonl"), _copy_steps),
    (re.compile(re.escape(HARDWARE)), _copy_hardware),
    (re.compile(r"loader\.\d{1,10}\.bin"), _copy_loader),
)


# Names


def _places(source: Path, files: list[Path]) -> dict[Path, Path]:
    """Return where each file goes: under names that may stay, in the order in which they were."""
    inside = {path: path.relative_to(source) for path in files}
    folders = _numbered("folder", {part for path in inside.values() for part in path.parts[:-1]}, _FOLDERS)
    parts = [(own, found) for path in files if (found := _FILES.fullmatch(path.name)) for own in [_own(found)]]
    hosts = _numbered("host", {own["host"] for own, _ in parts if own}, None)
    others = _numbered("trace", {found["stem"] for own, found in parts if not own}, re.compile(r"report\d{0,4}"))

    def name(path: Path) -> str:
        found = _FILES.fullmatch(path.name)
        if found is None or path.name == RUN_FILE:
            return path.name
        ending = found["ending"].lower().removesuffix(found["packed"] or "")  # a database is unpacked
        if own := _own(found):
            return hosts[own["host"]] + own["numbers"] + ending
        rank = rank_of({}, path.name)
        return others[found["stem"]] + ("" if rank is None else f"_rank{rank}") + ending

    return {path: Path(*(folders[part] for part in at.parts[:-1]), name(path)) for path, at in inside.items()}


def _own(found: re.Match[str]) -> re.Match[str] | None:
    """Return the parts of the name of a trace that tbperf, or torch's handler for TensorBoard, wrote."""
    return _OF_RECORDER.fullmatch(found["stem"])


def _numbered(what: str, names: set[str], listed: re.Pattern[str] | None) -> dict[str, str]:
    """Return a name for each name: itself if it is listed, else its place among them."""
    known = {name for name in names if listed is not None and listed.fullmatch(name)}
    others = sorted(names - known)
    digits = len(str(len(others)))
    return {name: name for name in known} | {name: f"{what}{place:0{digits}}" for place, name in enumerate(others, 1)}
