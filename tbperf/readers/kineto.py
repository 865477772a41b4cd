"""Traces of torch.profiler (Kineto), of torch 1.8 and later, and other Chrome traces as far as they go."""

from __future__ import annotations

import functools
import itertools
import re
from collections import Counter
from typing import IO, TYPE_CHECKING, Any, TypeGuard

import numpy as np

from tbperf.errors import TraceFormatError
from tbperf.readers import chrome
from tbperf.readers.beside import with_run
from tbperf.readers.bounds import FURTHEST_NS, MOST_BYTES, MOST_RANKS, Count, Rank, Text, Whole, checked, plain
from tbperf.readers.columns import Columns, read_piece, read_range
from tbperf.readers.files import identity_of, part_of
from tbperf.readers.foreign import refusal_of_json
from tbperf.readers.strays import drop_endless_work, drop_strays
from tbperf.readers.workers import MOST_WORKERS, run_side_by_side, usable_cores
from tbperf.trace import NONE, TABLES, Gpu, Kind, Strings, Table, Thread, Trace
from tbperf.trace.names import copied_memory, copy_kind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    import numpy.typing as npt

    from tbperf.readers.files import Source

_PIECES_A_WORKER = 6
"""A worker process costs 0.15 s before its first result: it pays from about 24 MB on."""

_RANK_IN_NAME = re.compile(r"(?:^|[^a-z])(?:rank|worker)[-_]?([0-9]{1,6})(?![0-9])", re.IGNORECASE)
_VERSIONS = {
    "cuda_runtime_version": "cuda",
    "cuda_driver_version": "cuda_driver",
    "cupti_version": "cupti",
    "hip_runtime_version": "hip",
    "torch_version": "torch",
    "pytorch_version": "torch",
}


_RECORDING = {
    "phase": Text | None,
    "pid": Whole | None,
    "rank": Rank | None,
    "batch": Count | None,
    "prefetch": Count | None,
    "visible_devices": Text | None,
    "threads": dict[str, Count | None] | None,
}
"""What the recorder of this project writes about itself, as far as anything is computed from it."""


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
            source.check_size(size)
            try:
                pieces = list(_pieces(source, file, size, parts, jobs or usable_cores(), progress))
            except ValueError as error:
                raise refusal_of_json(source.name, source.first_bytes_of(file), source.damage or str(error)) from error
        parts.truncated |= bool(source.damage)
        if not any(piece.events for piece in pieces) and any(piece.dropped for piece in pieces):
            raise TraceFormatError(
                f"{source.name}: no event can be read, from byte {len(parts.head) + (pieces[0].broken_at or 0):,} on",
                "was it cut short, or written by several processes at once? record again",
            )
        return _assemble(source, size, pieces, parts)


def _pieces(  # noqa: PLR0913, PLR0917 - what is read, and how
    source: Source, file: IO[bytes], size: int, parts: chrome.Cut, jobs: int, progress: Callable[[int, int], None]
) -> Iterator[Columns]:
    """Read the pieces of a file, side by side where that pays; stop where the list of events ends."""
    tasks: Iterable[tuple[Any, ...]]
    is_plain = source.path is not None and source.is_bare(file)
    if source.path is not None and is_plain:
        # Not mapped into memory: a file that is cut while it is mapped ends the process.
        identity = identity_of(file)
        read_part = functools.partial(part_of, file, source.name, identity)
        cuts = chrome.cut_file(read_part, size, parts)
        tasks = [(source.path, source.name, identity, begin, end) for begin, end in cuts]
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
        progress(read if is_plain else file.tell(), events)  # what is stored: less than what comes out of it
        if columns.tail is not None:
            parts.tail, parts.truncated = columns.tail, False
            break


def _assemble(source: Source, size: int, pieces: list[Columns], parts: chrome.Cut) -> Trace:
    dropped = sum((piece.dropped for piece in pieces), Counter[str]())
    metadata = parts.metadata()
    if metadata is None:
        dropped["unreadable_metadata"] += 1
        metadata = {}
    others = metadata.pop("traceEvents", None)
    second_list = isinstance(others, list) and bool(others)
    left_out: list[str] = []
    metadata = plain(metadata, left_out)
    strings = Strings()
    threads: dict[Thread, int] = {}
    tables = _merged(pieces, strings, threads)
    drop_strays(tables, dropped)
    drop_endless_work(tables, dropped)
    thread_names = {thread: name for piece in pieces for thread, name in piece.thread_names}
    origin = min((int(table["start_ns"].min()) for table in tables.values() if len(table)), default=0)
    tables = {name: table.replaced(start_ns=table["start_ns"] - origin) for name, table in tables.items()}
    tables["gpu"] = _told_apart(tables["gpu"], strings)
    own = metadata.get("tbperf")
    recording = checked(own, _RECORDING, left_out) if isinstance(own, dict) else {}
    trace = Trace(
        path=source.name,
        format="kineto",
        bytes=size,
        events=sum(piece.events for piece in pieces),
        **tables,
        stage_pattern=None,
        accounts={},
        more_devices=0,
        more_devices_ns=0,
        threads=tuple(Thread(t.pid, t.tid, thread_names.get(t, "")) for t in threads),
        strings=strings,
        rank=rank_of(metadata, source.name),
        world_size=_world_size(metadata),
        gpus=tuple(_gpus(metadata)),
        versions=_versions(metadata),
        origin_unix_ns=_unix_origin(metadata.get("baseTimeNanoseconds"), origin),
        resolution_ns=1000 if all(piece.whole_microseconds for piece in pieces) else 1,
        dropped=dropped,
        notes=tuple(_notes(source, pieces, parts, left_out, second_list=second_list)),
        warnings=(),
        truncated=parts.truncated,
        run=None,
        recording=recording,
    )
    return with_run(trace, source.lasting_path)


def _notes(
    source: Source, pieces: list[Columns], parts: chrome.Cut, left_out: list[str], *, second_list: bool
) -> Iterator[str]:
    if parts.truncated:
        end = len(parts.head) + sum(piece.size for piece in pieces)
        cut = "inside an event" if any(piece.broken_at is not None for piece in pieces[-1:]) else "behind an event"
        yield f"the list of events breaks off {cut}, after {end:,} bytes of JSON; what came behind is lost"
    if repaired := sum(piece.repaired for piece in pieces):
        yield f"{repaired} of {len(pieces)} pieces of the file held invalid JSON and were mended"
    if source.damage:
        yield f"the compression is damaged ({source.damage}); read as far as it goes"
    out_of_range = sum((piece.out_of_range for piece in pieces), Counter[str]())
    if out_of_range:
        counts = ", ".join(f"{what} ({count:,})" for what, count in out_of_range.items())
        yield f"values that cannot be are read as unknown: {counts}"
    if left_out:
        yield f"beside the events, what cannot be was left out: {', '.join(sorted(set(left_out)))}"
    if second_list:
        yield "another list of trace events stands behind the one that was read, and was not read: split the file"
    if source.outcome.behind:
        yield source.outcome.behind
    if parts.behind.startswith(("{", "[")):
        yield "another JSON document follows the one that holds these events, and was not read: split the file"
    elif parts.behind:
        yield f"something that is no JSON follows the trace, from {parts.behind[:_SHOWN_BEHIND]!r} on, and was not read"


_SHOWN_BEHIND = 20


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
    if _is_number(rank, MOST_RANKS):
        return rank
    match = _RANK_IN_NAME.search(name.rpartition("/")[2])
    return int(match[1]) if match else None


def _is_number(value: Any, below: int) -> TypeGuard[int]:
    """Tell whether a value is an integer of a range that it can have."""
    return type(value) is int and 0 <= value < below


def _world_size(metadata: Mapping[str, Any]) -> int | None:
    distributed = metadata.get("distributedInfo")
    size = distributed.get("world_size") if isinstance(distributed, dict) else None
    return size if _is_number(size, MOST_RANKS) else None


def _gpus(metadata: Mapping[str, Any]) -> list[Gpu]:
    found = []
    properties = metadata.get("deviceProperties")
    for device in properties if isinstance(properties, list) else ():
        if not isinstance(device, dict) or not _is_number(device.get("id"), 1 << 31):
            continue
        major, minor = device.get("computeMajor"), device.get("computeMinor")
        memory, processors = device.get("totalGlobalMem"), device.get("numSms")
        found.append(
            Gpu(
                device=device["id"],
                name=name if isinstance(name := device.get("name"), str) else "",
                memory_bytes=memory if _is_number(memory, MOST_BYTES) else None,
                compute_capability=(major, minor) if _is_number(major, 1000) and _is_number(minor, 1000) else None,
                multiprocessors=processors if _is_number(processors, 1 << 20) else None,
            )
        )
    return found


def _versions(metadata: Mapping[str, Any]) -> dict[str, str]:
    found = {}
    for key, name in _VERSIONS.items():
        value = metadata.get(key)
        if name in ("cuda", "cuda_driver") and _is_number(value, 1 << 31):
            found[name] = f"{value // 1000}.{value % 1000 // 10}"
        elif isinstance(value, str) or _is_number(value, 1 << 63):
            found[name] = str(value)
    return found


def _unix_origin(base: Any, origin: int) -> int | None:
    if _is_number(base, FURTHEST_NS) and abs(base + origin) < FURTHEST_NS:
        return base + origin
    # Without a base the times are microseconds since 1970, if they look like that.
    return origin if 10**18 < origin < FURTHEST_NS else None
