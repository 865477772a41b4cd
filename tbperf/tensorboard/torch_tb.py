"""A trace as torch-tb-profiler 0.4.3 can compute right figures of it.

That plugin was written for traces of torch 1.8 to 1.11, and removed from its repository in 2026.  On later traces it
finds no runtime calls (they are called ``cuda_runtime`` now), so that operators cost the GPU nothing; it counts steps
and kernels twice (``gpu_user_annotation``), and no time as the DataLoader's (``user_annotation``).  The copy has the
categories and the links of its time: calls point to the operator that made them, steps and the DataLoader are
operators, other annotations have a category that it draws but does not count, and nothing else is in it.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from tbperf.intervals import NOTHING, Tilings
from tbperf.tensorboard.xspace import launch_size
from tbperf.trace import NONE, Kind
from tbperf.trace.stages import MODULE_PREFIX, module_name, step_number

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from tbperf.intervals import Ns
    from tbperf.trace import Table, Trace

LABEL = "torch-tb-legacy"
"""The folder of the copies, which the plugin shows as the name of the run."""

_DRAWN_ONLY = "annotation"
"""A category that the plugin does not know: it is drawn and counts for nothing."""

_LOADER = "enumerate(DataLoader)#{}.__next__"
_KEPT = ("enumerate(DataLoader)#", "enumerate(DataPipe)#", "Optimizer.step")
_COLLECTIVES = tuple(
    f"{library}:{call}"
    for library in ("nccl", "gloo")
    for call in ("broadcast", "reduce", "all_reduce", "all_gather", "reduce_scatter")
)
"""Annotations by which the plugin knows communication."""

_DEVICE_CATEGORY = {Kind.KERNEL: "Kernel", Kind.MEMCPY: "Memcpy", Kind.MEMSET: "Memset", Kind.GRAPH: "Kernel"}
"""A graph that is recorded as a whole counts as one kernel: the plugin knows no other word for computing."""
_MODULE = "nn.Module: "


def encode_torch_tb(trace: Trace) -> Iterator[bytes]:
    """Yield the copy as JSON, piece by piece; ``traceEvents`` last, as the plugin wants it."""
    head = {
        "schemaVersion": 1,
        "tbperf": {"copy_for": "torch-tb-profiler 0.4.3", "of": trace.path},
        "deviceProperties": [
            {
                "id": gpu.device,
                "name": gpu.name,
                **({"totalGlobalMem": gpu.memory_bytes} if gpu.memory_bytes is not None else {}),
                **(
                    dict(zip(("computeMajor", "computeMinor"), gpu.compute_capability, strict=True))
                    if gpu.compute_capability
                    else {}
                ),
                **({"numSms": gpu.multiprocessors} if gpu.multiprocessors else {}),
            }
            for gpu in trace.gpus
        ],
    }
    if trace.rank is not None:
        head["distributedInfo"] = {"rank": trace.rank, "world_size": trace.world_size, "backend": "nccl"}
    yield json.dumps(head)[:-1].encode() + b', "traceEvents": [\n'
    events = _Copy(trace).events()
    first = next(events, None)
    if first is not None:
        yield first.encode("utf-8", "replace")
    batch: list[str] = []
    for event in events:
        batch.append(event)
        if len(batch) == _BATCH:
            yield (",\n" + ",\n".join(batch)).encode("utf-8", "replace")
            batch = []
    if batch:
        yield (",\n" + ",\n".join(batch)).encode("utf-8", "replace")
    yield b"\n]}\n"


_BATCH = 4096


class _Copy:
    """The events of the copy; operators and what counts as such have ids, which calls and kernels point to."""

    def __init__(self, trace: Trace) -> None:
        self._trace = trace
        self._quoted: dict[int, str] = {}
        ranges = trace.ranges
        self._is_step = trace.labelled(ranges, step_number) != NONE
        self._is_loader = trace.stage_ranges("dataload")
        kept = trace.named(ranges, lambda name: name.startswith(_KEPT))
        self._is_collective = trace.named(ranges, lambda name: name in _COLLECTIVES)
        self._counts = self._is_step | self._is_loader | kept | self._is_collective
        self._host = [
            (thread.pid if isinstance(thread.pid, int) else 0, thread.tid if isinstance(thread.tid, int) else 1 << 20)
            for thread in trace.threads
        ]
        # The plugin knows threads by number alone, and would mix those of two processes.
        numbers = [number for _, number in self._host]
        if len(set(numbers)) != len(numbers):
            self._host = [(pid, index + 1) for index, (pid, _) in enumerate(self._host)]
        self._of_api, self._of_gpu = self._callers()

    def _callers(self) -> tuple[Ns, Ns]:
        """Return the id of the innermost operator around each call, and of that behind each row of the gpu table.

        Ids are row numbers + 1, operators first, then ranges; 0 stands for none.
        """
        trace = self._trace
        ranges = np.flatnonzero(self._counts)
        tables = (trace.ops["start_ns"], trace.ranges["start_ns"][ranges])
        start = np.concatenate(tables)
        end = np.concatenate((trace.ops.end_ns, trace.ranges.end_ns[ranges]))
        thread = np.concatenate((trace.ops["thread"], trace.ranges["thread"][ranges]))
        number = np.r_[np.arange(len(trace.ops)), len(trace.ops) + ranges] + 1
        row = Tilings.innermost(thread, start, end).at(trace.api["thread"], trace.api["start_ns"])
        of_api = np.where(row != NOTHING, number[row], 0) if len(number) else np.zeros(len(trace.api), np.int64)
        linked = trace.launched_by >= 0
        of_gpu = np.where(linked, of_api[trace.launched_by], 0) if len(of_api) else np.zeros(len(trace.gpu), np.int64)
        return of_api, of_gpu

    def events(self) -> Iterator[str]:
        trace, ranges = self._trace, self._trace.ranges
        operator = np.arange(len(trace.ops)) + 1
        sequence, shapes = trace.ops["sequence"].tolist(), trace.ops["shapes"].tolist()
        is_collective = trace.named(trace.ops, lambda name: name in _COLLECTIVES)

        def of_operator(row: int) -> str:
            told = f', "Sequence number": {sequence[row]}' if sequence[row] != NONE else ""
            # Of collectives the plugin computes sizes from lists of shapes, which the trace model does not keep.
            given = trace.strings[shapes[row]] and not is_collective[row]
            inputs = f', "Input Dims": {self._text(shapes[row])}' if given else ""
            return f'"External id": {operator[row]}{told}{inputs}'

        yield from self._on_threads(trace.ops, lambda _row: "cpu_op", of_operator)
        first_range = len(trace.ops) + 1
        yield from self._on_threads(
            ranges,
            lambda row: (
                ("user_annotation" if self._is_collective[row] else "cpu_op") if self._counts[row] else _DRAWN_ONLY
            ),
            lambda row: f'"External id": {first_range + row}' if self._counts[row] else "",
            self._range_name,
        )
        correlation = trace.api["correlation_id"].tolist()
        yield from self._on_threads(
            trace.api,
            lambda _row: "Runtime",
            lambda row: f'"External id": {self._of_api[row]}, "correlation": {correlation[row]}',
        )
        yield from self._modules()
        yield from self._device_work()
        yield from self._allocations()

    def _text(self, code: int) -> str:
        if code not in self._quoted:
            self._quoted[code] = json.dumps(self._trace.strings[code])
        return self._quoted[code]

    def _range_name(self, row: int) -> str:
        code = int(self._trace.ranges["name"][row])
        name = self._trace.strings[code]
        if self._is_loader[row] and not (name.startswith(_KEPT[0]) and name.endswith(".__next__")):
            return json.dumps(_LOADER.format(name))
        return self._text(code)

    def _on_threads(
        self,
        table: Table,
        category: Callable[[int], str],
        arguments: Callable[[int], str],
        name: Callable[[int], str] | None = None,
    ) -> Iterator[str]:
        codes = table["name"].tolist()
        for row, (start, dur, thread) in enumerate(_rows(table, "start_ns", "dur_ns", "thread")):
            pid, tid = self._host[thread]
            yield (
                f'{{"ph": "X", "cat": "{category(row)}", "name": {name(row) if name else self._text(codes[row])}, '
                f'"pid": {pid}, "tid": {tid}, "ts": {_us(start)}, "dur": {_us(dur)}, "args": {{{arguments(row)}}}}}'
            )

    def _modules(self) -> Iterator[str]:
        """Yield calls of modules, each with an id and that of the call around it, as the module view wants them."""
        trace = self._trace
        rows = np.flatnonzero(trace.named(trace.python, lambda name: name.startswith(_MODULE)))
        calls = trace.python.rows(rows)
        if not rows.size:
            calls = trace.ranges.rows(trace.named(trace.ranges, module_name))
        order = np.lexsort((-calls.end_ns, calls["start_ns"], calls["thread"]))
        open_calls: list[tuple[int, int]] = []
        on: int | None = None
        columns = (calls.rows(order), "start_ns", "dur_ns", "thread", "name")
        for number, (start, dur, thread, code) in enumerate(_rows(*columns), 1):
            if thread != on:
                open_calls, on = [], thread
            while open_calls and open_calls[-1][0] <= start:
                open_calls.pop()
            parent = open_calls[-1][1] if open_calls else "null"
            open_calls.append((start + dur, number))
            pid, tid = self._host[thread]
            yield (
                f'{{"ph": "X", "cat": "python_function", "name": {self._module(code)}, "pid": {pid}, "tid": {tid}, '
                f'"ts": {_us(start)}, "dur": {_us(dur)}, "args": '
                f'{{"Python id": {number}, "Python parent id": {parent}, "Python module id": {code}}}}}'
            )

    def _module(self, code: int) -> str:
        """Name a module in the way by which the module view knows one."""
        name = self._trace.strings[code]
        return json.dumps(name if name.startswith(_MODULE) else _MODULE + name.removeprefix(MODULE_PREFIX))

    def _device_work(self) -> Iterator[str]:
        trace = self._trace
        processors = {gpu.device: gpu.multiprocessors for gpu in trace.gpus if gpu.multiprocessors}
        caller = self._of_gpu.tolist()
        columns = ("start_ns", "dur_ns", "name", "kind", "device", "stream", "correlation_id", "bytes", *_LAUNCH)
        sizes = {
            code: launch_size(trace.strings[code]) for code in np.unique(trace.gpu["grid"]).tolist() if code != NONE
        }
        for row, values in enumerate(_rows(trace.gpu, *columns)):
            start, dur, code, kind, device, stream, correlation, size, grid, blocks, threads, *rest = values
            arguments: dict[str, Any] = {"External id": caller[row], "device": device, "stream": stream}
            arguments["correlation"] = correlation
            if kind != Kind.KERNEL:
                arguments |= {"bytes": size} if size != NONE else {}
            else:
                registers, shared, occupancy = rest
                of_grid, of_block = sizes.get(grid) or ([blocks, 1, 1], [threads, 1, 1])
                told = {
                    "grid": None if blocks == NONE else of_grid,
                    "block": None if threads == NONE else of_block,
                    "blocks per SM": None
                    if NONE in (blocks, processors.get(device, NONE))
                    else blocks / processors[device],
                    "registers per thread": None if registers == NONE else registers,
                    "shared memory": None if shared == NONE else shared,
                    "est. achieved occupancy %": None if occupancy == NONE else occupancy,
                }
                arguments |= {name: value for name, value in told.items() if value is not None}
            yield (
                f'{{"ph": "X", "cat": "{_DEVICE_CATEGORY[Kind(kind)]}", "name": {self._text(code)}, "pid": {device}, '
                f'"tid": {stream}, "ts": {_us(start)}, "dur": {_us(dur)}, "args": {json.dumps(arguments)}}}'
            )

    def _allocations(self) -> Iterator[str]:
        """Yield allocations, on the thread that had an operator open then; the trace model keeps neither."""
        trace = self._trace
        memory = trace.memory.rows(np.argsort(trace.memory["start_ns"], kind="stable"))
        thread = np.full(len(memory), trace.main_thread, np.int64)
        ops, others = trace.innermost(trace.ops), np.arange(len(trace.threads))
        # The main thread comes first.
        turn = np.where(others == trace.main_thread, 0, others + 1)
        busy = ops.renumbered(turn).stacked().at(memory["start_ns"])
        thread = np.where(busy != NOTHING, trace.ops["thread"][busy], thread) if len(trace.ops) else thread
        columns = ("start_ns", "device", "bytes", "allocated", "reserved")
        for row, (start, device, size, allocated, reserved) in enumerate(_rows(memory, *columns)):
            pid, tid = self._host[int(thread[row])] if self._host else (0, 0)
            totals = {"Total Allocated": allocated, "Total Reserved": reserved}
            arguments = {
                "Device Type": int(device != NONE),
                "Device Id": device,
                "Bytes": size,
                **{name: value for name, value in totals.items() if value != NONE},
            }
            yield (
                f'{{"ph": "i", "s": "t", "name": "[memory]", "pid": {pid}, "tid": {tid}, "ts": {_us(start)}, '
                f'"args": {json.dumps(arguments)}}}'
            )


_LAUNCH = ("grid", "blocks", "block_threads", "registers", "shared_bytes", "occupancy")


def _rows(table: Table, *columns: str) -> Iterable[tuple[int, ...]]:
    return zip(*(table[column].tolist() for column in columns), strict=True)


def _us(ns: int) -> str:
    """Write nanoseconds as microseconds, exactly."""
    return f"{ns // 1000}.{ns % 1000:03d}"
