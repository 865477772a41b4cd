"""What a run folder holds beside its traces, brought onto a trace's clock: loader workers and hardware.

``with_run`` is for every reader: it looks whether the trace lies in a run folder.  docs/run-folder.md describes the
files.  All of them may be cut short or missing; what can be read counts, and a note says what could not.
"""

from __future__ import annotations

import contextlib
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np

from tbperf.readers.run import find_run, read_accounts
from tbperf.trace import NONE, Table, Thread

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    from tbperf.trace import StepAccount, Trace

HARDWARE = "hardware.jsonl"
LOADERS = "loader.*.bin"
LOADER_PREFIX = "loader/"

_RECORD = np.dtype([("start", "<u8"), ("dur", "<u8"), ("name", "<u2"), ("depth", "<u2")])
_DEFAULT_PREFETCH = 4
_MOST_PREFETCH = 64


def with_run(trace: Trace, path: Path | None) -> Trace:
    """Return the trace with what its run folder tells: the run's account, loader workers, hardware.

    Args:
        trace: As its file tells it.  Its ``origin_unix_ns`` places the rest on its clock.
        path: Its file; None where it lies in an archive.
    """
    run = find_run(path) if path is not None else None
    if run is None:
        return trace
    folder = Path(run.folder)
    versions = {**trace.versions, **{name: text for name, text in run.versions.items() if text is not None}}
    trace = replace(trace, run=run, versions=versions, accounts=_accounts(trace, folder))
    origin, window = trace.origin_unix_ns, _window(trace)
    if origin is None or window is None:
        return trace
    trace = _with_loaders(trace, folder, origin, window)
    return _with_samples(trace, folder / HARDWARE, origin, window)


def _accounts(trace: Trace, folder: Path) -> dict[int, StepAccount]:
    pid, phase = trace.recording.get("pid"), trace.recording.get("phase")
    return read_accounts(folder, pid, phase) if isinstance(pid, int) and isinstance(phase, str) else {}


def _window(trace: Trace) -> tuple[int, int] | None:
    tables = [table for table in (trace.gpu, trace.api, trace.ops, trace.ranges) if len(table)]
    if not tables:
        return None
    return min(int(table["start_ns"].min()) for table in tables), max(int(table.end_ns.max()) for table in tables)


# Loader workers


class _Chunk(msgspec.Struct):
    """The line before the records of one batch."""

    pid: int
    parent: int
    records: int
    names: list[str]
    worker: int | None = None
    batch: int = 0


class Fetch(NamedTuple):
    """One batch, as one process loaded it."""

    about: _Chunk
    records: npt.NDArray[Any]
    """Start and duration in ns on the system clock, index into ``about.names``, depth; the whole fetch is last."""


def read_fetches(path: Path) -> Iterator[Fetch]:
    """Yield the batches of one process, oldest first, up to where the file is cut, damaged or unreadable."""
    decoder = msgspec.json.Decoder(_Chunk)
    with contextlib.suppress(OSError, msgspec.MsgspecError, UnicodeDecodeError), path.open("rb") as file:
        while line := file.readline(1 << 16):
            about = decoder.decode(line)
            if about.records <= 0:
                return
            records = np.frombuffer(file.read(about.records * _RECORD.itemsize), np.uint8)
            if records.size < about.records * _RECORD.itemsize:
                return
            found = records.view(_RECORD)
            if int(found["name"].max()) >= len(about.names):
                return
            yield Fetch(about, found)


def _with_loaders(trace: Trace, folder: Path, origin: int, window: tuple[int, int]) -> Trace:
    processes = {thread.pid for thread in trace.threads}
    chosen: list[Fetch] = []
    for path in sorted(folder.glob(LOADERS)):
        fetches = [fetch for fetch in read_fetches(path) if fetch.about.parent in processes]
        chosen += _around(fetches, origin, window, _prefetch(trace))
    return _merged(trace, chosen, origin) if chosen else trace


def _prefetch(trace: Trace) -> int:
    told = trace.recording.get("prefetch")
    return told if isinstance(told, int) and 0 <= told <= _MOST_PREFETCH else _DEFAULT_PREFETCH


def _around(fetches: list[Fetch], origin: int, window: tuple[int, int], before: int) -> list[Fetch]:
    """Choose the batches that one worker loaded in the window, and those that lay ready when it began."""
    spans = [(int(fetch.records[-1]["start"]) - origin, int(fetch.records[-1]["dur"])) for fetch in fetches]
    inside = [index for index, (start, dur) in enumerate(spans) if start < window[1] and start + dur > window[0]]
    first = inside[0] if inside else sum(start + dur <= window[0] for start, dur in spans)
    if not inside:
        return fetches[max(0, first - before) : first]
    return fetches[max(0, first - before) : inside[-1] + 1]


def _merged(trace: Trace, fetches: list[Fetch], origin: int) -> Trace:
    threads = {thread: index for index, thread in enumerate(trace.threads)}
    columns: dict[str, list[npt.NDArray[Any]]] = defaultdict(list)
    for about, records in fetches:
        thread = (
            Thread(about.pid, "loader", "loader, in the process itself")
            if about.worker is None
            else Thread(about.pid, about.pid, f"loader worker {about.worker}")
        )
        code_of = trace.strings.codes([LOADER_PREFIX + name for name in about.names])
        start = records["start"].astype(np.int64) - origin
        columns["start_ns"].append(start)
        columns["dur_ns"].append(records["dur"].astype(np.int64))
        columns["name"].append(code_of[records["name"]])
        columns["thread"].append(np.full(start.shape, threads.setdefault(thread, len(threads)), np.int32))
    merged = {
        name: np.concatenate([trace.ranges[name], *columns[name]]) for name in ("start_ns", "dur_ns", "name", "thread")
    }
    return replace(trace, ranges=Table.of("ranges", merged), threads=tuple(threads))


# Hardware


class _Header(msgspec.Struct):
    columns: list[tuple[str, int]]
    schema: str = ""
    absent: dict[str, str] = {}


def _with_samples(trace: Trace, path: Path, origin: int, window: tuple[int, int]) -> Trace:
    """Add the samples in the trace's window and the ones on either side of it."""
    try:
        with path.open("rb") as file:
            header = msgspec.json.decode(file.readline(), type=_Header)
            rows = list(_rows(file.read(), len(header.columns)))
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return trace
    table = _samples(trace, header, rows, origin, window)
    return replace(trace, samples=_joined(trace.samples, table)) if len(table) else trace


def _joined(first: Table, second: Table) -> Table:
    """Return the rows of both: Nsight's own metrics stay."""
    return Table.of("samples", {name: np.concatenate([first[name], second[name]]) for name in first.columns})


def _rows(content: bytes, columns: int) -> Iterator[tuple[int, list[float | None]]]:
    """Yield moments and values, up to the first line that is not whole."""
    with contextlib.suppress(msgspec.MsgspecError):
        for line in content.splitlines():
            at, *values = msgspec.json.decode(line, type=list[float | int | None])
            if not isinstance(at, int) or len(values) != columns:
                return
            yield at, values


def _samples(
    trace: Trace,
    header: _Header,
    rows: list[tuple[int, list[float | None]]],
    origin: int,
    window: tuple[int, int],
) -> Table:
    at = np.array([moment - origin for moment, _ in rows], np.int64)
    values = np.array([[np.nan if value is None else value for value in row] for _, row in rows], np.float64)
    values = values.reshape(len(rows), len(header.columns))
    columns: dict[str, list[npt.NDArray[Any]]] = defaultdict(list)
    for index, (series, device) in enumerate(header.columns):
        own = _ordinal(trace, device) if series.startswith(_OF_GPUS) else device
        if own == NONE and device != NONE:
            continue
        known = np.flatnonzero(~np.isnan(values[:, index]))
        first, last = np.searchsorted(at[known], window)
        rows_of = known[max(0, first - 1) : last + 1]
        columns["start_ns"].append(at[rows_of])
        columns["series"].append(np.full(rows_of.shape, trace.strings.codes([series])[0], np.int32))
        columns["device"].append(np.full(rows_of.shape, own, np.int32))
        columns["value"].append(values[rows_of, index])
    if not columns:
        return Table.empty("samples")
    return Table.of("samples", {name: np.concatenate(parts) for name, parts in columns.items()})


_OF_GPUS = ("gpu_", "sm_", "memory_clock", "power_", "temperature_", "throttle_", "energy_", "pcie_")


def _ordinal(trace: Trace, device: int) -> int:
    """Return the ordinal that the program knew a GPU of the machine by; `NONE` if it did not see it."""
    told = trace.recording.get("visible_devices")
    numbers = told.split(",") if isinstance(told, str) and told else []
    if not numbers or not all(number.strip().isdigit() for number in numbers):
        return device
    visible = [int(number) for number in numbers]
    return visible.index(device) if device in visible else NONE
