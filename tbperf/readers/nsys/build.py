"""One process of an Nsight Systems export as a trace."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tbperf.intervals import distinct, rows_by
from tbperf.readers.beside import with_run
from tbperf.readers.bounds import DAY_NS, FURTHEST_NS, MOST_BYTES
from tbperf.readers.nsys.store import PID_MASK, PROCESS_SHIFT, Selection, Store
from tbperf.readers.strays import drop_strays
from tbperf.trace import (
    COPY_KINDS,
    HOST_MEMORY,
    LONGEST_TEXT,
    NONE,
    RANGE_STYLES,
    TABLES,
    Gpu,
    Kind,
    Strings,
    Table,
    Thread,
    Trace,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import numpy.typing as npt

    from tbperf.intervals import Ns
    from tbperf.readers.files import Source

Columns = dict[str, "npt.NDArray[Any]"]

_DEVICE_WORK = {
    "CUPTI_ACTIVITY_KIND_KERNEL": Kind.KERNEL,
    "CUPTI_ACTIVITY_KIND_MEMCPY": Kind.MEMCPY,
    "CUPTI_ACTIVITY_KIND_MEMSET": Kind.MEMSET,
    "CUPTI_ACTIVITY_KIND_GRAPH_TRACE": Kind.GRAPH,
}
_API = ("CUPTI_ACTIVITY_KIND_RUNTIME", "CUPTI_ACTIVITY_KIND_DRIVER")
_OVERHEAD = ("PROFILER_OVERHEAD", "CUPTI_ACTIVITY_KIND_OVERHEAD")
_LIBRARIES = {
    "CUDNN_EVENTS": "cuDNN",
    "CUBLAS_EVENTS": "cuBLAS",
    "MPI_P2P_EVENTS": "MPI",
    "MPI_COLLECTIVES_EVENTS": "MPI",
    "MPI_OTHER_EVENTS": "MPI",
    "MPI_START_WAIT_EVENTS": "MPI",
}
"""Calls of libraries that the recorder traces; ranges of a domain of that name."""

OF_INTEREST = (*_DEVICE_WORK, *_API, "NVTX_EVENTS")
"""Tables that make a process worth a report of its own."""
OF_LESS_INTEREST = ("OSRT_API", *_LIBRARIES)
"""The same, where no process has rows in the others."""

_NVTX = "NVTX_EVENTS"
_PUSH_POP, _START_END = 59, 60
_DOMAIN_CREATE = 75

_COPY_KINDS = {1: "HtoD", 2: "DtoH", 3: "HtoD", 4: "DtoH", 5: "DtoD", 6: "DtoD", 7: "DtoD", 8: "DtoD", 9: "HtoH"} | {
    10: "PtoP",
    11: "HtoD",
    12: "DtoH",
    13: "DtoD",
}
"""By ENUM_CUDA_MEMCPY_OPER; arrays lie on the device, unified memory moves as any other."""
_HOST_MEMORY = {0: "pageable", 1: "pinned", 4: "managed", 6: "managed"}
"""By ENUM_CUDA_MEM_KIND; the other kinds lie on the device."""
_SYNC_CALLS = {1: "cudaEventSynchronize", 2: "cudaStreamWaitEvent", 3: "cudaStreamSynchronize"} | {
    4: "cudaDeviceSynchronize"
}
"""By ENUM_CUPTI_SYNC_TYPE: what was called, where no call is recorded."""

_DEALLOCATION = 1
_ON_THE_HOST = (0, 1)
"""ENUM_CUDA_MEM_KIND: pageable and pinned."""
_WARNING, _ERROR = 2, 3

_API_VERSION = re.compile(r"_v\d{4,5}(?:_ptds|_ptsz)?$")
"""cudaLaunchKernel_v7000 is what other recorders call cudaLaunchKernel."""

_NUMBERS = re.compile(r"(?:, seq = (?P<seq>-?\d+))?(?:, op_id = (?P<op>\d+))?")
"""What torch.autograd.profiler.emit_nvtx writes behind the name of an operator."""

_PATH = re.compile(r"(?:[A-Za-z]:)?[\\/](?:[^\s\\/:;,'\"]+[\\/])+[^\s\\/:;,'\"]*")


@dataclass
class _Build:
    """What is collected while the tables are read."""

    store: Store
    process: int | None
    told: Callable[[int], None]
    strings: Strings = field(default_factory=Strings)
    dropped: Counter[str] = field(default_factory=Counter)
    out_of_range: Counter[str] = field(default_factory=Counter)
    """Sizes that cannot be, and are read as unknown; their rows are kept."""
    events: int = 0

    def rows(self, table: str, columns: Sequence[str]) -> dict[str, Ns] | None:
        """Read a table; None where there is none with these times in it."""
        if table not in self.store.columns:
            return None
        found = self.store.integers(Selection(table, self.process), columns, self.told)
        return found if len(found[columns[0]]) else None

    def spans(self, table: str, *columns: str) -> dict[str, Ns] | None:
        """Read a table of spans without those that cannot be."""
        if not {"start", "end"} <= set(self.store.columns.get(table, ())):
            return None
        found = self.rows(table, ("start", "end", *columns))
        if found is None:
            return None
        self.events += len(found["start"])
        return self.sound(found)

    def sound(self, rows: dict[str, Ns]) -> dict[str, Ns]:
        """Leave out spans without a time, or that end before they begin."""
        start, end = rows["start"], rows["end"]
        stray = abs_exceeds(start) | abs_exceeds(end) | (start == NONE) | (end == NONE)
        backwards = ~stray & (end < start)
        endless = ~stray & ~backwards & (end - np.where(stray, end, start) > DAY_NS)
        reasons = (("no_timestamp", stray), ("negative_duration", backwards), ("overflowing_duration", endless))
        for reason, mask in reasons:
            self.drop(reason, mask)
        keep = ~(stray | backwards | endless)
        return rows if keep.all() else {name: values[keep] for name, values in rows.items()}

    def drop(self, reason: str, mask: npt.NDArray[np.bool_]) -> None:
        """Count what is left out."""
        if count := int(mask.sum()):
            self.dropped[reason] += count

    def sizes(self, what: str, values: Ns, most: int = MOST_BYTES) -> Ns:
        """Return sizes; those that cannot be are unknown, and counted."""
        impossible = (values < NONE) | (values >= most)
        if count := int(impossible.sum()):
            self.out_of_range[what] += count
        return np.where(impossible, NONE, values)

    def names(self, ids: Ns, tidy: Callable[[str], str] = str) -> npt.NDArray[np.int32]:
        """Return the code of the registered string of each id."""
        unique, at = np.unique(ids, return_inverse=True)
        texts = self.store.strings(unique)
        found = [tidy(_decoded(texts.get(number)) or "unknown") for number in unique.tolist()]
        return self.strings.codes(found)[at]


def abs_exceeds(times: Ns) -> npt.NDArray[np.bool_]:
    """Tell which times lie too far away to be true."""
    far: npt.NDArray[np.bool_] = (times > FURTHEST_NS) | (times < -FURTHEST_NS)
    return far


def build(source: Source, size: int, store: Store, told: Callable[[int], None]) -> Trace:
    """Read one process of an export, or the only one."""
    process = source.process
    build_ = _Build(store, process, told)
    raw: dict[str, list[Columns]] = {name: [] for name in TABLES}
    raw["gpu"] = list(_device_work(build_))
    raw["api"] = list(_calls(build_))
    raw["api"] += _syncs_without_calls(build_, raw["api"])
    raw["os"] = list(_named_spans(build_, ("OSRT_API",)))
    raw["overhead"] = list(_named_spans(build_, _OVERHEAD))
    raw["ranges"], raw["ops"] = _nvtx(build_, _latest([*raw["gpu"], *raw["api"]]))
    raw["ranges"] += _library_calls(build_)
    raw["memory"] = list(_allocations(build_))
    raw["samples"] = list(_metrics(build_, raw["gpu"]))
    threads = _threads(build_, raw)
    joined = {name: _joined(name, parts) for name, parts in raw.items()}
    drop_strays(joined, build_.dropped)
    origin = min((int(table["start_ns"].min()) for table in joined.values() if len(table)), default=0)
    tables = {name: table.replaced(start_ns=table["start_ns"] - origin) for name, table in joined.items()}
    unix = _first(store, "TARGET_INFO_SESSION_START_TIME", "utcEpochNs")
    trace = Trace(
        path=source.name,
        format="nsys",
        bytes=size,
        events=build_.events,
        **tables,
        stage_pattern=None,
        accounts={},
        more_devices=0,
        more_devices_ns=0,
        threads=threads,
        strings=build_.strings,
        gpus=tuple(_gpus(store, process)),
        versions=_versions(store),
        run=None,
        origin_unix_ns=None if unix is None or abs(unix + origin) > FURTHEST_NS else unix + origin,
        resolution_ns=1,
        dropped=build_.dropped,
        notes=(*source.notes, *_notes(build_)),
        warnings=tuple(_warnings(store, process)),
        truncated=False,
        rank=None,
        world_size=None,
        recording={},
    )
    return with_run(trace, source.lasting_path)


def _notes(build: _Build) -> Iterator[str]:
    if build.out_of_range:
        counts = ", ".join(f"{what} ({count:,})" for what, count in build.out_of_range.items())
        yield f"values that cannot be are read as unknown: {counts}"


def _device_work(build: _Build) -> Iterator[Columns]:
    for table, kind in _DEVICE_WORK.items():
        wanted = ["deviceId", "streamId", "correlationId", *_OF_KIND[kind]]
        rows = build.spans(table, *wanted)
        if rows is None:
            continue
        nowhere = (rows["deviceId"] < 0) | (rows["deviceId"] >= _MOST_DEVICES)
        build.drop("no_device", nowhere)
        rows = {name: values[~nowhere] for name, values in rows.items()}
        columns: Columns = {
            **_span(rows),
            "kind": np.full(len(rows["start"]), kind, np.int8),
            "device": rows["deviceId"].astype(np.int32),
            "stream": rows["streamId"],
            "correlation_id": np.where(rows["correlationId"] == 0, NONE, rows["correlationId"]),
        }
        yield columns | _DETAILS[kind](build, rows)


def _kernels(build: _Build, rows: dict[str, Ns]) -> Columns:
    named = np.where(rows["demangledName"] != NONE, rows["demangledName"], rows["shortName"])
    grid, block = ([rows[side + axis] for axis in "XYZ"] for side in ("grid", "block"))
    static, dynamic = (
        np.maximum(build.sizes("shared memory", rows[part], 2**31), 0)
        for part in ("staticSharedMemory", "dynamicSharedMemory")
    )
    return {
        "name": build.names(named),
        "blocks": _product(grid),
        "block_threads": _narrow(_product(block), np.int32),
        "registers": build.sizes("registers per thread", rows["registersPerThread"], 2**31),
        "shared_bytes": _narrow(static + dynamic, np.int32),
        "grid": _shapes(build.strings, [*grid, *block]),
    }


def _product(sides: list[Ns]) -> Ns:
    known = np.logical_and.reduce([(side >= 0) & (side < 1 << 31) for side in sides])
    small = [np.where(known, side, 0) for side in sides]
    product = small[0] * small[1]
    fits = known & (product < 1 << 31)
    return np.where(fits, np.where(fits, product, 0) * small[2], NONE)


def _shapes(strings: Strings, sides: list[Ns]) -> npt.NDArray[np.int32]:
    """Return the code of the text of each grid and block."""
    shapes, at = distinct(*sides)
    return strings.codes("{}×{}×{} of {}×{}×{}".format(*shape) for shape in shapes)[at]


def _copies(build: _Build, rows: dict[str, Ns]) -> Columns:
    copy_kind = _mapped(rows["copyKind"], _COPY_KINDS, COPY_KINDS)
    source, target = (_mapped(rows[side], _HOST_MEMORY, HOST_MEMORY) for side in ("srcKind", "dstKind"))
    either = np.where((source == NONE) | ((target != NONE) & (target < source)), target, source)
    host = np.where(copy_kind == COPY_KINDS.index("HtoD"), source, either)
    host = np.where(copy_kind == COPY_KINDS.index("DtoH"), target, host)
    names = build.strings.codes([f"Memcpy {kind}" for kind in (*COPY_KINDS, "other")])
    size = build.sizes("bytes", rows["bytes"])
    return {"name": names[copy_kind], "bytes": size, "copy_kind": copy_kind, "host_memory": host}


def _memsets(build: _Build, rows: dict[str, Ns]) -> Columns:
    return {
        "name": np.repeat(build.strings.codes(["Memset"]), len(rows["start"])),
        "bytes": build.sizes("bytes", rows["bytes"]),
        "host_memory": _mapped(rows["memKind"], _HOST_MEMORY, HOST_MEMORY),
    }


def _graphs(build: _Build, rows: dict[str, Ns]) -> Columns:
    unique, at = np.unique(rows["graphId"], return_inverse=True)
    names = build.strings.codes(f"CUDA graph {number}" for number in unique.tolist())
    return {"name": names[at]}


_OF_KIND: Mapping[Kind, tuple[str, ...]] = {
    Kind.KERNEL: (
        *("demangledName", "shortName", "registersPerThread", "staticSharedMemory", "dynamicSharedMemory"),
        *("gridX", "gridY", "gridZ", "blockX", "blockY", "blockZ"),
    ),
    Kind.MEMCPY: ("bytes", "copyKind", "srcKind", "dstKind"),
    Kind.MEMSET: ("bytes", "memKind"),
    Kind.GRAPH: ("graphId",),
}
_DETAILS: Mapping[Kind, Callable[[_Build, dict[str, Ns]], Columns]] = {
    Kind.KERNEL: _kernels,
    Kind.MEMCPY: _copies,
    Kind.MEMSET: _memsets,
    Kind.GRAPH: _graphs,
}


def _calls(build: _Build) -> Iterator[Columns]:
    for table in _API:
        rows = build.spans(table, "globalTid", "correlationId", "nameId")
        if rows is not None:
            yield {
                **_span(rows),
                "name": build.names(rows["nameId"], lambda name: _API_VERSION.sub("", name)),
                "thread": rows["globalTid"],
                "correlation_id": np.where(rows["correlationId"] == 0, NONE, rows["correlationId"]),
            }


def _syncs_without_calls(build: _Build, calls: list[Columns]) -> list[Columns]:
    """Return synchronizations whose call is not recorded, as the calls that they must have been."""
    rows = build.spans("CUPTI_ACTIVITY_KIND_SYNCHRONIZATION", "correlationId", "syncType", "globalPid")
    if rows is None:
        return []
    known = np.concatenate([np.empty(0, np.int64), *(part["correlation_id"] for part in calls)])
    alone = ~np.isin(rows["correlationId"], known) & np.isin(rows["syncType"], list(_SYNC_CALLS))
    if not alone.any():
        return []
    alone_rows = {name: values[alone] for name, values in rows.items()}
    kinds = alone_rows["syncType"]
    names = build.strings.codes(_SYNC_CALLS.values())
    return [
        {
            **_span(alone_rows),
            "name": names[np.searchsorted(np.array(list(_SYNC_CALLS)), kinds)],
            "thread": alone_rows["globalPid"],
            "correlation_id": alone_rows["correlationId"],
        }
    ]


def _named_spans(build: _Build, tables: Sequence[str]) -> Iterator[Columns]:
    for table in tables:
        rows = build.spans(table, "globalTid", "nameId")
        if rows is not None:
            yield {**_span(rows), "name": build.names(rows["nameId"]), "thread": rows["globalTid"]}


def _library_calls(build: _Build) -> list[Columns]:
    found = []
    for table, library in _LIBRARIES.items():
        rows = build.spans(table, "globalTid", "nameId", "textId")
        if rows is None:
            continue
        named = np.where(rows["nameId"] != NONE, rows["nameId"], rows["textId"])
        domain = np.repeat(build.strings.codes([library]), len(named))
        found.append({**_span(rows), "name": build.names(named), "thread": rows["globalTid"], "domain": domain})
    return found


def _nvtx(build: _Build, latest: int) -> tuple[list[Columns], list[Columns]]:
    """Return the ranges, and the framework operators among them; open ones end with the recording."""
    columns = ("start", "end", "eventType", "textId", "globalTid", "domainId")
    if not {"start", "end", "eventType"} <= set(build.store.columns.get(_NVTX, ())):
        return [], []
    rows = build.rows(_NVTX, columns)
    if rows is None:
        return [], []
    build.events += len(rows["start"])
    inline = _inline_texts(build, len(rows["start"]))
    registered = build.names(rows["textId"])
    name = np.where((inline == NONE) | (rows["textId"] != NONE), registered, inline).astype(np.int32)
    domain = _domains(build, rows, name)
    keep = np.isin(rows["eventType"], (_PUSH_POP, _START_END))
    kept: dict[str, npt.NDArray[Any]] = {column: values[keep] for column, values in rows.items()}
    kept |= {"name": name[keep], "domain": domain[keep]}
    latest = max(int(kept["end"][~abs_exceeds(kept["end"])].max(initial=0)), latest)
    kept["end"] = np.where(kept["end"] == NONE, np.maximum(latest, kept["start"]), kept["end"])
    rows = build.sound(kept)
    ranges: Columns = {
        **_span(rows),
        "name": rows["name"],
        "thread": rows["globalTid"],
        "domain": rows["domain"],
        "style": np.where(
            rows["eventType"] == _START_END, RANGE_STYLES.index("start/end"), RANGE_STYLES.index("push/pop")
        ),
    }
    return _operators_apart(build.strings, ranges)


def _inline_texts(build: _Build, length: int) -> npt.NDArray[np.int32]:
    """Return the code of the text that each row carries itself, `NONE` where it carries none."""
    if "text" not in build.store.columns[_NVTX]:
        return np.full(length, NONE, np.int32)
    codes: dict[bytes, int] = {}
    at = np.fromiter(
        (
            NONE if text is None else codes.setdefault(text, len(codes))
            for text in build.store.texts(Selection(_NVTX, build.process), "text")
        ),
        np.int32,
        count=length,
    )
    return np.append(build.strings.codes(_decoded(text) or "" for text in codes), np.int32(NONE))[at]


def _domains(build: _Build, rows: dict[str, Ns], names: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    """Return the code of each row's domain; domains are numbered by process."""
    created = rows["eventType"] == _DOMAIN_CREATE
    of = dict(zip(rows["domainId"][created].tolist(), names[created].tolist(), strict=True))
    unique, at = np.unique(rows["domainId"], return_inverse=True)
    default = int(build.strings.codes([""])[0])
    return np.array([of.get(number, default) for number in unique.tolist()], np.int32)[at]


def _operators_apart(strings: Strings, ranges: Columns) -> tuple[list[Columns], list[Columns]]:
    """Tell operators, whose number is part of their name, from ranges that a program opened."""
    used, at = np.unique(ranges["name"], return_inverse=True)
    found = [_read_operator(strings[code]) for code in used.tolist()]
    is_operator = np.array([operator is not None for operator in found], np.bool_)
    if not is_operator.any():
        return [ranges], []
    operators = [operator for operator in found if operator is not None]
    place = np.cumsum(is_operator) - 1
    rows = is_operator[at]
    which = place[at[rows]]
    ops: Columns = {
        **{name: ranges[name][rows] for name in ("start_ns", "dur_ns", "thread")},
        "name": strings.codes(operator.name for operator in operators)[which],
        "sequence": np.array([operator.sequence for operator in operators], np.int64)[which],
        "shapes": strings.codes(operator.sizes for operator in operators)[which],
    }
    return [{name: values[~rows] for name, values in ranges.items()}], [ops]


class _Operator(NamedTuple):
    name: str
    sequence: int
    sizes: str


def _read_operator(text: str) -> _Operator | None:
    """Read ``aten::add, seq = 7, op_id = 12, sizes = [[2], [2]], input_op_ids = […]``; None for a name of a range."""
    head = text.partition(", input_op_ids = ")[0]
    head, sizes_begin, sizes = head.partition(", sizes = [")
    if sizes_begin and not sizes.endswith("]"):
        return None
    for end_of_name in (head.rfind(", seq = "), head.rfind(", op_id = ")):
        if end_of_name > 0 and (numbers := _NUMBERS.fullmatch(head, end_of_name)):
            return _Operator(head[:end_of_name], _number(numbers["seq"]), f"[{sizes}" if sizes_begin else "")
    return None


def _number(text: str | None) -> int:
    return int(text) if text is not None and len(text) < 19 else NONE  # noqa: PLR2004 - digits of an int64


def _latest(parts: list[Columns]) -> int:
    """Return the end of the recording as far as device work and calls tell."""
    return max((int((part["start_ns"] + part["dur_ns"]).max(initial=0)) for part in parts), default=0)


def _allocations(build: _Build) -> Iterator[Columns]:
    table = "CUDA_GPU_MEMORY_USAGE_EVENTS"
    if not {"start", "bytes", "memoryOperationType"} <= set(build.store.columns.get(table, ())):
        return
    rows = build.rows(table, ("start", "deviceId", "bytes", "memoryOperationType", "memKind"))
    if rows is None:
        return
    build.events += len(rows["start"])
    keep = ~abs_exceeds(rows["start"]) & (rows["start"] != NONE)
    build.drop("no_timestamp", ~keep)
    unusable = keep & ((rows["bytes"] < 0) | (rows["bytes"] >= MOST_BYTES))
    build.drop("unusable_allocation", unusable)
    keep &= ~unusable
    rows = {name: values[keep] for name, values in rows.items()}
    size = np.where(rows["memoryOperationType"] == _DEALLOCATION, -rows["bytes"], rows["bytes"])
    of = np.where(np.isin(rows["memKind"], _ON_THE_HOST), NONE, rows["deviceId"])
    order = np.lexsort((rows["start"], of))
    held = np.empty_like(size)
    for _, of_device in rows_by(of[order]):
        mine = order[of_device]
        held[mine] = np.cumsum(size[mine])
    yield {
        "start_ns": rows["start"],
        "device": _narrow(of, np.int32),
        "bytes": size,
        "reserved": np.maximum(held, 0),  # what the driver handed out is what an allocator above it holds
    }


def _metrics(build: _Build, work: list[Columns]) -> Iterator[Columns]:
    """Return GPU metrics of the devices that this process used; of all where it used none."""
    if not {"timestamp", "typeId", "metricId", "value"} <= set(build.store.columns.get("GPU_METRICS", ())):
        return
    everything = Selection("GPU_METRICS")
    rows = build.store.integers(everything, ("timestamp", "typeId", "metricId"), build.told)
    values = build.store.reals(everything, "value")
    build.events += len(values)
    device = _narrow(rows["typeId"] & 0xFF, np.int32)
    used = np.unique(np.concatenate([part["device"] for part in work])) if work else np.unique(device)
    mine = np.isin(device, used)
    measured = ~abs_exceeds(rows["timestamp"]) & (rows["timestamp"] != NONE) & (np.abs(values) < _LARGEST_VALUE)
    build.drop("unusable_metric", mine & ~measured)
    keep = mine & measured
    names = _metric_names(build.store)
    unique, at = np.unique(rows["metricId"][keep], return_inverse=True)
    series = build.strings.codes(names.get(number, f"metric {number}") for number in unique.tolist())
    yield {
        "start_ns": rows["timestamp"][keep],
        "series": series[at],
        "device": device[keep],
        "value": values[keep],
    }


_LARGEST_VALUE = 1e18
"""No metric is larger; not-a-number is not smaller."""


def _metric_names(store: Store) -> dict[int, str]:
    table = "TARGET_INFO_GPU_METRICS"
    if not {"metricId", "metricName"} <= set(store.columns.get(table, ())):
        return {}
    ids = store.integers(Selection(table), ["metricId"], lambda _rows: None)["metricId"]
    return {number: _decoded(name) for number, name in zip(ids.tolist(), store.texts(Selection(table), "metricName"))}  # noqa: B905


def _threads(build: _Build, raw: dict[str, list[Columns]]) -> tuple[Thread, ...]:
    """Number the threads in all tables, and name them."""
    parts = [part for table in raw.values() for part in table if "thread" in part]
    unique = np.unique(np.concatenate([np.empty(0, np.int64), *(part["thread"] for part in parts)]))
    for part in parts:
        part["thread"] = np.searchsorted(unique, part["thread"]).astype(np.int32)
    named = _thread_names(build)
    return tuple(
        Thread((tid >> PROCESS_SHIFT) & PID_MASK, tid & PID_MASK, named.get(tid, "")) for tid in unique.tolist()
    )


def _thread_names(build: _Build) -> dict[int, str]:
    rows = build.rows("ThreadNames", ("globalTid", "nameId")) if "ThreadNames" in build.store.columns else None
    if rows is None:
        return {}
    unique, at = np.unique(rows["nameId"], return_inverse=True)
    texts = build.store.strings(unique)
    names = [re.split(r"[\\/]", _decoded(texts.get(number)) or "")[-1] for number in unique.tolist()]
    return {tid: names[which] for tid, which in zip(rows["globalTid"].tolist(), at.tolist(), strict=True)}


def _joined(name: str, parts: list[Columns]) -> Table:
    if not parts:
        return Table.empty(name)
    filled = [Table.of(name, part) for part in parts]
    if len(filled) == 1:
        return filled[0]
    return Table(name, {c.name: np.concatenate([table[c.name] for table in filled]) for c in TABLES[name]})


_MOST_DEVICES = 1 << 16
_MOST = 1 << 20
"""More multiprocessors, or a higher version of anything, there is not."""


def _gpus(store: Store, process: int | None) -> Iterator[Gpu]:
    table = "TARGET_INFO_GPU"
    if "id" not in store.columns.get(table, ()):
        return
    wanted = ("id", "cuDevice", "totalMemory", "computeMajor", "computeMinor", "smCount")
    rows = store.integers(Selection(table), wanted, lambda _rows: None)
    names = store.texts(Selection(table), "name") if "name" in store.columns[table] else iter(())
    ordinals = _ordinals(store, process)
    for index, name in enumerate(names):
        number, ordinal, memory, major, minor, processors = (int(rows[column][index]) for column in wanted)
        if not 0 <= number < _MOST_DEVICES:
            continue
        yield Gpu(
            device=ordinals.get(number, ordinal if ordinal != NONE else number),
            name=_decoded(name),
            memory_bytes=memory if 0 < memory < MOST_BYTES else None,
            compute_capability=(major, minor) if 0 < major < _MOST and 0 <= minor < _MOST else None,
            multiprocessors=processors if 0 < processors < _MOST else None,
        )


def _ordinals(store: Store, process: int | None) -> dict[int, int]:
    """Return the ordinal that a process sees, by the machine's number of the device."""
    table = "TARGET_INFO_CUDA_DEVICE"
    if not {"gpuId", "cudaId", "pid"} <= set(store.columns.get(table, ())):
        return {}
    rows = store.integers(Selection(table), ("gpuId", "cudaId", "pid"), lambda _rows: None)
    mine = (rows["pid"] == (process & PID_MASK)) if process is not None else rows["pid"] >= 0
    return dict(zip(rows["gpuId"][mine].tolist(), rows["cudaId"][mine].tolist(), strict=True))


def _versions(store: Store) -> dict[str, str]:
    for table in ("META_DATA_EXPORT", "EXPORT_META_DATA"):
        if {"name", "value"} <= set(store.columns.get(table, ())):
            pairs = dict(zip(store.texts(Selection(table), "name"), store.texts(Selection(table), "value")))  # noqa: B905
            version = _decoded(pairs.get(b"EXPORT_PRODUCT_VERSION"))
            if version:
                return {"nsys": version}
    return {}


_IRRELEVANT = re.compile(
    r"\A(?:No (?!CUDA|NVTX)[\w ]+ events collected|Scheduling information is absent|Unable to collect CPU"
    r"|.*\bIP samples\b)"
)
"""Of what tbperf does not use: other graphics libraries, samples and scheduling of the CPU."""


def _warnings(store: Store, process: int | None) -> Iterator[str]:
    """Yield what the recorder warned of, without paths; once each."""
    table = "DIAGNOSTIC_EVENT"
    if not {"severity", "text"} <= set(store.columns.get(table, ())):
        return
    rows = store.integers(Selection(table), ("severity", "globalPid"), lambda _rows: None)
    seen = set()
    for severity, owner, text in zip(  # noqa: B905 - one row a text
        rows["severity"].tolist(), rows["globalPid"].tolist(), store.texts(Selection(table), "text")
    ):
        foreign = process is not None and owner > 0 and owner >> PROCESS_SHIFT != process
        if severity not in (_WARNING, _ERROR) or foreign:
            continue
        line = _PATH.sub("…", " ".join(_decoded(text).split()))
        if line and line not in seen and not _IRRELEVANT.match(line):
            seen.add(line)
            yield line


def _first(store: Store, table: str, column: str) -> int | None:
    if column not in store.columns.get(table, ()):
        return None
    found = store.integers(Selection(table), [column], lambda _rows: None)[column]
    return int(found[0]) if len(found) and found[0] > 0 and not abs_exceeds(found[:1])[0] else None


def _span(rows: dict[str, Ns]) -> Columns:
    return {"start_ns": rows["start"], "dur_ns": rows["end"] - rows["start"]}


def _narrow(values: Ns, dtype: type[np.signedinteger[Any]]) -> npt.NDArray[Any]:
    """Return smaller integers; `NONE` for what does not fit."""
    limits = np.iinfo(dtype)
    return np.where((values >= limits.min) & (values <= limits.max), values, NONE).astype(dtype)


def _mapped(values: Ns, words: Mapping[int, str], codes: Sequence[str]) -> npt.NDArray[np.int8]:
    """Translate the recorder's numbers into ours."""
    found = np.full(max(words) + 2, NONE, np.int8)
    for number, word in words.items():
        found[number] = codes.index(word)
    inside = (values >= 0) & (values <= max(words))
    return found[np.where(inside, values, len(found) - 1)]


def _decoded(text: bytes | None) -> str:
    return "" if text is None else text[:LONGEST_TEXT].decode("utf-8", "replace")
