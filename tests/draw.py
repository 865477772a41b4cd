"""Traces drawn by hand: ``Timeline().kernel(0, 10).copy("HtoD", 5, 20).trace()``; times in microseconds."""

import json
import math

import numpy as np

from tbperf.trace import COPY_KINDS, HOST_MEMORY, NONE, Kind, Strings, Table, Thread, Trace
from tests.draw_nsys import BLOCK, GRID, write_nsys

MAIN = (1, 1)
_COPY_CALL = "cudaMemcpyAsync"


class Timeline:
    """What happened, event by event; each method returns the timeline."""

    def __init__(self):
        self.gpu = []
        self.host = []
        self.autograd = {}
        """By place in ``host``, of operators: sequence number and shapes."""
        self.memory = []
        self.samples = []
        self._correlation = 100

    def kernel(self, start, end, *, name="k", stream=7, device=0, call=None, thread=MAIN):
        """A kernel; ``call=(start, end)`` is the launch that caused it."""
        return self._work("kernel", name, start, end, stream, device, call, "cudaLaunchKernel", thread)

    def copy(
        self, copy_kind, start, end, *, memory=None, size=64, stream=7, device=0, call=None, thread=MAIN, api=_COPY_CALL
    ):
        sides = {"HtoD": "{} -> Device", "DtoH": "Device -> {}"}.get(copy_kind, "Device -> Device")
        name = f"Memcpy {copy_kind} ({sides.format((memory or 'unknown').capitalize())})"
        return self._work("gpu_memcpy", name, start, end, stream, device, call, api, thread, size)

    def memset(self, start, end, *, stream=7, device=0, call=None, thread=MAIN):
        name = "Memset (Device)"
        return self._work("gpu_memset", name, start, end, stream, device, call, "cudaMemsetAsync", thread, 64)

    def call(self, name, start, end, *, thread=MAIN):
        return self._host("cuda_runtime", name, start, end, thread, NONE)

    def op(self, name, start, end, *, thread=MAIN, sequence=NONE, shapes=""):
        """An operator; ``shapes`` is what the recorder wrote of its inputs, as JSON."""
        self.autograd[len(self.host)] = (sequence, shapes)
        return self._host("cpu_op", name, start, end, thread)

    def range(self, name, start, end, *, thread=MAIN):
        return self._host("user_annotation", name, start, end, thread)

    def stage(self, name, start, end, *, thread=MAIN):
        return self.range(f"tbperf/{name}", start, end, thread=thread)

    def step(self, number, start, end):
        return self.range(f"ProfilerStep#{number}", start, end)

    def python(self, name, start, end, *, thread=MAIN):
        return self._host("python_function", name, start, end, thread)

    def os(self, name, start, end, *, thread=MAIN):
        """A call of the operating system's runtime, as only Nsight Systems records them."""
        return self._host("os", name, start, end, thread)

    def overhead(self, name, start, end, *, thread=(-1, 0)):
        return self._host("overhead", name, start, end, thread)

    def allocation(self, at, size, *, allocated, reserved=NONE, device=0):
        """An allocation of the caching allocator; negative sizes are releases."""
        self.memory.append((round(at * 1000), device, size, allocated, reserved))
        return self

    def sample(self, at, series, value, *, device=NONE):
        """A measurement of the hardware."""
        self.samples.append((round(at * 1000), series, device, value))
        return self

    def loaded(self, what, start, end, *, worker=0):
        """What a loader worker did: ``fetch``, ``load_image``, a transform, ``collate``."""
        return self.range(f"loader/{what}", start, end, thread=(1000 + worker, 1000 + worker))

    def _work(self, category, name, start, end, stream, device, call, api, thread, size=NONE):
        self._correlation += 1
        self.gpu.append((category, name, start, end, stream, device, self._correlation, size))
        if call:
            self._host("cuda_runtime", api, *call, thread, self._correlation)
        return self

    def _host(self, category, name, start, end, thread, correlation=NONE):
        self.host.append((category, name, start, end, thread, correlation))
        return self

    def kineto(self):
        """Return what torch's profiler would have written."""
        events = []
        for category, name, start, end, stream, device, correlation, size in self.gpu:
            args = {"device": device, "stream": stream, "correlation": correlation}
            args |= {} if size == NONE else {"bytes": size}
            args |= {"grid": GRID, "block": BLOCK} if category == "kernel" else {}
            events.append(_event(category, name, device, stream, start, end, args))
        for place, (category, name, start, end, (pid, tid), correlation) in enumerate(self.host):
            if category == "os":
                continue
            args = {} if correlation == NONE else {"correlation": correlation}
            sequence, shapes = self.autograd.get(place, (NONE, ""))
            args |= {} if sequence == NONE else {"Sequence number": sequence}
            args |= {"Input Dims": json.loads(shapes)} if shapes else {}
            events.append(_event(category, name, pid, tid, start, end, args))
        for at, device, size, allocated, reserved in self.memory:
            args = {"Device Type": 1, "Device Id": device, "Bytes": size, "Total Allocated": allocated}
            args |= {"Total Reserved": reserved}
            events.append({"ph": "i", "s": "t", "name": "[memory]", "pid": 1, "tid": 1, "ts": at / 1000, "args": args})
        return {"schemaVersion": 1, "traceEvents": events, "traceName": "drawn"}

    def write(self, path):
        """Write it to a file and return its path."""
        path.write_text(json.dumps(self.kineto()))
        return path

    def nsys(self, path):
        """Write what Nsight Systems would have exported: an SQLite database; return its path."""
        write_nsys(self, path)
        return path

    def trace(self):
        """Return the trace that a reader should make of it; its origin is 0."""
        strings, threads = Strings(), {}
        tables = {"gpu": self._gpu_table(strings)}
        for table, category in (
            ("api", "cuda_runtime"),
            ("ops", "cpu_op"),
            ("ranges", "user_annotation"),
            ("python", "python_function"),
            ("os", "os"),
            ("overhead", "overhead"),
        ):
            rows = [row for row in self.host if row[0] == category]
            columns = _spans(rows, strings)
            columns["thread"] = np.array([threads.setdefault(r[4], len(threads)) for r in rows], np.int32)
            if table == "ops":
                autograd = [self.autograd[place] for place, row in enumerate(self.host) if row[0] == category]
                columns["sequence"] = np.array([sequence for sequence, _ in autograd], np.int64)
                columns["shapes"] = strings.codes([shapes for _, shapes in autograd])
            if table == "api":
                columns["correlation_id"] = np.array([r[5] for r in rows], np.int64)
            tables[table] = Table.of(table, columns)
        tables["memory"] = self._memory_table()
        tables["samples"] = self._samples_table(strings)
        return Trace(
            path="drawn",
            format="kineto",
            bytes=0,
            events=len(self.gpu) + len(self.host),
            **tables,
            threads=tuple(
                Thread(*thread, f"loader worker {thread[0] - 1000}" if thread[0] >= 1000 else "") for thread in threads
            ),
            strings=strings,
        )

    def _memory_table(self):
        rows = np.array(self.memory, np.int64).reshape(-1, 5)
        names = ("start_ns", "device", "bytes", "allocated", "reserved")
        return Table.of("memory", dict(zip(names, rows.T, strict=True)))

    def _samples_table(self, strings):
        return Table.of(
            "samples",
            {
                "start_ns": np.array([at for at, *_ in self.samples], np.int64),
                "series": strings.codes([series for _, series, *_ in self.samples]),
                "device": np.array([device for _, _, device, _ in self.samples], np.int32),
                "value": np.array([value for *_, value in self.samples], np.float64),
            },
        )

    def _gpu_table(self, strings):
        kinds = {"kernel": Kind.KERNEL, "gpu_memcpy": Kind.MEMCPY, "gpu_memset": Kind.MEMSET}
        rows = self.gpu
        kernels = np.array([r[0] == "kernel" for r in rows], np.bool_)
        copies = [r[1].split()[1] if r[0] == "gpu_memcpy" else "" for r in rows]
        memories = [next((m for m in HOST_MEMORY if m in r[1].lower()), "") for r in rows]
        return Table.of(
            "gpu",
            {
                **_spans(rows, strings),
                "kind": np.array([kinds[r[0]] for r in rows], np.int8),
                "stream": np.array([r[4] for r in rows], np.int64),
                "device": np.array([r[5] for r in rows], np.int32),
                "correlation_id": np.array([r[6] for r in rows], np.int64),
                "bytes": np.array([r[7] for r in rows], np.int64),
                "blocks": np.where(kernels, math.prod(GRID), NONE),
                "block_threads": np.where(kernels, math.prod(BLOCK), NONE),
                "copy_kind": np.array([_index(COPY_KINDS, c) for c in copies], np.int8),
                "host_memory": np.array([_index(HOST_MEMORY, m) for m in memories], np.int8),
            },
        )


def _index(names, name):
    return names.index(name) if name in names else NONE


def _spans(rows, strings):
    start = np.array([round(r[2] * 1000) for r in rows], np.int64)
    end = np.array([round(r[3] * 1000) for r in rows], np.int64)
    return {"start_ns": start, "dur_ns": end - start, "name": strings.codes([r[1] for r in rows])}


def _event(category, name, pid, tid, start, end, args):
    event = {"ph": "X", "cat": category, "name": name, "pid": pid, "tid": tid}
    event |= {"ts": round(start, 3), "dur": round(end - start, 3)}
    return event | ({"args": args} if args else {})
