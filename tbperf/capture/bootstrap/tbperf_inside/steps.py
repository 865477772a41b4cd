"""The log of all steps, profiled or not: one JSON line a step, always on."""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from typing import Any, NamedTuple

_FLUSH_EVERY_NS = 1_000_000_000


class StepLog:
    """Collects rows and writes them about once a second: cheap, and a kill loses little."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._rows: list[dict[str, Any]] = []
        self._lock = threading.RLock()
        self._flushed_ns = time.perf_counter_ns()

    def append(self, row: dict[str, Any]) -> None:
        """Add the row of one step."""
        with self._lock:
            self._rows.append(row)
        if time.perf_counter_ns() - self._flushed_ns > _FLUSH_EVERY_NS:
            self.flush()

    def flush(self) -> None:
        """Write what has been collected, by all threads."""
        with self._lock:
            self._flushed_ns = time.perf_counter_ns()
            rows, self._rows = self._rows, []
            if rows:
                lines = "".join(json.dumps(row) + "\n" for row in rows)
                with open(self._path, "a", encoding="utf-8") as file:
                    file.write(lines)


class ProcessorTime(NamedTuple):
    """Nanoseconds on all cores since the process began."""

    cpu_ns: int
    """Of all threads of this process; of no other process."""
    main_cpu_ns: int
    """Of the thread that asks."""
    main_queued_ns: int | None
    """Time in which that thread was ready to run and had no core; None where the system does not tell."""
    thread: int
    """The thread that asks."""

    def since(self, before: ProcessorTime) -> dict[str, int | None]:
        """Return what was spent since an earlier moment; of a thread only where it is the same thread."""
        spent: dict[str, int | None] = {
            "cpu_ns": self.cpu_ns - before.cpu_ns,
            "main_cpu_ns": None,
            "main_queued_ns": None,
        }
        if self.thread == before.thread:
            spent["main_cpu_ns"] = self.main_cpu_ns - before.main_cpu_ns
            if self.main_queued_ns is not None and before.main_queued_ns is not None:
                spent["main_queued_ns"] = self.main_queued_ns - before.main_queued_ns
        return spent


class ProcessorClock(threading.local):
    """Asks for the processor time of the thread that asks; each thread has its own."""

    def __init__(self) -> None:
        self._file = _ScheduleFile()

    def read(self) -> ProcessorTime:
        """Return what this process and this thread have used so far."""
        return ProcessorTime(
            time.process_time_ns(), time.thread_time_ns(), self._file.queued_ns(), threading.get_ident()
        )

    def close(self) -> None:
        """Let go of the file of this thread."""
        self._file.close()


class _ScheduleFile:
    """What the system tells of the thread that opens it; closed when the thread ends."""

    def __init__(self) -> None:
        self._file: int | None = None
        with contextlib.suppress(OSError):
            # A file of /proc/thread-self stays that of the thread that opened it.
            self._file = os.open("/proc/thread-self/schedstat", os.O_RDONLY | os.O_CLOEXEC)

    def queued_ns(self) -> int | None:
        if self._file is None:
            return None
        try:
            return int(os.pread(self._file, 96, 0).split()[1])
        except (OSError, ValueError, IndexError):
            return None

    def close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            with contextlib.suppress(OSError):
                os.close(file)

    def __del__(self) -> None:
        self.close()


def step_log_path(folder: str, process: str) -> str:
    """Return where the process named ``process`` (``1234`` or ``1234_rank0``) logs its steps."""
    return os.path.join(folder, f"steps.{process}.jsonl")
