"""Changes of what a recording says, not of its bytes: ids, nesting, threads, devices, steps, names, types, clocks.

Each change is a function of a random generator and what it changes in place; the file stays one that parses, or nearly.
Used by `fuzz_meaning`, and by the tests, a few at a time.
"""

from __future__ import annotations

import contextlib
import copy
import json
import sqlite3
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import random
    from collections.abc import Callable
    from pathlib import Path

Event = dict[str, Any]
Document = dict[str, Any]

HOSTILE = (
    *(
        None,
        True,
        False,
        0,
        -1,
        1,
        0.5,
        -0.0,
        2**31,
        2**32,
        2**53,
        2**62,
        2**63 - 1,
        2**63,
        -(2**63),
        10**30,
        -(10**30),
    ),
    *(1e308, -1e308, 1e18, float("nan"), float("inf"), -float("inf"), "", "words", "1", "-5", "1e5", "9" * 400),
    *([], {}, [[]], [1, 2, 3], {"a": 1}, [None], [10**30] * 3, ["x"] * 3),
    *("\x1b]0;owned\x07", "a\nb\r\nc\t", "\u202egnp.exe\u202c", "<script>alert(1)</script>", "\ud800 lone", "\0"),
    *("[x](https://example.com) https://example.com", "|a|b|", "`c`", "{{7*7}}", "%s%n", "../../../etc/passwd"),
)
"""Values that stand where others belong."""

NAMES = (
    *("ProfilerStep#0", "ProfilerStep#7", "ProfilerStep#99999999999999999999", "ProfilerStep#-1", "ProfilerStep#"),
    *("tbperf/forward", "tbperf/backward", "tbperf/dataload", "tbperf/optimizer", "tbperf/", "tbperf/warmup"),
    *("tbperf/fetch", "tbperf/preprocess", "tbperf/inference", "tbperf/nms", "tbperf/save", "tbperf/window"),
    *(
        "tbperf/module:model.0 Conv (backbone)",
        "tbperf/module:model.22 Detect (head)",
        "tbperf/module:",
        "loader/fetch",
    ),
    *(
        "loader/load_image",
        "loader/collate",
        "loader/",
        "enumerate(DataLoader)#_MultiProcessingDataLoaderIter.__next__",
    ),
    *("enumerate(DataLoader)#_SingleProcessDataLoaderIter.__next__", "Optimizer.step#SGD.step", "forward", "backward"),
    *("cudaLaunchKernel", "cudaGraphLaunch", "cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaMemcpyAsync"),
    *("cudaMalloc", "cudaFree", "cuModuleLoadData", "cudaMemsetAsync", "hipLaunchKernel", "cudaEventSynchronize"),
    *("Memcpy HtoD (Pageable -> Device)", "Memcpy DtoH (Device -> Pinned)", "Memcpy PtoP (Device -> Device)", "Memset"),
    *("ncclDevKernel_AllReduce_Sum_f32_RING_LL", "nccl:all_reduce", "void cutlass::Kernel<x>(x)", "triton_poi_fused_0"),
    *("aten::conv2d", "aten::to", "aten::copy_", "aten::_local_scalar_dense", "aten::nonzero", "ConvolutionBackward0"),
    *("autograd::engine::evaluate_function: ConvolutionBackward0", "nn.Module: Conv_0", "nn.Module: Detect_0"),
    *("torch/_dynamo/convert_frame.py(1): compile", "torch/_inductor/compile_fx.py(9): compile_fx_inner", "[memory]"),
    *("## Call CompiledFxGraph abc ##", "Activity Buffer Request", "Buffer Flush", "gc", "x" * 3000, "<" * 200, ""),
)

CATEGORIES = (
    *("kernel", "gpu_memcpy", "gpu_memset", "cuda_runtime", "cuda_driver", "cpu_op", "user_annotation", "ac2g"),
    *("python_function", "overhead", "gpu_user_annotation", "Kernel", "Operator", "Runtime", "cpu_instant_event", "x"),
)

_FIELDS = ("ph", "cat", "name", "pid", "tid", "ts", "dur", "args")
_ARGS = (
    *("device", "stream", "correlation", "bytes", "grid", "block", "registers per thread", "shared memory"),
    *("est. achieved occupancy %", "Sequence number", "Input Dims", "Input type", "External id", "dtype"),
    *("In msg nelems", "Out msg nelems", "Bytes", "Device Type", "Device Id", "Total Allocated", "Total Reserved"),
    *("Python id", "Python parent id", "Python module id", "Call stack", "name", "Collective name", "Group size"),
)


def changed(document: Document, rng: random.Random, others: list[Document]) -> bytes:
    """Return a trace whose meaning was changed in one to a few ways, as JSON."""
    document = copy.deepcopy(document)
    for _ in range(rng.choice((1, 1, 1, 2, 2, 3, 5))):
        events = document.get("traceEvents")
        if not isinstance(events, list) or not events:
            break
        change = rng.choice(CHANGES)
        with contextlib.suppress(TypeError, KeyError, AttributeError, ValueError, OverflowError):
            change(rng, document, events)
    return _written(document, rng, others)


def _written(document: Document, rng: random.Random, others: list[Document]) -> bytes:
    indent = rng.choice((None, None, 1))
    text = json.dumps(document, indent=indent)
    form = rng.randrange(24)
    if form == 0:
        text += "\n" + json.dumps(rng.choice(others))
    elif form == 1:
        text = json.dumps(document["traceEvents"], indent=indent)
    elif form == 2:
        text = '{"other": {"traceEvents": [1]}, ' + text[1:]
    elif form == 3:
        text = "\ufeff" + text.replace("\n", "\r\n")
    elif form == 4:
        return text.encode("utf-16")
    elif form == 5:
        text = json.dumps([document, rng.choice(others)])
    elif form == 6:
        text = text[:-1] + ', "traceEvents": []}'
    elif form == 7:
        text = json.dumps(document, ensure_ascii=False)
        return text.encode("latin-1", "replace")
    elif form == 8:
        text += rng.choice(("\0\0\0", "garbage", "]", "}", ",", "<html>"))
    return text.encode("utf-8", "surrogatepass")


# One change each.


def _value(rng: random.Random, _document: Document, events: list[Event]) -> None:
    event = rng.choice(events)
    if rng.random() < 0.5:
        event[rng.choice(_FIELDS)] = rng.choice(HOSTILE)
    else:
        event.setdefault("args", {})[rng.choice(_ARGS)] = rng.choice(HOSTILE)


def _same_value_for_many(rng: random.Random, _document: Document, events: list[Event]) -> None:
    field, value, share = rng.choice(_FIELDS + _ARGS), rng.choice(HOSTILE), rng.random()
    for event in events:
        if rng.random() < share:
            (event if field in _FIELDS else event.setdefault("args", {}))[field] = value


def _missing(rng: random.Random, _document: Document, events: list[Event]) -> None:
    field, share = rng.choice(_FIELDS + _ARGS), rng.random()
    for event in rng.sample(events, max(1, int(share * len(events)))):
        (event if field in _FIELDS else event.get("args", {})).pop(field, None)


def _name(rng: random.Random, _document: Document, events: list[Event]) -> None:
    for event in rng.sample(events, min(len(events), rng.choice((1, 1, 3, 10)))):
        event["name"] = rng.choice(NAMES) if rng.random() < 0.8 else rng.choice(events).get("name")


def _category(rng: random.Random, _document: Document, events: list[Event]) -> None:
    for event in rng.sample(events, min(len(events), rng.choice((1, 1, 3, 10)))):
        event["cat"] = rng.choice(CATEGORIES)


def _one_category(rng: random.Random, _document: Document, events: list[Event]) -> None:
    kept = rng.choice(events).get("cat")
    events[:] = [event for event in events if event.get("cat") == kept]


def _duplicated(rng: random.Random, _document: Document, events: list[Event]) -> None:
    begin = rng.randrange(len(events))
    some = copy.deepcopy(events[begin : begin + rng.choice((1, 1, 5, 50))])
    at = rng.randrange(len(events) + 1)
    events[at:at] = some


def _removed(rng: random.Random, _document: Document, events: list[Event]) -> None:
    begin = rng.randrange(len(events))
    del events[begin : begin + rng.choice((1, 1, 5, 50))]


def _order(rng: random.Random, _document: Document, events: list[Event]) -> None:
    if rng.random() < 0.5:
        rng.shuffle(events)
    else:
        events.reverse()


def _elsewhere(rng: random.Random, _document: Document, events: list[Event]) -> None:
    """On another thread, of another process, of one device or stream each, or all on one."""
    field = rng.choice(("pid", "tid", "device", "stream"))
    way = rng.randrange(3)
    for number, event in enumerate(events):
        if rng.random() < 0.3:
            value = {0: number, 1: rng.choice(events).get(field, 0), 2: 0}[way]
            (event.setdefault("args", {}) if field in ("device", "stream") else event)[field] = value


def _nesting(rng: random.Random, _document: Document, events: list[Event]) -> None:
    """One inside, across, around, equal to, or right behind another."""
    one, other = rng.choice(events), rng.choice(events)
    start, dur = float(other["ts"]), float(other["dur"])
    one["ts"], one["dur"] = rng.choice(
        (
            *((start + dur / 4, dur / 2), (start + dur / 2, dur), (start - dur / 2, dur), (start - 1, dur + 2)),
            *((start, dur), (start + dur, dur), (start, 0), (start + dur, 0), (start, dur / 2), (start, 2 * dur)),
        )
    )
    if rng.random() < 0.7:
        one["pid"], one["tid"] = other.get("pid"), other.get("tid")


def _clock(rng: random.Random, _document: Document, events: list[Event]) -> None:
    """One category or thread on another clock, or in another unit."""
    field = rng.choice(("cat", "tid", "pid", "ph"))
    of = rng.choice(events).get(field)
    factor = rng.choice((1, 1, 1, 1000, 0.001, -1))
    shift = rng.choice((0, 1, -1, 0.3, 1e3, -1e6, 1e9, 86_400e6, 1e15, 1.7e15, -1e18))
    for event in events:
        if event.get(field) == of and "ts" in event:
            event["ts"] = float(event["ts"]) * factor + shift


def _length(rng: random.Random, _document: Document, events: list[Event]) -> None:
    dur = rng.choice((0, 0.001, 0.5, 1, 1e6, 86_400e6 - 1, 86_400e6, 1e12, -1, -1e9, 4294967295))
    for event in rng.sample(events, max(1, int(rng.random() ** 3 * len(events)))):
        event["dur"] = dur


def _at_once(rng: random.Random, _document: Document, events: list[Event]) -> None:
    ts = rng.choice(events).get("ts")
    for event in rng.sample(events, max(1, int(rng.random() * len(events)))):
        event["ts"] = ts


def _steps(rng: random.Random, _document: Document, events: list[Event]) -> None:
    """Steps added: in a row, overlapping, inside each other, on other threads, with the numbers of others."""
    times = [float(event["ts"]) for event in events if isinstance(event.get("ts"), (int, float))]
    first, last = min(times), max(times)
    length = max(1.0, (last - first) / rng.choice((1, 2, 3, 7)))
    gap = rng.choice((0, 0, 0, 1, -length / 2, length))
    number = rng.choice((0, 5, 10**14))
    for index in range(rng.choice((1, 2, 4, 9))):
        start = first + index * (length + gap)
        tid = rng.choice((1, 1, 1, rng.choice(events).get("tid")))
        step = {"ph": "X", "cat": "user_annotation", "name": f"ProfilerStep#{number + index}", "pid": 1, "tid": tid}
        events.append(step | {"ts": start, "dur": length})


def _correlation(rng: random.Random, _document: Document, events: list[Event]) -> None:
    ids = [event["args"]["correlation"] for event in events if "correlation" in (event.get("args") or {})]
    fixed = rng.choice((0, 1, -1, 2**40, rng.choice(ids or [1])))
    for event in events:
        if "correlation" in (event.get("args") or {}) and rng.random() < 0.4:
            event["args"]["correlation"] = fixed if rng.random() < 0.5 else rng.choice(ids)


def _args_of_another(rng: random.Random, _document: Document, events: list[Event]) -> None:
    for event in rng.sample(events, min(len(events), rng.choice((1, 1, 5)))):
        event["args"] = copy.deepcopy(rng.choice(events).get("args", {}))


def _other_phases(rng: random.Random, _document: Document, events: list[Event]) -> None:
    """Flows, halves of events, counters, instants, names of threads, allocations: begun, not ended, or the reverse."""
    like = rng.choice(events)
    common = {"pid": like.get("pid"), "tid": like.get("tid"), "ts": like.get("ts"), "name": like.get("name")}
    number = rng.randrange(5)
    args = {"Bytes": rng.choice(HOSTILE), "Device Type": 1, "Device Id": 0, "Total Allocated": rng.choice(HOSTILE)}
    more = rng.choice(
        (
            [common | {"ph": "s", "id": number, "cat": "ac2g"}, common | {"ph": "f", "id": number, "bp": "e"}],
            [common | {"ph": "f", "id": number, "cat": "ac2g"}],
            [common | {"ph": "B"}, common | {"ph": "E"}],
            [common | {"ph": "E"}],
            [common | {"ph": "C", "args": {"x": 1}}],
            [common | {"ph": "M", "name": "thread_name", "args": {"name": rng.choice(HOSTILE)}}],
            [common | {"ph": "M", "name": "process_labels", "args": {"labels": "GPU 0"}}],
            [common | {"ph": "i", "s": "t", "name": "[memory]", "args": args}] * rng.choice((1, 3)),
            [common | {"ph": rng.choice(("b", "e", "n", "N", "D", "S", "T", "P", "?", "XX"))}],
        )
    )
    at = rng.randrange(len(events) + 1)
    events[at:at] = more


def _metadata(rng: random.Random, document: Document, _events: list[Event]) -> None:
    key = rng.choice(
        (
            "deviceProperties",
            "distributedInfo",
            "baseTimeNanoseconds",
            "tbperf",
            "schemaVersion",
            "cuda_runtime_version",
        )
    )
    fitting = {
        "deviceProperties": [{"id": rng.choice(HOSTILE), "name": rng.choice(HOSTILE), "numSms": rng.choice(HOSTILE)}],
        "distributedInfo": {"rank": rng.choice(HOSTILE), "world_size": rng.choice(HOSTILE), "backend": "nccl"},
        "baseTimeNanoseconds": rng.choice((1_790_000_000_000_000_000, -1, 0, 2**63 - 1)),
        "tbperf": {"phase": rng.choice((*HOSTILE, "train", "val", "predict")), "batch": rng.choice(HOSTILE)}
        | {"threads": rng.choice((*HOSTILE, {"intra_op": rng.choice(HOSTILE)})), "pid": rng.choice(HOSTILE)},
        "schemaVersion": 1,
        "cuda_runtime_version": rng.choice(HOSTILE),
    }
    document[key] = fitting[key] if rng.random() < 0.7 else rng.choice(HOSTILE)


def _numbers_as_text(rng: random.Random, _document: Document, events: list[Event]) -> None:
    field = rng.choice(("ts", "dur", "pid", "tid"))
    for event in events:
        if field in event:
            event[field] = str(event[field])


CHANGES: tuple[Callable[[random.Random, Document, list[Event]], None], ...] = (
    *(_value, _value, _same_value_for_many, _missing, _name, _category, _one_category, _duplicated, _removed, _order),
    *(_elsewhere, _nesting, _nesting, _clock, _length, _at_once, _steps, _correlation, _args_of_another),
    *(_other_phases, _metadata, _numbers_as_text),
)


# Exports of Nsight Systems

_SQL_VALUES = (
    *(None, 0, -1, 1, 2, 59, 60, 75, 2**24, 2**31, 2**53, 2**62, 2**63 - 1, -(2**63), 1.5, 1e308, float("inf")),
    *("words", b"\xff\x00", "", "1", "\x1b[31m", "<b>", "\u202e", "ProfilerStep#1", "tbperf/forward"),
)


def change_database(path: Path, rng: random.Random) -> None:
    """Change what an export says: values, rows, ids, columns, tables."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("PRAGMA synchronous=OFF")
        database.execute("PRAGMA journal_mode=MEMORY")
        database.execute("BEGIN")
        for _ in range(rng.choice((1, 1, 2, 3, 6))):
            names = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
            if not names:
                break
            table = rng.choice(names)
            columns = [name for _, name, *_ in database.execute(f'PRAGMA table_info("{table}")')]
            with contextlib.suppress(sqlite3.Error):
                _change_table(database, rng, table, columns)
        database.execute("COMMIT")


def _change_table(database: sqlite3.Connection, rng: random.Random, table: str, columns: list[str]) -> None:
    column, other = rng.choice(columns), rng.choice(columns)
    some = rng.choice(("1", "rowid % 2 = 0", "rowid % 3 = 1", "rowid = (SELECT min(rowid) FROM {0})")).format(table)
    shift = rng.choice((1, -1, 1000, -(10**6), 10**9, 86_400 * 10**9, 2**40, 2**61))
    statements: tuple[tuple[str, tuple[Any, ...]], ...] = (
        (f"UPDATE {table} SET {column} = ? WHERE {some}", (rng.choice(_SQL_VALUES),)),
        (f"UPDATE {table} SET {column} = ? WHERE {some}", (rng.choice(_SQL_VALUES),)),
        (f"UPDATE {table} SET {column} = {column} + ? WHERE {some}", (shift,)),
        (f"UPDATE {table} SET {column} = {other} WHERE {some}", ()),
        (f"UPDATE {table} SET {column} = {column} * ? WHERE {some}", (rng.choice((-1, 0, 1000, 0.001)),)),
        (f"DELETE FROM {table} WHERE {some}", ()),
        (f"INSERT INTO {table} SELECT * FROM {table} WHERE {some}", ()),
        (f"ALTER TABLE {table} DROP COLUMN {column}", ()),
        (f"ALTER TABLE {table} RENAME COLUMN {column} TO x_{column}", ()),
        (f"ALTER TABLE {table} RENAME TO {table}_V2", ()),
        (f"DROP TABLE {table}", ()),
        (f"UPDATE StringIds SET value = ? WHERE {some}", (rng.choice((*NAMES, *_SQL_VALUES)),)),
        (f"UPDATE NVTX_EVENTS SET text = ? WHERE {some}", (rng.choice((*NAMES, *_SQL_VALUES)),)),
        ("UPDATE CUPTI_ACTIVITY_KIND_KERNEL SET start = start + ?, end = end + ?", (shift, shift)),
    )
    database.execute(*rng.choice(statements))


# Run folders


def change_run_folder(folder: Path, rng: random.Random) -> None:
    """Change what lies beside the traces of a run folder: values, lines, whole files."""
    files = sorted(path for path in folder.iterdir() if path.is_file())
    for _ in range(rng.choice((1, 1, 2, 4))):
        path = rng.choice(files)
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError, IndexError, AttributeError):
            if path.suffix == ".json":
                document = json.loads(path.read_text())
                _change_within(document, rng)
                path.write_text(json.dumps(document))
            elif path.suffix == ".jsonl":
                _change_lines(path, rng)
            else:
                _change_records(path, rng)


def _change_within(value: Any, rng: random.Random) -> None:
    """Put a hostile value somewhere inside."""
    while True:
        keys = list(value) if isinstance(value, dict) else list(range(len(value)))
        if not keys:
            return
        key = rng.choice(keys)
        if isinstance(value[key], (dict, list)) and value[key] and rng.random() < 0.8:
            value = value[key]
            continue
        if rng.random() < 0.2:
            del value[key]
        else:
            value[key] = rng.choice(HOSTILE)
        return


def _change_lines(path: Path, rng: random.Random) -> None:
    lines = path.read_text().splitlines()
    at = rng.randrange(len(lines))
    way = rng.randrange(6)
    if way <= 2:
        document = json.loads(lines[at])
        _change_within(document, rng)
        lines[at] = json.dumps(document)
    elif way == 3:
        lines[at] = rng.choice(("", "[]", "{}", "null", "[[[", "\ud800", "x" * 10, lines[at][: len(lines[at]) // 2]))
    elif way == 4:
        lines[at:at] = rng.choice((lines[at : at + 3], [""] * 3))
    else:
        rng.shuffle(lines)
    path.write_bytes(("\n".join(lines) + rng.choice(("\n", ""))).encode("utf-8", "surrogatepass"))


def _change_records(path: Path, rng: random.Random) -> None:
    """Change the line before the records of a batch, or the records."""
    data = path.read_bytes()
    end = data.index(b"\n")
    if rng.random() < 0.5:
        header = json.loads(data[:end])
        _change_within(header, rng)
        data = json.dumps(header).encode() + data[end:]
    else:
        at = rng.randrange(end, len(data))
        data = data[:at] + rng.randbytes(rng.choice((1, 8, 20))) + data[at + 8 :]
    path.write_bytes(data)
