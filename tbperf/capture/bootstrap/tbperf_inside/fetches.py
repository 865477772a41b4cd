"""What loading each batch was spent on: compact records of the loader's workers, which no profiler sees.

A worker keeps the records of its last few batches and writes them only around the windows of the process that it
works for, so that a long run leaves as little as a short one.  A file is a sequence of chunks, one a batch: a line of
JSON that says whose they are, then so many records of `RECORD`.
"""

from __future__ import annotations

import json
import os
import struct
import threading
import time
from collections import deque
from typing import Any

RECORD = struct.Struct("<QQHH")
"""Start (system clock, ns), duration (ns), index into the chunk's names, depth (0: the whole fetch)."""

_KEPT_BATCHES = 8
"""More than a worker prepares ahead: what it fetched for the first steps of a window."""

FETCH = "fetch"


_MAY_COME, _OPEN, _NOT_NEAR = b"0", b"1", b"2"
"""What the flag says of windows: without a file, one may come."""


class WindowFlag:
    """One byte in a file: whether a process has a window open, or will soon.  Its loader's workers look at it."""

    def __init__(self, folder: str) -> None:
        self._folder = os.path.join(folder, "journal")
        self._file: int | None = None
        self._told = _MAY_COME

    def raise_(self) -> None:
        """Tell the workers of this process that a window began."""
        self._tell(_OPEN)

    def lower(self) -> None:
        """Tell them that none is open, but one may be while batches that they load now are used."""
        self._tell(_MAY_COME)

    def rest(self) -> None:
        """Tell them that none will be for long."""
        self._tell(_NOT_NEAR)

    def _tell(self, state: bytes) -> None:
        if state == self._told:
            return
        if self._file is None:
            self._file = os.open(self._path(os.getpid()), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
        os.pwrite(self._file, state, 0)
        self._told = state

    def is_open(self, pid: int) -> bool:
        """Return whether the process ``pid`` has a window open."""
        return self._of(pid) == _OPEN

    def is_near(self, pid: int) -> bool:
        """Return whether a window of the process ``pid`` is open or may come soon."""
        return self._of(pid) != _NOT_NEAR

    def _of(self, pid: int) -> bytes:
        if self._file is None:
            try:
                self._file = os.open(self._path(pid), os.O_RDWR | os.O_CLOEXEC)
            except FileNotFoundError:
                return _MAY_COME
        return os.pread(self._file, 1, 0)

    def _path(self, pid: int) -> str:
        return os.path.join(self._folder, f"window.{pid}")


class FetchLog:
    """The records of one process that loads batches: a worker, or the program itself where it has none."""

    def __init__(self, folder: str) -> None:
        self._path = os.path.join(folder, f"loader.{os.getpid()}.bin")
        self._flag = WindowFlag(folder)
        self._records: list[tuple[int, int, int, int]] = []
        self._names: dict[str, int] = {}
        self._kept: deque[tuple[dict[str, Any], list[tuple[int, int, int, int]]]] = deque(maxlen=_KEPT_BATCHES)
        self._open: list[str] = []
        self._thread = 0
        """The thread that loads a batch; 0 while none does."""
        self._one_thread = threading.Lock()
        self._batches = 0
        self._was_on = False
        self._worker: tuple[int | None, int] | None = None

    @property
    def loading(self) -> bool:
        """Whether a batch is being loaded, by whatever thread."""
        return self._thread != 0

    def begin(self, name: str) -> int:
        """Open a record inside the one that is open, or the fetch itself; returns when, 0 where it is no record.

        What calls itself under the same name, as a subclass its parent's method, is one record.  No fetch is recorded
        while no window is near, which is most of a long run.
        """
        if self._thread == threading.get_ident():
            if self._open[-1] == name:
                return 0
        elif not self._claim():
            return 0
        self._open.append(name)
        return time.time_ns()

    def _claim(self) -> bool:
        """Return whether a fetch can be recorded on this thread: near a window, and one thread at a time."""
        if not self._one_thread.acquire(blocking=False):
            return False
        if self._flag.is_near(self._owner()[1]):
            self._thread = threading.get_ident()
            return True
        self._kept.clear()
        self._one_thread.release()
        return False

    def end(self, began: int) -> None:
        """Close the record that was opened last."""
        dur_ns = max(0, time.time_ns() - began)
        name = self._open.pop()
        code = self._names.setdefault(name, len(self._names))
        self._records.append((began, dur_ns, code, len(self._open)))
        if not self._open:
            self._end_batch()
            self._thread = 0
            self._one_thread.release()

    def _owner(self) -> tuple[int | None, int]:
        """Return what `_whose_worker` says, asked once a process."""
        if self._worker is None:
            self._worker = _whose_worker()
        return self._worker

    def _end_batch(self) -> None:
        number, parent = self._owner()
        about = {
            "worker": number,
            "pid": os.getpid(),
            "parent": parent,
            "batch": self._batches,
            "records": len(self._records),
            "names": list(self._names),
        }
        self._kept.append((about, self._records))
        self._records = []
        self._batches += 1
        on = self._flag.is_open(parent)
        if on or self._was_on:
            # Once more after the window: that batch began inside it.
            chunks = [_chunk(told, records) for told, records in self._kept]
            with open(self._path, "ab") as file:
                file.write(b"".join(chunks))
            self._kept.clear()
        self._was_on = on


def _chunk(about: dict[str, Any], records: list[tuple[int, int, int, int]]) -> bytes:
    return json.dumps(about).encode() + b"\n" + b"".join([RECORD.pack(*record) for record in records])


def _whose_worker() -> tuple[int | None, int]:
    """Return the worker's number (None in the program itself) and the process that it works for."""
    import multiprocessing

    import torch

    info = torch.utils.data.get_worker_info()
    if info is None:
        return None, os.getpid()
    # Not getppid: workers of a fork server are that server's children.
    parent = multiprocessing.parent_process()
    return info.id, os.getppid() if parent is None or parent.pid is None else parent.pid
