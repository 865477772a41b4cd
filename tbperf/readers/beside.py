"""What a run folder holds beside its traces, brought onto a trace's clock: loader workers and hardware.

``with_run`` is for every reader: it looks whether the trace lies in a run folder.  docs/run-folder.md describes the
files.  All of them may be cut short or missing; what can be read counts, and a note says what could not.
"""

from __future__ import annotations

import contextlib
import operator
from collections import Counter, defaultdict
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any, NamedTuple

import msgspec
import numpy as np

from tbperf.readers.bounds import DAY_NS, FURTHEST_NS, Count, Text, Whole
from tbperf.readers.files import open_regular
from tbperf.readers.run import accounts_of, find_run_and_say, read_step_log
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
        path: Its file; None where it lies in an archive or came through a pipe.
    """
    run, notes = find_run_and_say(path) if path is not None else (None, ())
    if run is None:
        return replace(trace, notes=(*trace.notes, *notes))
    folder = Path(run.folder)
    versions = {**trace.versions, **{name: text for name, text in run.versions.items() if text is not None}}
    beside = _Beside(notes=list(notes))
    trace = replace(trace, run=run, versions=versions, accounts=_accounts(trace, folder, beside))
    origin, window = trace.origin_unix_ns, _window(trace)
    if origin is not None and window is not None:
        trace = _with_loaders(trace, folder, origin, window, beside)
        trace = _with_samples(trace, folder / HARDWARE, origin, window, beside)
    return replace(trace, dropped=trace.dropped + beside.dropped, notes=(*trace.notes, *beside.notes))


@dataclass
class _Beside:
    """What of the files beside a trace could not be used."""

    notes: list[str]
    dropped: Counter[str] = field(default_factory=Counter)

    def say(self, path: Path, error: OSError) -> None:
        """Note why a file cannot be read; one that is not there is none."""
        if not isinstance(error, FileNotFoundError) or path.is_symlink():
            self.notes.append(f"{path.name} cannot be read: {(error.strerror or str(error)).lower()}")

    def drop(self, reason: str, count: int) -> None:
        """Count what is left out."""
        if count:
            self.dropped[reason] += count


def _accounts(trace: Trace, folder: Path, beside: _Beside) -> dict[int, StepAccount]:
    pid, phase = trace.recording.get("pid"), trace.recording.get("phase")
    if not isinstance(pid, int) or not isinstance(phase, str):
        return {}
    log = read_step_log(folder, pid)
    beside.notes += log.unreadable
    beside.drop("broken_line_of_the_step_log", log.broken_lines)
    return accounts_of(log.steps, phase)


def _window(trace: Trace) -> tuple[int, int] | None:
    tables = [table for table in (trace.gpu, trace.api, trace.ops, trace.ranges) if len(table)]
    if not tables:
        return None
    return min(int(table["start_ns"].min()) for table in tables), max(int(table.end_ns.max()) for table in tables)


# Loader workers


class _Chunk(msgspec.Struct):
    """The line before the records of one batch."""

    pid: Whole
    parent: Whole
    records: Annotated[int, msgspec.Meta(ge=1, le=1 << 24)]
    names: list[Text]
    worker: Count | None = None
    batch: Whole = 0


class Fetch(NamedTuple):
    """One batch, as one process loaded it."""

    about: _Chunk
    records: npt.NDArray[Any]
    """Start and duration in ns on the system clock, index into ``about.names``, depth; the whole fetch is last."""


def read_fetches(path: Path) -> Iterator[Fetch]:
    """Yield the batches of one process, oldest first, up to where the file is cut, damaged or unreadable."""
    with contextlib.suppress(OSError, _Damaged):
        yield from _fetches(path)


class _Damaged(Exception):  # noqa: N818 - not an error: what came before is good
    """What follows is not what a loader writes."""


def _fetches(path: Path) -> Iterator[Fetch]:
    """Yield batches up to where the file is cut; raises `_Damaged` where something else is wrong with it."""
    decoder = msgspec.json.Decoder(_Chunk)
    with open_regular(path) as file:
        while line := file.readline(_LONGEST_LINE):
            if not line.endswith(b"\n") and len(line) < _LONGEST_LINE:
                return
            try:
                about = decoder.decode(line)
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
                raise _Damaged from error
            content = file.read(about.records * _RECORD.itemsize)
            if len(content) < about.records * _RECORD.itemsize:
                return
            records = np.frombuffer(content, _RECORD)
            if int(records["name"].max()) >= len(about.names):
                raise _Damaged
            if int(records["start"].max()) > FURTHEST_NS or int(records["dur"].max()) > DAY_NS:
                raise _Damaged
            yield Fetch(about, records)


_LONGEST_LINE = 1 << 16


def _with_loaders(trace: Trace, folder: Path, origin: int, window: tuple[int, int], beside: _Beside) -> Trace:
    processes = {thread.pid for thread in trace.threads}
    chosen: list[Fetch] = []
    for path in sorted(folder.glob(LOADERS)):
        fetches = []
        try:
            for fetch in _fetches(path):
                if fetch.about.parent in processes:
                    fetches.append(fetch)  # noqa: PERF401 - those before an error are kept
        except OSError as error:
            beside.say(path, error)
        except _Damaged:
            beside.drop("damaged_end_of_a_loader_log", 1)
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
    columns: list[tuple[Text, Annotated[int, msgspec.Meta(ge=NONE, lt=1 << 16)]]]
    schema: str = ""


def _with_samples(trace: Trace, path: Path, origin: int, window: tuple[int, int], beside: _Beside) -> Trace:
    """Add the samples in the trace's window and the ones on either side of it."""
    try:
        with open_regular(path) as file:
            header = msgspec.json.decode(file.readline(_LONGEST_HEADER), type=_Header)
            rows = sorted(_rows(file, len(header.columns), beside), key=operator.itemgetter(0))
    except OSError as error:
        beside.say(path, error)
        return trace
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        beside.notes.append(f"{path.name} cannot be read: its first line: {error}")
        return trace
    table = _samples(trace, header, rows, origin, window)
    return replace(trace, samples=_joined(trace.samples, table)) if len(table) else trace


_LONGEST_HEADER = 1 << 20


def _joined(first: Table, second: Table) -> Table:
    """Return the rows of both: Nsight's own metrics stay."""
    return Table.of("samples", {name: np.concatenate([first[name], second[name]]) for name in first.columns})


def _rows(file: IO[bytes], columns: int, beside: _Beside) -> Iterator[tuple[int, list[float | None]]]:
    """Yield moments and values; a line that is none hides no other and is counted."""
    decoder = msgspec.json.Decoder(list[float | int | None])
    broken = 0
    while line := file.readline(_LONGEST_LINE):
        try:
            at, *values = decoder.decode(line)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError):
            at, values = None, []
        is_whole = len(values) == columns and all(value is None or abs(value) < _LARGEST_VALUE for value in values)
        if isinstance(at, int) and 0 <= at <= FURTHEST_NS and is_whole:
            yield at, values
        elif line.strip() and line.endswith(b"\n"):
            broken += 1
    beside.drop("broken_line_of_the_hardware_log", broken)


_LARGEST_VALUE = 1e18
"""No measurement of the hardware is larger: bytes, hertz, joules."""


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
