"""Traces of torch.profiler (Kineto), of torch 1.8 and later, and other Chrome traces as far as they go."""

from __future__ import annotations

import itertools
import mmap
import re
from collections import Counter
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from tbperf.errors import TraceFormatError
from tbperf.readers import chrome
from tbperf.readers.beside import with_run
from tbperf.readers.columns import Columns, read_piece, read_range
from tbperf.readers.files import is_gzip
from tbperf.readers.workers import MOST_WORKERS, run_side_by_side, usable_cores
from tbperf.trace import NONE, TABLES, Gpu, Kind, Strings, Table, Thread, Trace
from tbperf.trace.names import copied_memory, copy_kind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    import numpy.typing as npt

    from tbperf.readers.files import Source

_PIECES_A_WORKER = 6
"""A worker process costs 0.15 s before its first result: it pays from about 24 MB on."""

_RANK_IN_NAME = re.compile(r"(?:^|[^a-z])(?:rank|worker)[-_]?(\d+)", re.IGNORECASE)
_VERSIONS = {
    "cuda_runtime_version": "cuda",
    "cuda_driver_version": "cuda_driver",
    "cupti_version": "cupti",
    "hip_runtime_version": "hip",
    "torch_version": "torch",
    "pytorch_version": "torch",
}


class KinetoReader:
    """Reads ``*.pt.trace.json`` and ``*.pt.trace.json.gz``, under any name."""

    name = "kineto"
    title = "a torch.profiler trace (JSON, also gzipped)"

    def recognizes(self, head: bytes) -> bool:
        """Decide by the first bytes of the contents."""
        return chrome.looks_like_json(head)

    def traces(self, source: Source) -> Iterator[Source]:
        """Yield the file itself: it holds one process."""
        yield source

    def read(self, source: Source, *, jobs: int, progress: Callable[[int, int], None]) -> Trace:
        """Read one file."""
        parts = chrome.Cut()
        with source.open() as file:
            size = source.size(file)
            try:
                pieces = list(_pieces(source, file, parts, jobs or usable_cores(), progress))
            except ValueError as error:
                raise TraceFormatError(
                    f"{source.name}: not a trace: {source.damage or error}", "tbperf reads torch.profiler's JSON traces"
                ) from error
        parts.truncated |= bool(source.damage)
        if not any(piece.events for piece in pieces) and any(piece.dropped for piece in pieces):
            raise TraceFormatError(
                f"{source.name}: no event can be read, from byte {len(parts.head) + (pieces[0].broken_at or 0):,} on",
                "was it cut short, or written by several processes at once? record again",
            )
        return _assemble(source, size, pieces, parts)


def _pieces(
    source: Source, file: IO[bytes], parts: chrome.Cut, jobs: int, progress: Callable[[int, int], None]
) -> Iterator[Columns]:
    """Read the pieces of a file, side by side where that pays; stop where the list of events ends."""
    tasks: Iterable[tuple[Any, ...]]
    if source.path is not None and not is_gzip(file):
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            tasks = [(source.path, begin, end) for begin, end in chrome.cut_file(data, parts)]
            workers = min(jobs, MOST_WORKERS, len(tasks) // _PIECES_A_WORKER)
        results = run_side_by_side(read_range, tasks, workers)
    else:
        tasks = ((piece,) for piece in chrome.cut_stream(source.blocks(file), parts))
        first = list(itertools.islice(tasks, _PIECES_A_WORKER * 2))
        workers = min(jobs, MOST_WORKERS) if len(first) == _PIECES_A_WORKER * 2 else 1
        results = run_side_by_side(read_piece, itertools.chain(first, tasks), workers)
    read = events = 0
    for columns in results:
        yield columns
        read, events = read + columns.size, events + columns.events
        progress(file.tell() or read, events)  # what is stored: less than what comes out of a zipped file
        if columns.tail is not None:
            parts.tail, parts.truncated = columns.tail, False
            break


def _assemble(source: Source, size: int, pieces: list[Columns], parts: chrome.Cut) -> Trace:
    dropped = sum((piece.dropped for piece in pieces), Counter[str]())
    metadata = parts.metadata()
    if metadata is None:
        dropped["unreadable_metadata"] += 1
        metadata = {}
    strings = Strings()
    threads: dict[Thread, int] = {}
    tables = _merged(pieces, strings, threads)
    _drop_strays(tables, dropped)
    thread_names = {thread: name for piece in pieces for thread, name in piece.thread_names}
    origin = min((int(table["start_ns"].min()) for table in tables.values() if len(table)), default=0)
    tables = {name: table.replaced(start_ns=table["start_ns"] - origin) for name, table in tables.items()}
    tables["gpu"] = _told_apart(tables["gpu"], strings)
    own = metadata.get("tbperf")
    trace = Trace(
        path=source.name,
        format="kineto",
        bytes=size,
        events=sum(piece.events for piece in pieces),
        **tables,
        stage_pattern=None,
        accounts={},
        threads=tuple(Thread(t.pid, t.tid, thread_names.get(t, "")) for t in threads),
        strings=strings,
        rank=rank_of(metadata, source.name),
        world_size=_world_size(metadata),
        gpus=tuple(_gpus(metadata)),
        versions=_versions(metadata),
        origin_unix_ns=_unix_origin(metadata.get("baseTimeNanoseconds"), origin),
        resolution_ns=1000 if all(piece.whole_microseconds for piece in pieces) else 1,
        dropped=dropped,
        notes=tuple(_notes(source, pieces, parts)),
        warnings=(),
        truncated=parts.truncated,
        run=None,
        recording=own if isinstance(own, dict) else {},
    )
    return with_run(trace, source.path)


def _notes(source: Source, pieces: list[Columns], parts: chrome.Cut) -> Iterator[str]:
    if parts.truncated:
        end = len(parts.head) + sum(piece.size for piece in pieces)
        cut = "inside an event" if any(piece.broken_at is not None for piece in pieces[-1:]) else "behind an event"
        yield f"the list of events breaks off {cut}, after {end:,} bytes of JSON; what came behind is lost"
    if repaired := sum(piece.repaired for piece in pieces):
        yield f"{repaired} of {len(pieces)} pieces of the file held invalid JSON and were mended"
    if source.damage:
        yield f"the compression is damaged ({source.damage}); read as far as it goes"


_HOUR_NS = 3600 * 10**9
_DAY_NS = 24 * _HOUR_NS
_SECOND_NS = 10**9


def _drop_strays(tables: dict[str, Table], dropped: Counter[str]) -> None:
    """Leave out events whose times cannot be: they would stretch the window to hours or decades.

    A start of zero on a clock that began long before, and an end far beyond the time in which anything started.
    """
    starts = [table["start_ns"] for table in tables.values() if len(table)]
    if not starts:
        return
    sample = np.sort(np.concatenate([start[:: max(1, len(start) // 1000)] for start in starts]))
    middle = int(sample[len(sample) // 2])
    near = [start[np.abs(start - middle) < _DAY_NS] for start in starts]
    first = min(int(start.min()) for start in near if start.size)
    last = max(int(start.max()) for start in near if start.size)
    latest_end = last + max(last - first, _SECOND_NS)
    for name, table in tables.items():
        start = table["start_ns"]
        far = np.abs(start - middle) >= _DAY_NS
        zero = (start == 0) & (abs(middle) > _HOUR_NS)
        endless = table.end_ns > latest_end if name == "gpu" else np.zeros(start.shape, np.bool_)
        for reason, mask in (
            ("zero_timestamp", zero),
            ("stray_timestamp", far & ~zero),
            ("overflowing_duration", endless & ~far & ~zero),
        ):
            if count := int(mask.sum()):
                dropped[reason] += count
        if (stray := zero | far | endless).any():
            tables[name] = table.rows(~stray)


_TEXTS = frozenset((table, column.name) for table, of in TABLES.items() for column in of if column.dtype == "str")


def _merged(pieces: list[Columns], strings: Strings, threads: dict[Thread, int]) -> dict[str, Table]:
    """Join the columns of all pieces, in one pool of strings and one list of threads."""
    parts: dict[str, dict[str, list[npt.NDArray[Any]]]] = {name: {} for name in TABLES}
    for piece in pieces:
        code_of = np.append(strings.codes(piece.texts), NONE)  # so that `NONE`, an index of -1, stays what it is
        thread_of = np.array([threads.setdefault(t, len(threads)) for t in piece.threads], np.int32)
        for table, columns in piece.tables.items():
            for name, values in columns.items():
                in_trace = thread_of if name == "thread" else code_of if (table, name) in _TEXTS else None
                parts[table].setdefault(name, []).append(values if in_trace is None else in_trace[values])
        piece.tables.clear()
    return {
        name: Table.of(name, {column: np.concatenate(found) for column, found in columns.items()})
        if columns
        else Table.empty(name)
        for name, columns in parts.items()
    }


def _told_apart(gpu: Table, strings: Strings) -> Table:
    """Read direction and host memory of copies from their names: ``Memcpy HtoD (Pageable -> Device)``."""
    if not len(gpu):
        return gpu
    copies = gpu["kind"] == Kind.MEMCPY
    return gpu.replaced(
        copy_kind=np.where(copies, strings.labelled(copy_kind, gpu["name"]), NONE).astype(np.int8),
        host_memory=np.where(copies, strings.labelled(copied_memory, gpu["name"]), NONE).astype(np.int8),
    )


def rank_of(metadata: Mapping[str, Any], name: str) -> int | None:
    """Return the rank that the metadata tells, else the name of the file."""
    distributed = metadata.get("distributedInfo")
    rank = distributed.get("rank") if isinstance(distributed, dict) else None
    if isinstance(rank, int):
        return rank
    match = _RANK_IN_NAME.search(name.rpartition("/")[2])
    return int(match[1]) if match else None


def _world_size(metadata: Mapping[str, Any]) -> int | None:
    distributed = metadata.get("distributedInfo")
    size = distributed.get("world_size") if isinstance(distributed, dict) else None
    return size if isinstance(size, int) else None


def _gpus(metadata: Mapping[str, Any]) -> list[Gpu]:
    found = []
    properties = metadata.get("deviceProperties")
    for device in properties if isinstance(properties, list) else ():
        if not isinstance(device, dict) or not isinstance(device.get("id"), int):
            continue
        major, minor = device.get("computeMajor"), device.get("computeMinor")
        memory, processors = device.get("totalGlobalMem"), device.get("numSms")
        found.append(
            Gpu(
                device=device["id"],
                name=str(device.get("name", "")),
                memory_bytes=memory if isinstance(memory, int) else None,
                compute_capability=(major, minor) if isinstance(major, int) and isinstance(minor, int) else None,
                multiprocessors=processors if isinstance(processors, int) else None,
            )
        )
    return found


def _versions(metadata: Mapping[str, Any]) -> dict[str, str]:
    found = {}
    for key, name in _VERSIONS.items():
        value = metadata.get(key)
        if name in ("cuda", "cuda_driver") and isinstance(value, int):
            found[name] = f"{value // 1000}.{value % 1000 // 10}"
        elif isinstance(value, (int, str)):
            found[name] = str(value)
    return found


def _unix_origin(base: Any, origin: int) -> int | None:
    if isinstance(base, int):
        return base + origin
    # Without a base the times are microseconds since 1970, if they look like that.
    return origin if origin > 10**18 else None
