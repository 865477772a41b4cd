"""A trace as an XSpace, which TensorBoard's Profile tab (XProf, ``tensorboard-plugin-profile``) reads.

The format is public (tsl/profiler/protobuf/xplane.proto); what XProf makes of it was read from its source and measured
with 2.24.  An XSpace that carries ``group_id`` is taken as it is: XProf derives neither steps nor name scopes of its
own, so that what it shows is what this module wrote.

- Times are picoseconds: nanoseconds × 1000, exactly.
- A step's group holds the events that start in it; the line ``Steps`` holds the steps of the program themselves, so
  that step times are those of the report.  XProf counts of an event only what lies in its step.
- ``tf_op`` is ``stage/module/…/operator:Type``.  Kernel statistics are kept by name, shape *and* ``tf_op``, at most
  `MOST_KERNEL_ROWS` of them; where there would be more, modules and then stages are left out of it, never kernels.
  For all hosts of a capture together, XProf puts the rows of each under each other, and keeps as many in all.
- XProf tells tensor cores and 16 bit by names.  Where those do not tell it, a mark is added: `TENSOR_CORES_MARK` to
  the name, ``half`` as the shape.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from tbperf.analyses.module_calls import called_modules
from tbperf.analyses.modules import modules_of_gpu_work
from tbperf.intervals import NOTHING, rows_by
from tbperf.tensorboard import wire
from tbperf.trace import COPY_KINDS, HOST_MEMORY, NONE, Kind
from tbperf.trace.names import uses_tensor_cores
from tbperf.trace.stages import step_number

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    import numpy.typing as npt

    from tbperf.intervals import Ns
    from tbperf.tensorboard.wire import Bools, Column
    from tbperf.trace import Gpu, Table, Trace

MOST_KERNEL_ROWS = 1000
"""XProf keeps so many rows of kernel statistics and drops the others silently."""

TENSOR_CORES_MARK = " [hmma]"
"""The instruction of tensor cores, and one of the words by which XProf knows their kernels."""

_CHUNK = 1 << 14
"""Rows that are encoded at once: their columns stay in the processor's cache."""

# Ids of the lines that XProf does not take for streams: 0xdeadbeef as an int32, and what follows it.
_STEPS_LINE = 0xDEADBEEF - (1 << 32)
_SCOPES_LINE = _STEPS_LINE + 2
_OPERATORS_LINE = _STEPS_LINE + 3

_UINT64, _INT64, _REFERENCE, _DOUBLE = 3, 4, 7, 2
"""Field numbers of the values of XStat."""

_FLOW_IN, _FLOW_OUT = 1, 2
_AUTOGRAD_FLOWS = 1 << 48
"""Keeps arrows from an operator to its backward apart from those from launches to kernels."""


def encode_xspace(trace: Trace, host: str, timestamp_ns: int = 0) -> Iterator[bytes]:
    """Yield an XSpace of a trace, piece by piece.

    ``timestamp_ns``: the trace's origin on the clock that all ranks share, small enough that picoseconds of it fit 64
    bits (213 days).
    """
    names = trace.once(_Names)
    for number, device in enumerate(trace.devices):
        yield from _encoded_plane(_device_plane(trace, names, number, device, timestamp_ns))
    yield from _encoded_plane(_host_plane(trace, len(trace.devices), timestamp_ns))
    yield wire.field(4, host)


def kernel_rows(trace: Trace) -> int:
    """Return how many rows XProf's kernel statistics have for a trace."""
    return trace.once(_Names).kernel_rows


# What an XSpace is made of.

Stat: TypeAlias = "tuple[str, int, Ns | npt.NDArray[np.float64], Bools | None]"
"""Name, field of the value, value of each event, and the events that have it."""


@dataclass
class _Events:
    """Events of one line; arrays of equal length."""

    name: Ns
    """Ids of the plane's event names."""
    start_ns: Ns
    dur_ns: Ns
    stats: list[Stat] = field(default_factory=list)

    def rows(self, where: npt.NDArray[np.int64]) -> _Events:
        stats: list[Stat] = [
            (name, kind, values[where], None if present is None else present[where])
            for name, kind, values, present in self.stats
        ]
        return _Events(self.name[where], self.start_ns[where], self.dur_ns[where], stats)


class _Plane:
    """One device or the host: lines of events, and the names that they share."""

    def __init__(self, number: int, name: str, timestamp_ns: int) -> None:
        self._head = wire.field(1, number) + wire.field(2, name)
        self._timestamp_ns = timestamp_ns
        self._events: dict[tuple[str, str], int] = {}
        self._stats: dict[str, int] = {}
        self._facts: list[bytes] = []
        self._lines: list[list[bytes]] = []

    def event(self, name: str, shown: str = "") -> int:
        """Return the id of an event's name, and of what is shown instead of it."""
        return self._events.setdefault((name, shown), len(self._events) + 1)

    def text(self, text: str) -> int:
        """Return the id of the name of a stat, or of a text that is the value of one."""
        return self._stats.setdefault(text, len(self._stats) + 1)

    def texts(self, texts: Iterable[str]) -> Ns:
        """Return the id of each text."""
        return np.array([self.text(text) for text in texts], np.int64)

    def fact(self, name: str, value: int | str | None) -> None:
        """State something about the whole plane, if it is known."""
        if value is not None:
            number = 5 if isinstance(value, str) else _UINT64
            self._facts.append(wire.field(6, wire.field(1, self.text(name)) + wire.field(number, value)))

    def line(self, number: int, name: str, events: _Events) -> None:
        """Add a line; its events in time order, outer ones first."""
        if not len(events.name):
            return
        order = np.lexsort((-events.dur_ns, events.start_ns))
        shown_at = len(self._lines) + 1
        self._lines.append(
            [
                wire.field(1, number) + wire.field(2, name) + wire.field(3, self._timestamp_ns),
                *(self._encoded(events.rows(order[at : at + _CHUNK])) for at in range(0, len(order), _CHUNK)),
                wire.field(10, shown_at),
            ]
        )

    def _encoded(self, events: _Events) -> bytes:
        rows = len(events.name)
        columns: list[Column] = [
            *wire.integers(1, events.name),
            *wire.integers(2, events.start_ns * 1000),
            *wire.integers(3, np.maximum(events.dur_ns * 1000, 1)),
        ]
        for name, kind, values, where in events.stats:
            encode: Callable[..., list[Column]] = wire.doubles if kind == _DOUBLE else wire.integers
            stat = [*wire.integers(1, self.text(name)), *encode(kind, values)]
            columns += wire.messages(4, rows, stat, where)
        return wire.joined(rows, wire.messages(4, rows, columns))

    def encoded(self) -> Iterator[bytes]:
        """Yield the content of the message, piece by piece."""
        yield self._head
        for line in self._lines:
            yield wire.opening(3, sum(map(len, line)))
            yield from line
        for (name, shown), number in self._events.items():
            described = wire.field(1, number) + wire.field(2, name) + (wire.field(4, shown) if shown else b"")
            yield wire.field(4, wire.field(1, number) + wire.field(2, described))
        for text, number in self._stats.items():
            described = wire.field(1, number) + wire.field(2, text)
            yield wire.field(5, wire.field(1, number) + wire.field(2, described))
        yield from self._facts


def _encoded_plane(plane: _Plane) -> Iterator[bytes]:
    pieces = list(plane.encoded())
    yield wire.opening(1, sum(map(len, pieces)))
    yield from pieces


# Names.

_NO_OPERATOR = "no_operator"
_NOT_IN_A_SCOPE = re.compile(r"[^A-Za-z0-9_.-]+")


def _scope(text: str) -> str:
    """Write a text so that XProf takes it for one level of a name scope."""
    written = _NOT_IN_A_SCOPE.sub("_", text.replace("::", ".")).strip("_-")
    return written if written[:1].isalnum() else f"x{written}"


def _type(operator: str) -> str:
    """Write the name of an operator as XProf writes types: ``aten::max_pool2d`` → ``AtenMaxPool2d``."""
    words = re.findall(r"[A-Za-z0-9]+", operator)
    written = "".join(word[0].upper() + word[1:] for word in words) or "Operator"
    return written if written[0].isalpha() else f"Op{written}"


_XPROF_TENSOR_CORES = re.compile(
    "16816|c1688|conv1x1|conv2d_c1_k1|dgrad_1x1_stride_2x2|direct_group|first_layer_wgrad_kernel|h1688|h884|hmma|i16832"
    "|i8816|s884|s1688|xmma_gemm|xmma_implicit_gemm|xmma_sparse_conv|xmma_sparse_gemm"
    "|xmma_warp_specialized_implicit_gemm"
)
"""The words by which XProf knows the kernels of tensor cores."""

_XPROF_16_BIT = re.compile("half|fp16")
"""The words by which XProf knows arithmetic in 16 bit, where an event has no shape."""

_16_BIT = re.compile(
    r"[hH]alf|[bB]f(?:loat)?16|fp16|(?<![A-Za-z0-9])f16|(?:^|[_:])h(?:884|1688|16816)|nvjet_[a-z]*[ht]"
    r"|\b(?=(\w*?Cijk_))\1\w*?_[HB][HBS]S?_"
)
"""Half and bfloat16 in the names of torch's, cuDNN's, cuBLAS', CUTLASS' and Tensile's kernels."""

_16_BIT_INPUT = re.compile(r"c10::(?:Half|BFloat16)")
_EQUATION = "ab,bc->ac"
"""A product of two tensors: what makes XProf call an operator eligible for tensor cores."""


def _kernel_name(name: str) -> str:
    """Return the name under which XProf sees whether a kernel runs on tensor cores."""
    unseen = uses_tensor_cores(name) and not _XPROF_TENSOR_CORES.search(name)
    return name + TENSOR_CORES_MARK if unseen else name


@dataclass
class _Names:
    """The stage, the modules and the operator that each row of the gpu table was launched in."""

    trace: Trace

    @cached_property
    def operator(self) -> Ns:
        """Row of the ops table that was innermost at the launch, `NOTHING` where there was none."""
        trace = self.trace
        found = np.full(len(trace.gpu), NOTHING, np.int64)
        linked = np.flatnonzero(trace.launched_by >= 0)
        threads = trace.api["thread"][trace.launched_by[linked]] if linked.size else linked
        found[linked] = trace.innermost(trace.ops).at(threads, trace.gpu_launch_ns[linked])
        return found

    @cached_property
    def scopes(self) -> tuple[list[tuple[str, ...]], Ns]:
        """The levels above the operator, stage first, and which of these each row has."""
        trace = self.trace
        times = called_modules(trace)
        paths = [] if times is None else [tuple(map(_scope, levels)) for levels in times.levels]
        nothing = np.full(len(trace.gpu), NOTHING, np.int64), np.zeros(len(trace.gpu), np.bool_)
        module, is_backward = nothing if times is None else modules_of_gpu_work(trace, times)
        key = (trace.gpu_stage + 1) * 2 * (len(paths) + 1) + 2 * (module + 1) + is_backward
        keys, which = np.unique(key, return_inverse=True)
        found = []
        for one in keys.tolist():
            stage, inside = divmod(one, 2 * (len(paths) + 1))
            levels = [_scope(trace.stage_names[stage - 1])] if stage else []
            if inside // 2:
                levels += paths[inside // 2 - 1]
                levels[-1] += ".backward" if inside % 2 else ""
            found.append(tuple(levels))
        return found, which.astype(np.int64)

    @cached_property
    def operator_name(self) -> Ns:
        """Code of the operator's name, `NONE` where there was none."""
        ops = self.trace.ops["name"]
        return np.where(self.operator >= 0, ops[self.operator], NONE) if len(ops) else self.operator

    def paths(self, levels: Callable[[tuple[str, ...]], tuple[str, ...]]) -> tuple[list[str], Ns]:
        """Return ``scope/…/operator:Type``, with some of the levels, and which of these each row has."""
        scopes, which = self.scopes
        kept: dict[tuple[str, ...], int] = {}
        kept_of = np.array([kept.setdefault(levels(scope), len(kept)) for scope in scopes], np.int64)
        texts = self.trace.strings.texts
        key, at = np.unique(kept_of[which] * (len(texts) + 1) + self.operator_name + 1, return_inverse=True)
        scope_of = list(kept)
        found = []
        for one in key.tolist():
            scope, name = divmod(one, len(texts) + 1)
            operator = texts[name - 1] if name else _NO_OPERATOR
            found.append("/".join((*scope_of[scope], _scope(operator))) + ":" + _type(operator))
        return found, at.astype(np.int64)

    @cached_property
    def _finest(self) -> tuple[list[str], Ns, int]:
        trace, kernels = self.trace, np.flatnonzero(self.trace.kernels)
        look = np.stack([trace.gpu[column][kernels].astype(np.int64) for column in ("name", "grid", *_LAUNCH)], axis=1)
        _, shape = np.unique(look, axis=0, return_inverse=True)
        staged = len(trace.stage_names) > 0
        for levels in (lambda scope: scope, lambda scope: scope[:1] if staged else (), lambda _scope: ()):
            found, which = self.paths(levels)
            rows = len(np.unique(shape.ravel() * (len(found) + 1) + which[kernels]))
            if rows <= MOST_KERNEL_ROWS:
                break
        return found, which, rows

    @property
    def tf_op(self) -> tuple[list[str], Ns]:
        """The finest paths with which XProf's kernel statistics keep all kernels, and which of these each row has."""
        return self._finest[:2]

    @property
    def kernel_rows(self) -> int:
        """How many rows of kernel statistics that gives."""
        return self._finest[2]

    @cached_property
    def is_16_bit(self) -> Bools:
        """Which rows compute in half or bfloat16, by the kernel's name or the operator's inputs."""
        trace = self.trace
        found: Bools = trace.named(trace.gpu, _16_BIT.search)
        if len(trace.ops):
            called = np.flatnonzero(self.operator >= 0)
            shapes = trace.ops["shapes"][self.operator[called]]
            found[called] |= trace.strings.labelled(lambda text: bool(_16_BIT_INPUT.search(text)), shapes) > 0
        return found


# The planes.

_LAUNCH = ("blocks", "block_threads", "registers", "shared_bytes", "occupancy")


def _device_plane(trace: Trace, names: _Names, number: int, device: int, timestamp_ns: int) -> _Plane:
    plane = _Plane(number + 1, f"/device:GPU:{device}", timestamp_ns)
    _describe(plane, next((gpu for gpu in trace.gpus if gpu.device == device), None), trace)
    rows = np.flatnonzero(trace.gpu["device"] == device)
    steps = trace.steps
    group, step_names = _groups(trace)
    plane.line(
        _STEPS_LINE,
        "Steps",
        _Events(
            np.array([plane.event(name) for name in step_names], np.int64),
            steps.start_ns,
            steps.end_ns - steps.start_ns,
            [("group_id", _INT64, group, None), ("step_name", _REFERENCE, plane.texts(step_names), None)],
        ),
    )
    events = _device_events(trace, names, plane, rows)
    streams = trace.gpu["stream"][rows]
    busiest_first = sorted(rows_by(streams), key=lambda found: -len(found[1]))
    for index, (stream, mine) in enumerate(busiest_first):
        plane.line(index + 1, f"Stream {stream}", events.rows(mine))
        if not index:
            plane.line(_SCOPES_LINE, "Stages and modules", _scope_events(trace, names, plane, rows[mine]))
            plane.line(_OPERATORS_LINE, "Operators", _operator_events(trace, names, plane, rows[mine]))
    return plane


def _describe(plane: _Plane, gpu: Gpu | None, trace: Trace) -> None:
    is_amd = any(text.startswith("hip") for text in trace.texts(np.unique(trace.api["name"])))
    plane.fact("device_vendor", "AMD" if is_amd else "Nvidia")
    if gpu is not None:
        major, minor = gpu.compute_capability or (None, None)
        plane.fact("compute_cap_major", major)
        plane.fact("compute_cap_minor", minor)
        plane.fact("core_count", gpu.multiprocessors)
        plane.fact("memory_size", gpu.memory_bytes)
        plane.fact("device_type_string", gpu.name or None)


def _groups(trace: Trace) -> tuple[Ns, list[str]]:
    """Return the group and the name of each step: the program's own number, where it tells them apart."""
    number = trace.steps.number
    told_apart = len(np.unique(number)) == len(number)
    return number if told_apart else np.arange(len(number)), [str(n) for n in number.tolist()]


def _group_at(trace: Trace, times: Ns) -> tuple[str, int, Ns, Bools]:
    """Return the stat that puts events into the step that they start in."""
    group, _ = _groups(trace)
    step = trace.steps.at(times)
    inside: Bools = step != NOTHING
    return "group_id", _INT64, group[step] if len(group) else step, inside


def _device_events(trace: Trace, names: _Names, plane: _Plane, rows: Ns) -> _Events:
    gpu = trace.gpu.rows(rows)
    kernel, copy, memset = (gpu["kind"] == kind for kind in (Kind.KERNEL, Kind.MEMCPY, Kind.MEMSET))
    tf_op, which = names.tf_op
    correlation = np.maximum(gpu["correlation_id"], 0)
    eligible = kernel & trace.named(gpu, lambda name: uses_tensor_cores(name) is not None)
    is_16_bit, looks_16_bit = names.is_16_bit[rows], trace.named(gpu, _XPROF_16_BIT.search)
    shape = np.where(is_16_bit, plane.text("half"), plane.text("float"))
    return _Events(
        _device_names(trace, plane, gpu),
        gpu["start_ns"],
        gpu["dur_ns"],
        [
            _group_at(trace, gpu["start_ns"]),
            ("correlation_id", _INT64, correlation, None),
            ("flow", _UINT64, correlation << 2 | _FLOW_IN, trace.launched_by[rows] >= 0),
            ("tf_op", _REFERENCE, _used(plane, tf_op, which[rows]), None),
            ("kernel_details", _REFERENCE, _kernel_details(trace, plane, gpu), kernel),
            ("memcpy_details", _REFERENCE, _copy_details(plane, gpu), copy),
            ("Memset_details", _REFERENCE, _memset_details(plane, gpu), memset),
            ("equation", _REFERENCE, np.full(len(rows), plane.text(_EQUATION)), eligible),
            ("shape", _REFERENCE, shape, kernel & (is_16_bit != looks_16_bit)),
        ],
    )


def _used(plane: _Plane, texts: list[str], which: Ns) -> Ns:
    """Return the ids of texts, of which only those that occur get one."""
    used, at = np.unique(which, return_inverse=True)
    return plane.texts(texts[index] for index in used.tolist())[at.ravel()]


def _device_names(trace: Trace, plane: _Plane, gpu: Table) -> Ns:
    key, at = np.unique(
        np.stack([gpu["name"], gpu["kind"], gpu["copy_kind"]], axis=1).astype(np.int64), axis=0, return_inverse=True
    )
    found = []
    for code, kind, copy_kind in key.tolist():
        name = trace.strings[code]
        if kind == Kind.KERNEL:
            found.append(plane.event(_kernel_name(name), name))
        elif kind == Kind.MEMCPY:
            # By these names XProf knows the direction; it has none between devices.
            way = COPY_KINDS[copy_kind] if copy_kind != NONE else ""
            found.append(plane.event(f"Memcpy{'DtoD' if way == 'PtoP' else way}", name))
        else:
            found.append(plane.event("Memset" if kind == Kind.MEMSET else name, name))
    return np.array(found, np.int64)[at.ravel()]


def _kernel_details(trace: Trace, plane: _Plane, gpu: Table) -> Ns:
    launch = np.stack([gpu[column].astype(np.int64) for column in ("grid", *_LAUNCH)], axis=1)
    key, at = np.unique(np.maximum(launch, NONE), axis=0, return_inverse=True)

    def details(grid: int, blocks: int, threads: int, *rest: int) -> str:
        registers, shared, occupancy = (max(value, 0) for value in rest)
        size = launch_size(trace.strings[grid]) if grid != NONE else None
        # Where only their number is known, it stands as the first dimension.
        of_grid, of_block = size or ((max(blocks, 1), 1, 1), (max(threads, 1), 1, 1))
        return (
            f"regs:{registers} static_shared:0 dynamic_shared:{shared} grid:{','.join(map(str, of_grid))}"
            f" block:{','.join(map(str, of_block))} occ_pct:{occupancy}"
        )

    return plane.texts(details(*one) for one in key.tolist())[at.ravel()]


Size: TypeAlias = "tuple[int, ...]"


def launch_size(text: str) -> tuple[Size, Size] | None:
    """Return grid and block of ``64×1×1 of 256×1×1``; None for anything else."""
    found = re.fullmatch(r"(\d+)×(\d+)×(\d+) of (\d+)×(\d+)×(\d+)", text)
    if found is None:
        return None
    numbers = tuple(map(int, found.groups()))
    return numbers[:3], numbers[3:]


def _copy_details(plane: _Plane, gpu: Table) -> Ns:
    key, at = np.unique(np.stack([gpu["host_memory"], gpu["bytes"]], axis=1), axis=0, return_inverse=True)
    return plane.texts(
        f"kind:{HOST_MEMORY[memory] if memory != NONE else 'unknown'}\nnum_bytes:{max(size, 0)}"
        for memory, size in key.tolist()
    )[at.ravel()]


def _memset_details(plane: _Plane, gpu: Table) -> Ns:
    key, at = np.unique(gpu["bytes"], return_inverse=True)
    return plane.texts(f"kind:device\nnum_bytes:{max(size, 0)}" for size in key.tolist())[at.ravel()]


def _scope_events(trace: Trace, names: _Names, plane: _Plane, rows: Ns) -> _Events:
    """Return the stages and modules of one stream: runs of work with the same levels, nested."""
    scopes, which = names.scopes
    rows = rows[np.argsort(trace.gpu["start_ns"][rows], kind="stable")]
    step = trace.steps.at(trace.gpu["start_ns"][rows])
    prefixes: dict[tuple[str, ...], int] = {}
    found = []
    for level in range(max(map(len, scopes), default=0)):
        codes = [
            prefixes.setdefault(scope[: level + 1], len(prefixes)) if len(scope) > level else NOTHING
            for scope in scopes
        ]
        found.append(_runs(trace, rows, np.array(codes, np.int64)[which[rows]], step))
    events = np.array([plane.event("/".join(scope), scope[-1]) for scope in prefixes], np.int64)
    code, start, dur, group = (np.concatenate(parts) for parts in zip(*found, strict=True)) if found else _NO_RUNS
    return _run_events(trace, events, (code, start, dur, group))


def _operator_events(trace: Trace, names: _Names, plane: _Plane, rows: Ns) -> _Events:
    """Return the operators of one stream: runs of work that the same operator launched."""
    paths, which = names.paths(lambda scope: scope)
    rows = rows[np.argsort(trace.gpu["start_ns"][rows], kind="stable")]
    step = trace.steps.at(trace.gpu["start_ns"][rows])
    runs = _runs(trace, rows, np.where(names.operator[rows] >= 0, which[rows], NOTHING), step)
    used, at = np.unique(runs[0], return_inverse=True)
    events = np.array([plane.event(paths[index], paths[index].rpartition(":")[2]) for index in used.tolist()], np.int64)
    return _run_events(trace, events, (at.ravel(), *runs[1:]))


_Runs: TypeAlias = "tuple[Ns, Ns, Ns, Ns]"
_NO_RUNS = tuple(np.empty(0, np.int64) for _ in range(4))


def _runs(trace: Trace, rows: Ns, code: Ns, step: Ns) -> _Runs:
    """Join neighbours of the same code and step: code, start, duration and step of each run that has a code."""
    if not rows.size:
        return _NO_RUNS  # type: ignore[return-value]
    start, end = trace.gpu["start_ns"][rows], trace.gpu.end_ns[rows]
    opens = np.flatnonzero(np.r_[True, (code[1:] != code[:-1]) | (step[1:] != step[:-1])])
    last = np.maximum.reduceat(end, opens)
    # Work may overlap on a stream; runs of a line may not.
    last = np.minimum(last, np.r_[start[opens][1:], last[-1:]])
    has = (code[opens] != NOTHING) & (last > start[opens])
    return code[opens][has], start[opens][has], (last - start[opens])[has], step[opens][has]


def _run_events(trace: Trace, events: Ns, runs: _Runs) -> _Events:
    code, start, dur, step = runs
    group, _ = _groups(trace)
    inside: Bools = step != NOTHING
    groups = group[step] if len(group) else step
    return _Events(events[code] if len(code) else code, start, dur, [("group_id", _INT64, groups, inside)])


_HOST_TABLES = ("ranges", "ops", "api", "python", "os", "overhead")
_MEMORY_LINE = 1 << 24
"""Lines of allocators come behind those of threads."""


def _host_plane(trace: Trace, number: int, timestamp_ns: int) -> _Plane:
    plane = _Plane(number + 1, "/host:CPU", timestamp_ns)
    tables = [getattr(trace, name) for name in _HOST_TABLES]
    thread = np.concatenate([table["thread"] for table in tables])
    events = _host_events(trace, plane, tables)
    order = np.argsort(thread, kind="stable")
    first = np.searchsorted(thread[order], np.arange(len(trace.threads) + 1))
    main_first = sorted(range(len(trace.threads)), key=lambda index: index != trace.main_thread)
    for index in main_first:
        about = trace.threads[index]
        mine = order[first[index] : first[index + 1]]
        plane.line(index + 1, about.name or f"thread {about.tid}", events.rows(mine))
    for device, mine in rows_by(trace.memory["device"]):
        allocations = _memory_events(trace, plane, device, trace.memory.rows(mine))
        plane.line(_MEMORY_LINE + device + 1, f"memory of {_memory_name(device)}", allocations)
    return plane


def _host_events(trace: Trace, plane: _Plane, tables: list[Table]) -> _Events:
    sizes = [len(table) for table in tables]
    first = dict(zip(_HOST_TABLES, np.r_[0, np.cumsum(sizes)].tolist(), strict=False))
    total = sum(sizes)

    def part(name: str, values: Ns) -> Ns:
        """Put the values of one table to their place among the rows of all."""
        whole = np.full(total, NONE, np.int64)
        whole[first[name] : first[name] + len(values)] = values
        return whole

    start = np.concatenate([table["start_ns"] for table in tables])
    operator, correlation = _operator_types(trace, plane), trace.api["correlation_id"]
    flow = part("api", np.where(correlation != NONE, correlation << 2 | _FLOW_OUT, NONE))
    autograd = part("ops", _autograd_flows(trace))
    flow = np.where(autograd != NONE, autograd, flow)
    step = part("ranges", trace.labelled(trace.ranges, step_number))
    types, calls = part("ops", operator), part("api", correlation)
    is_step: Bools = step != NONE
    return _Events(
        np.concatenate([_host_names(trace, plane, table) for table in tables]),
        start,
        np.concatenate([table["dur_ns"] for table in tables]),
        [
            _group_at(trace, start),
            ("correlation_id", _INT64, calls, calls != NONE),
            ("flow", _UINT64, flow, flow != NONE),
            ("tf_op", _REFERENCE, types, types != NONE),
            ("_r", _INT64, np.ones(total, np.int64), is_step),
            ("step_num", _INT64, step, is_step),
        ],
    )


def _host_names(trace: Trace, plane: _Plane, table: Table) -> Ns:
    waits = trace.stage_ranges("dataload") if table.name == "ranges" else np.zeros(len(table), np.bool_)
    key, at = np.unique(table["name"].astype(np.int64) * 2 + waits, return_inverse=True)
    found = []
    for one in key.tolist():
        name = trace.strings[one // 2]
        if table.name == "ranges" and step_number(name) != NONE:
            found.append(plane.event("train", name))  # by this word XProf knows the steps of the host
        elif one % 2:
            found.append(plane.event(f"IteratorGetNext {name}", name))  # by this, waiting for input
        else:
            found.append(plane.event(name))
    return np.array(found, np.int64)[at.ravel()]


def _operator_types(trace: Trace, plane: _Plane) -> Ns:
    used, at = np.unique(trace.ops["name"], return_inverse=True)
    names = [trace.strings[code] for code in used.tolist()]
    return plane.texts(f"{_scope(name)}:{_type(name)}" for name in names)[at.ravel()]


def _autograd_flows(trace: Trace) -> Ns:
    """Return the arrow from each operator to its backward: they share a sequence number on two threads."""
    ops = trace.ops
    flow = np.full(len(ops), NONE, np.int64)
    rows = np.flatnonzero(ops["sequence"] != NONE)
    for on_main, direction in ((True, _FLOW_OUT), (False, _FLOW_IN)):
        mine = rows[(ops["thread"][rows] == trace.main_thread) == on_main]
        mine = mine[np.argsort(ops["start_ns"][mine], kind="stable")]
        _, first = np.unique(ops["sequence"][mine], return_index=True)
        flow[mine[first]] = (ops["sequence"][mine[first]] + _AUTOGRAD_FLOWS) << 2 | direction
    return flow


def _memory_name(device: int) -> str:
    return "the host" if device == NONE else f"GPU {device}"


def _memory_events(trace: Trace, plane: _Plane, device: int, memory: Table) -> _Events:
    """Return allocations and releases, with what was allocated then; nothing where the recorder did not tell that."""
    memory = memory.rows(memory["allocated"] != NONE)
    memory = memory.rows(np.argsort(memory["start_ns"], kind="stable"))
    size, allocated, reserved = memory["bytes"], memory["allocated"], memory["reserved"]
    capacity = next((gpu.memory_bytes for gpu in trace.gpus if gpu.device == device), None)
    limit = np.maximum(allocated, reserved if capacity is None else capacity)
    unused = np.maximum(reserved - allocated, 0) / np.maximum(reserved, 1)
    rows = len(memory)
    names = np.where(size > 0, plane.event("MemoryAllocation"), plane.event("MemoryDeallocation"))
    allocator = np.full(rows, plane.text(_memory_name(device)), np.int64)
    return _Events(
        names,
        memory["start_ns"],
        np.zeros(rows, np.int64),
        [
            _group_at(trace, memory["start_ns"]),
            ("allocator_name", _REFERENCE, allocator, None),
            ("bytes_allocated", _INT64, allocated, None),
            ("bytes_available", _INT64, limit - allocated, None),
            ("peak_bytes_in_use", _INT64, np.maximum.accumulate(allocated), None),
            ("requested_bytes", _INT64, np.abs(size), None),
            ("allocation_bytes", _INT64, np.abs(size), None),
            ("addr", _INT64, _places(size), None),
            ("fragmentation", _DOUBLE, unused, reserved != NONE),
        ],
    )


def _places(sizes: Ns) -> Ns:
    """Give each allocation a number, and each release that of the latest open allocation of its size.

    The trace model keeps no addresses; by sizes, what is open at any moment has the right sizes all the same.
    """
    open_by_size: dict[int, list[int]] = {}
    found = []
    for place, size in enumerate(sizes.tolist(), 1):
        if size > 0:
            open_by_size.setdefault(size, []).append(place)
            found.append(place)
        else:
            opened = open_by_size.get(-size)
            found.append(opened.pop() if opened else place)
    return np.array(found, np.int64)
