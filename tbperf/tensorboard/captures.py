"""Which recordings lie in a log folder: found in the background, known by ids, never outside of the folder."""

from __future__ import annotations

import hashlib
import math
import os
import re
import stat
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_PACKED = ("", ".gz", ".zst", ".bz2", ".xz")
_TRACE = tuple(f".pt.trace.json{packed}" for packed in _PACKED)
_PERHAPS = (*(f".json{packed}" for packed in _PACKED), ".sqlite")
_RUN = "run.json"
_LEFT_OUT = {"plugins"}
"""Folders of TensorBoard's plugins: exports of traces, not recordings."""
_TOGETHER = range(2, 65)
"""So many traces of one folder are offered as one report, too: they may be ranks of a job."""
_REMOTE = re.compile(r"\A[a-zA-Z][0-9a-zA-Z.]*://")


@dataclass(frozen=True)
class Capture:
    """One recording: a run folder, a trace, or the traces of a folder together."""

    id: str
    root: Path
    """The log folder; no file outside of it is read or served."""
    folder: Path
    run: str
    """The folder, below the log folder."""
    name: str
    traces: tuple[Path, ...]
    bytes: int
    modified_ns: int
    state: str
    """Of the files: changes when any of them does."""


@dataclass(frozen=True)
class Found:
    """What one scan found."""

    captures: Mapping[str, Capture]
    notes: tuple[str, ...] = ()
    """Why there is less than one might expect."""


class LogFolder:
    """The recordings below the folders that TensorBoard was started with.

    Asking never waits: a scan runs in a thread, and the answer is what the last one found.
    """

    def __init__(self, logdir: str | None, logdir_spec: str | None) -> None:
        self._roots, self._notes = _roots(logdir, logdir_spec)
        self._found: Found | None = None
        self._scanned = -math.inf
        self._scanning = threading.Lock()
        self._known: dict[tuple[Path, int, int], bool] = {}

    @property
    def found(self) -> Found | None:
        """What is known by now; None while nothing is."""
        if time.monotonic() - self._scanned > _FRESH_S and self._scanning.acquire(blocking=False):
            threading.Thread(target=self._scan, name="tbperf scan", daemon=True).start()
        return self._found

    def _scan(self) -> None:
        began = time.monotonic()
        try:
            outside: list[Path] = []
            captures = [capture for name, root in self._roots for capture in self._below(name, root, outside)]
            notes = list(self._notes)
            if outside:
                notes.append(
                    f"{len(outside)} recordings are left out because links lead to them from inside the log folder to"
                    " outside of it; start TensorBoard on the folder that holds them"
                )
            self._found = Found({capture.id: capture for capture in captures}, tuple(notes))
        finally:
            # A folder that takes long to look through is looked through less often.
            self._scanned = time.monotonic() + 10 * (time.monotonic() - began)
            self._scanning.release()

    def _below(self, name: str, root: Path, outside: list[Path]) -> Iterator[Capture]:
        for folder, folders, files in os.walk(root):
            folders[:] = sorted(f for f in folders if not f.startswith(".") and f not in _LEFT_OUT)
            here = Path(folder)
            if _RUN in files and (run := self._run_folder(name, root, here, outside)):
                folders.clear()
                yield run
                continue
            traces = self._traces(root, here, files, outside)
            yield from (_capture(name, root, here, trace.name, [trace]) for trace in traces)
            if len(traces) in _TOGETHER:
                yield _capture(name, root, here, f"all {len(traces)} traces of this folder", traces)

    def _run_folder(self, name: str, root: Path, folder: Path, outside: list[Path]) -> Capture | None:
        traces = [
            trace
            for below, folders, files in os.walk(folder)
            if not _left_out(folders)
            for trace in self._traces(root, Path(below), files, outside)
        ]
        if not traces or not is_inside(folder / _RUN, root):
            return None
        return _capture(name, root, folder, folder.name, sorted(traces))

    def _traces(self, root: Path, folder: Path, files: list[str], outside: list[Path]) -> list[Path]:
        found = []
        for file in sorted(files):
            path = folder / file
            if file.startswith(".") or file == _RUN or not file.endswith(_PERHAPS):
                continue
            if not is_inside(path, root):
                outside.append(path)
            elif file.endswith(_TRACE) or self._is_trace(path):
                found.append(path)
        return found

    def _is_trace(self, path: Path) -> bool:
        """Look into a file whose name does not tell; once, unless it changes."""
        from tbperf.readers import READERS, file_source  # noqa: PLC0415 - TensorBoard starts without the analyzer

        try:
            status = path.stat()
            key = path, status.st_size, status.st_mtime_ns
            if key not in self._known:
                source = file_source(path)
                with source.open() as file:
                    head = next(source.blocks(file, _SNIFF_BYTES), b"")
                other = any(reader.recognizes(head) for reader in READERS if reader.name != "kineto")
                self._known[key] = b'"traceEvents"' in head or other
            return self._known[key]
        except Exception:  # noqa: BLE001 - a file that cannot be looked into is no recording
            return False


_FRESH_S = 3.0
_SNIFF_BYTES = 1 << 16
"""Traces of torch begin with what describes the devices and the job; their events come after it."""


def _left_out(folders: list[str]) -> bool:
    """Keep a walk out of the folders that are not looked into; never leaves out the folder itself."""
    folders[:] = sorted(f for f in folders if not f.startswith(".") and f not in _LEFT_OUT)
    return False


def _capture(of: str, root: Path, folder: Path, name: str, traces: list[Path]) -> Capture:
    below = folder.relative_to(root).as_posix()
    run = "/".join(part for part in (of, below if below != "." else "") if part)
    state, size, modified = hashlib.sha256(), 0, 0
    for file in (*traces, folder / _RUN):
        try:
            status = file.stat()
        except OSError:  # it went away meanwhile, or is no run folder
            continue
        state.update(f"{file.name}\0{status.st_size}\0{status.st_mtime_ns}\n".encode("utf-8", "surrogateescape"))
        size += status.st_size
        modified = max(modified, status.st_mtime_ns)
    who = hashlib.sha256(f"{root}\0{below}\0{name}".encode("utf-8", "surrogateescape"))
    return Capture(
        who.hexdigest()[:20],
        root,
        folder,
        _text(run),
        _text(name),
        tuple(traces),
        size,
        modified,
        state.hexdigest()[:20],
    )


def _text(name: str) -> str:
    """Show a file name that is no valid text as such."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def is_inside(path: Path, root: Path) -> bool:
    """Tell whether a regular file lies below a folder, with all links followed."""
    try:
        real = path.resolve(strict=True)
        return stat.S_ISREG(real.stat().st_mode) and real.is_relative_to(root.resolve())
    except (OSError, RuntimeError):  # links in a circle
        return False


def _roots(logdir: str | None, logdir_spec: str | None) -> tuple[list[tuple[str, Path]], list[str]]:
    """Return the folders to look into, each with its name in --logdir_spec, and why others cannot be looked into."""
    given = [("", logdir)] if logdir else [_named(part) for part in (logdir_spec or "").split(",") if part]
    roots, notes = [], []
    for name, path in given:
        if _REMOTE.match(path):
            notes.append(f"{path}: tbperf reads recordings from local disks only")
        else:
            roots.append((name, Path(path).expanduser().absolute()))
    if not given:
        notes.append("TensorBoard was started without a log folder: start it with --logdir FOLDER")
    return roots, notes


def _named(specification: str) -> tuple[str, str]:
    """Split ``name:/path`` as TensorBoard does."""
    if _REMOTE.match(specification) or specification.startswith("/") or ":" not in specification:
        return "", specification
    name, _, path = specification.partition(":")
    return name, path
