"""Reports and timelines of recordings: made once in the background, kept beside the recording or in memory."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tbperf.tensorboard.captures import is_inside

if TYPE_CHECKING:
    from tbperf.tensorboard.captures import Capture

PARTS = ("report", "timeline")
_IN_MEMORY = 8
"""Results that are held where folders are read-only, the last that were asked for."""


@dataclass
class _Work:
    """One analysis, waiting, running, or failed."""

    capture: Capture
    progress: dict[str, Any] = field(default_factory=lambda: {"state": "waiting"})


class Results:
    """What is known of each recording; asking never waits for an analysis."""

    def __init__(self) -> None:
        self._work: dict[str, _Work] = {}
        self._memory: OrderedDict[str, dict[str, bytes]] = OrderedDict()
        self._lock = threading.Lock()
        self._queue: queue.Queue[_Work] = queue.Queue()
        self._version = _fingerprint()
        self._thread: threading.Thread | None = None

    def of(self, capture: Capture, part: str) -> bytes | dict[str, Any]:
        """Return a part of the results as zipped JSON, or how far its analysis is, which begins if need be."""
        key = self._key(capture)
        with self._lock:
            held = self._memory.get(key)
            if held is not None:
                self._memory.move_to_end(key)
                return held[part]
        kept = _read(_beside(capture, key, part))
        if kept is not None:
            return kept
        with self._lock:
            work = self._work.get(key)
            if work is None:
                work = self._work[key] = _Work(capture)
                self._queue.put(work)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="tbperf analysis", daemon=True)
                self._thread.start()
            return dict(work.progress, bytes_in_all=capture.bytes)

    def _key(self, capture: Capture) -> str:
        return hashlib.sha256(f"{self._version}{capture.id}{capture.state}".encode()).hexdigest()[:16]

    def _run(self) -> None:
        while True:
            work = self._queue.get()
            try:
                self._analyze(work)
            except Exception as error:  # noqa: BLE001 - the next one must have its turn
                work.progress = {"state": "failed", "error": f"{type(error).__name__}: {error}", "hint": ""}

    def _analyze(self, work: _Work) -> None:
        work.progress = {"state": "running"}
        if not all(is_inside(trace, work.capture.root) for trace in work.capture.traces):
            work.progress = {"state": "failed", "error": "the recording is no longer there", "hint": ""}
            return
        with tempfile.TemporaryDirectory(prefix="tbperf-") as folder:
            files = {part: Path(folder, part) for part in PARTS}
            said = _run_worker(files, work)
            if not said.get("done"):
                why = said.get("error") or "the analysis ended before it was done (out of memory?)"
                work.progress = {"state": "failed", "error": why, "hint": said.get("hint", "")}
                return
            made = {part: file.read_bytes() for part, file in files.items()}
        key = self._key(work.capture)
        if not _keep(work.capture, key, made):
            with self._lock:
                self._memory[key] = made
                while len(self._memory) > _IN_MEMORY:
                    self._memory.popitem(last=False)
        with self._lock:
            self._work.pop(key, None)


def _run_worker(files: dict[str, Path], work: _Work) -> dict[str, Any]:
    """Run the analysis to its end, telling its progress; return the last that it said."""
    program = "from tbperf.tensorboard.worker import main; main()"
    arguments = [*(str(files[part]) for part in PARTS), *map(str, work.capture.traces)]
    said: dict[str, Any] = {}
    with subprocess.Popen(  # noqa: S603 - our own interpreter
        [sys.executable, "-c", program, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONSAFEPATH": "1"},
        cwd=files[PARTS[0]].parent,
        text=True,
    ) as child:
        try:
            for line in child.stdout or ():
                with contextlib.suppress(ValueError):
                    said = json.loads(line)
                    work.progress = {"state": "running", **said}
        finally:
            child.kill()
    return said


def _beside(capture: Capture, key: str, part: str) -> Path:
    """Return the hidden file beside a recording that holds a part of its results."""
    return capture.folder / f".{_stem(capture)}.{key}.tbperf-{part}"


def _stem(capture: Capture) -> str:
    return capture.traces[0].name[:100] if len(capture.traces) == 1 else "traces"


def _read(file: Path) -> bytes | None:
    """Read a file that was kept; never what a link leads to."""
    try:
        with os.fdopen(os.open(file, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0)), "rb") as kept:
            content = kept.read()
    except OSError:
        return None
    return content if content.startswith(b"\x1f\x8b") else None


def _keep(capture: Capture, key: str, made: dict[str, bytes]) -> bool:
    """Write results beside the recording, in place of older ones of it; tell whether that could be done."""
    try:
        for part, content in made.items():
            file = _beside(capture, key, part)
            handle, unfinished = tempfile.mkstemp(prefix=".tbperf-", suffix=".part", dir=file.parent)
            try:
                with os.fdopen(handle, "wb") as out:
                    out.write(content)
                # Who may read the recording may read what is known of it.
                Path(unfinished).chmod(capture.traces[0].stat().st_mode & 0o666)
                Path(unfinished).replace(file)
            except OSError:
                Path(unfinished).unlink(missing_ok=True)
                raise
            prefix, suffix = f".{_stem(capture)}.", f".tbperf-{part}"
            for old in file.parent.iterdir():
                middle = old.name[len(prefix) : -len(suffix)]
                mine = old.name.startswith(prefix) and old.name.endswith(suffix) and len(middle) == len(key)
                if mine and old != file:
                    old.unlink(missing_ok=True)
    except OSError:
        return False
    return True


def _fingerprint() -> str:
    """Tell this analyzer from every other, by its files: a report is made again when its maker has changed."""
    package = Path(__file__).parents[1]
    known = hashlib.sha256()
    for file in sorted(package.rglob("*.py")):
        status = file.stat()
        known.update(f"{file.relative_to(package)}\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
    return known.hexdigest()
