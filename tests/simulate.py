"""Traces whose truth is known: a training loop and a device, simulated to the nanosecond.

The simulation knows what a trace only shows: what the host was doing at each moment and why, what each piece of device
work waited for, and, by running again without a fault, what the fault costs.  Nothing here is shared with the analyses
but the drawing of the trace.

    run = simulate(Program(faults=(Fault("reads", 12),), seed=7))
    run.trace()            # what a recorder would have written
    run.causes()           # nanoseconds of idle time by cause, from what the simulation knows
    run.window_ns - simulate(run.program.without("reads")).window_ns
"""

from __future__ import annotations

import bisect
import dataclasses
import itertools
import math
import random
from collections import Counter
from dataclasses import dataclass, field

from tbperf.trace import Gpu
from tbperf.trace.run import Run, StepTimes
from tests.draw import MAIN, Timeline

AUTOGRAD = (1, 2)
COMPUTE, SIDE, COMM = 7, 14, 20
US, MS = 1_000, 1_000_000
DEVICE = Gpu(0, "Drawn GPU", 40_000_000_000, (8, 0), 108)


@dataclass(frozen=True)
class Fault:
    """Something planted in each step; what its strength means is said where it is simulated."""

    name: str
    strength: float


@dataclass(frozen=True)
class Program:
    """A training loop: so many steps of so many operators, a kernel each, on a device that keeps a queue."""

    faults: tuple[Fault, ...] = ()
    seed: int = 0
    steps: int = 8
    ops: int = 40
    """Operators of the forward pass; the backward pass has twice as many, in a thread of its own."""
    op_ns: int = 12 * US
    """Host time of an operator beside its launch call."""
    kernel_ns: int = 60 * US
    noise: float = 0.15
    """Durations are drawn from this far around what they should be."""
    ranks: int = 1
    exchange_ns: int = 100 * US
    """What a collective takes; there are four a step."""

    def strength(self, name: str) -> float:
        """Return how strong a fault is; 0 where it is not planted."""
        return sum(fault.strength for fault in self.faults if fault.name == name)

    def without(self, *names: str) -> Program:
        """Return the program without some faults."""
        return dataclasses.replace(self, faults=tuple(f for f in self.faults if f.name not in names))

    def weakened(self, name: str, factor: float) -> Program:
        """Return the program with a fault of a part of its strength."""
        faults = tuple(Fault(f.name, f.strength * factor) if f.name == name else f for f in self.faults)
        return dataclasses.replace(self, faults=faults)


ORDER = ("dataloader", "save", "plot", "validation", "host_op", "python")
CALL_NS = 5 * US
LATENCY_NS = 3 * US
RETURN_NS = 6 * US
GAP_NS = 1 * US
PINNED_BYTES_PER_NS, PAGEABLE_BYTES_PER_NS = 24, 6


@dataclass
class Simulation:
    """The state while it runs, and what it knows afterwards."""

    program: Program
    timeline: Timeline = field(default_factory=Timeline)
    now: int = 100 * US
    thread: tuple[int, int] = MAIN
    host: list[tuple[tuple[int, int], int, int, str]] = field(default_factory=list)
    """What each thread did: thread, start, end, cause, in the words of the ledger."""
    work: list[tuple[int, int, int, int, tuple[int, int]]] = field(default_factory=list)
    """Device work: start, end, start and end of its call, thread."""
    free: dict[int, int] = field(default_factory=dict)
    """When each stream has done what it was given."""
    told: dict[str, float] = field(default_factory=dict)
    """Part of the samples that tell of a fault of the hardware."""
    cause: list[str] = field(default_factory=lambda: ["python"])
    """What plain host time counts as, innermost last."""

    def drawn(self, ns: float, key: object) -> int:
        """Return a duration with its noise, the same in every run of this seed whatever else is planted."""
        if not ns:
            return 0
        noise = random.Random(f"{self.program.seed} {key}").uniform(-1, 1)  # noqa: S311 - as above
        return max(1, round(ns * (1 + self.program.noise * noise)))

    # what the host does

    def spend(self, ns: int, cause: str | None = None) -> None:
        """Let host time pass; what is open decides what it counts as: the first of ORDER."""
        if ns > 0:
            self.host.append((self.thread, self.now, self.now + ns, cause or min(self.cause, key=ORDER.index)))
            self.now += ns

    def stage(self, name: str, cause: str = "python") -> _Open:
        """Open a stage."""
        return _Open(self, lambda start, end: self.timeline.stage(name, start, end, thread=self.thread), cause)

    def operator(self, name: str) -> _Open:
        """Open an operator."""
        return _Open(self, lambda start, end: self.timeline.op(name, start, end, thread=self.thread), "host_op")

    def python(self, ns: int) -> None:
        """Run Python code in no operator."""
        self.spend(ns)

    def call(self, name: str, ns: int, cause: str) -> None:
        """Call the runtime."""
        self.timeline.call(name, self.now / US, (self.now + ns) / US, thread=self.thread)
        self.spend(ns, cause)

    # what the device does

    def _start(self, stream: int, after: int) -> int:
        ready = self.free.get(stream)
        return max(self.now + LATENCY_NS, after, -1 if ready is None else ready + GAP_NS)

    def _work(self, stream: int, start: int, ns: int, call: tuple[int, int]) -> None:
        self.free[stream] = start + ns
        self.work.append((start, start + ns, *call, self.thread))

    def kernel(self, name: str, ns: int, *, stream: int = COMPUTE, after: int = 0) -> int:
        """Launch a kernel, which waits for its stream and for a moment; return its end."""
        call = self.now, self.now + CALL_NS
        self.spend(CALL_NS, "launch")
        start = self._start(stream, after)
        micro = tuple(ns_ / US for ns_ in call)
        self.timeline.kernel(start / US, (start + ns) / US, name=name, stream=stream, call=micro, thread=self.thread)
        self._work(stream, start, ns, call)
        return start + ns

    def copy(
        self, kind: str, size: int, memory: str, *, stream: int = COMPUTE, waits: bool = False, api: str = ""
    ) -> int:
        """Copy; where the call waits it returns when the data has arrived."""
        speed = PINNED_BYTES_PER_NS if memory == "pinned" else PAGEABLE_BYTES_PER_NS
        ns = 1500 + size // speed
        begin = self.now
        start = max(begin + CALL_NS + LATENCY_NS, self.free.get(stream, 0) + GAP_NS)
        end = start + ns
        back = end + RETURN_NS if waits else begin + CALL_NS
        blocks = memory == "pageable" or bool(api)
        self.timeline.copy(
            kind,
            start / US,
            end / US,
            memory=memory,
            size=size,
            stream=stream,
            thread=self.thread,
            call=(begin / US, back / US),
            api=api or "cudaMemcpyAsync",
        )
        self.spend(back - begin, "memcpy" if blocks else "launch")
        self._work(stream, start, ns, (begin, back))
        return end

    def synchronize(self, api: str = "cudaStreamSynchronize", *streams: int) -> None:
        """Wait until streams, or all, have done their work."""
        done = max((self.free.get(s, 0) for s in streams or self.free), default=0)
        self.call(api, max(RETURN_NS, done + RETURN_NS - self.now), "sync")

    def item(self) -> None:
        """Read one number: a copy to the host and a wait for it."""
        with self.operator("aten::item"):
            self.spend(4 * US)
            with self.operator("aten::_local_scalar_dense"):
                self.copy("DtoH", 4, "pinned")
                self.synchronize("cudaStreamSynchronize", COMPUTE)

    # what is known afterwards

    @property
    def window_ns(self) -> int:
        """From the first start to the last end on the device."""
        return max(end for _, end, *_ in self.work) - min(start for start, *_ in self.work)

    def gaps(self) -> list[tuple[int, int, int, int, tuple[int, int]]]:
        """Return each gap with the call that ended it: start, end, call start, call end, thread."""
        found, reach = [], None
        for start, end, begin, done, thread in sorted(self.work, key=lambda w: (w[0], w[2])):
            if reach is not None and start > reach:
                found.append((reach, start, begin, done, thread))
            reach = end if reach is None else max(reach, end)
        return found

    def causes(self) -> Counter[str]:
        """Sum idle time by cause, from what each thread is known to have done."""
        total: Counter[str] = Counter()
        threads = {
            thread: sorted((start, end, cause) for who, start, end, cause in self.host if who == thread)
            for thread in {who for who, *_ in self.host}
        }
        for start, end, begin, done, thread in self.gaps():
            begin, done = min(max(begin, start), end), min(max(done, start), end)  # noqa: PLW2901 - cut to the gap
            total["queued"] += end - max(done, begin)
            total["launch"] += max(done, begin) - begin
            rest = [(start, begin)]
            for who in dict.fromkeys((thread, MAIN)):
                rest = list(_charge(rest, threads.get(who, []), total))
            total["unknown"] += sum(e - s for s, e in rest)
        return +total

    def trace(self):
        """Return the trace, as a reader would."""
        self._sample()
        trace = dataclasses.replace(self.timeline.trace(), gpus=(DEVICE,))
        return dataclasses.replace(trace, recording={"phase": "train"}, run=self.run_folder())

    @property
    def workers(self) -> int:
        """Return the number of loader workers that were asked for."""
        return 0 if self.program.strength("in process") else 2 if self.program.strength("few workers") else 8

    def _sample(self) -> None:
        """Hot, capped: part of the samples that tell of it; crowded: all cores are busy."""
        draw = random.Random(f"{self.program.seed} samples")  # noqa: S311 - reproducible, not secret
        masks = []
        hot, capped = self.program.strength("hot"), self.program.strength("capped")
        for at in range(100, self.now // US, 1000):
            told = (0x20 | 0x40) * (draw.random() < hot) | 0x4 * (draw.random() < capped)
            masks.append(told)
            self.timeline.sample(at, "throttle_reasons", told, device=0)
            self.timeline.sample(at, "sm_clock_mhz", 1755 - 400 * bool(told), device=0)
            self.timeline.sample(at, "temperature_celsius", 84 if told & 0x20 else 62, device=0)
            busy = 97 if self.program.strength("crowded") else draw.uniform(20, 70)
            self.timeline.sample(at, "cpu_percent", busy)
        self.told = {
            "hot": sum(m & 0x20 > 0 for m in masks) / len(masks),
            "capped": sum(m & 4 > 0 for m in masks) / len(masks),
        }

    def run_folder(self) -> Run:
        """Return what the recorder knows of the run."""
        times = StepTimes(500, 500 * 20 * MS, None, None, None)
        return Run(
            folder="drawn",
            command=(),
            status="ended",
            exit_code=0,
            versions={},
            hardware={"usable_cores": 8},
            arguments={"train": {"workers": self.workers, "epochs": 100, "batch": 16}},
            steps={"train": times},
            outside_ns={},
        )


def _charge(spans, pieces, total):
    """Charge the pieces that lie in spans; yield what no piece covers."""
    for start, end in spans:
        at = start
        index = max(0, bisect.bisect_right(pieces, (start, 1 << 62)) - 1)
        for s, e, cause in itertools.islice(pieces, index, None):
            if s >= end:
                break
            begin, done = max(s, at), min(e, end)
            if done <= begin:
                continue
            if begin > at:
                yield at, begin
            total[cause] += done - begin
            at = done
        if at < end:
            yield at, end


class _Open:
    """A range, stage or operator that is open; draws itself when it closes."""

    def __init__(self, simulation, draw, cause):
        self._simulation, self._draw, self._cause = simulation, draw, cause

    def __enter__(self):
        self._start = self._simulation.now
        self._simulation.cause.append(self._cause)

    def __exit__(self, *_):
        self._simulation.cause.pop()
        self._draw(self._start / US, self._simulation.now / US)


def simulate(program: Program) -> Simulation:
    """Run a program."""
    run = Simulation(program)
    begun = run.now
    for step in range(program.steps):
        start = run.now
        _dataload(run, step, begun)
        _preprocess(run, step)
        _forward(run, step)
        _loss(run, step)
        _backward(run, step)
        _optimizer(run, step)
        _between(run, step)
        run.timeline.step(step, start / US, run.now / US)
    return run


def _dataload(run, step, begun):
    """Wait for the batch: LATE name what makes it late, with ns between two batches; in process: ns to load one."""
    run.timeline.range(
        "enumerate(DataLoader)#_SingleProcessDataLoaderIter.__next__"
        if run.program.strength("in process")
        else "enumerate(DataLoader)#_MultiProcessingDataLoaderIter.__next__",
        run.now / US,
        run.now / US,
    )
    with run.stage("dataload", "dataloader"):
        run.spend(run.drawn(40 * US, (step, "batch")))
        for fault in LATE:
            if period := run.program.strength(fault):
                ready = begun + round((step + 1) * period)
                run.spend(ready + run.drawn(300 * US, (step, "late")) - run.now)
                _load(run, step, fault, ready, round(period))
                if step == run.program.steps - 1:  # what the workers are at when the recording ends
                    for later in range(step + 1, step + LATE[fault][0]):
                        _load(run, later, fault, begun + round((later + 1) * period), round(period))
        for number in range(10):
            if ns := run.drawn(run.program.strength("in process") / 10, (step, "load", number)):
                with run.operator("aten::stack"):
                    run.spend(ns)


LATE = {
    "starved": (8, {"load_image": 0.3, "Mosaic": 0.25, "RandomPerspective": 0.25, "RandomHSV": 0.1, "collate": 0.1}),
    "few workers": (
        2,
        {"load_image": 0.3, "Mosaic": 0.25, "RandomPerspective": 0.25, "RandomHSV": 0.1, "collate": 0.1},
    ),
    "slow transform": (8, {"load_image": 0.15, "Mosaic": 0.05, "Blur": 0.7, "collate": 0.1}),
    "slow storage": (8, {"load_image": 0.8, "Mosaic": 0.05, "RandomPerspective": 0.1, "collate": 0.05}),
}
"""What makes batches late: how many workers there are, and what they spend their time on."""


def _load(run, step, fault, ready, period):
    """Draw what the worker did that had this batch ready."""
    workers, parts = LATE[fault]
    start = ready - workers * period
    run.timeline.loaded("fetch", start / US, ready / US, worker=step % workers)
    for part, share in parts.items():
        if part == "collate":
            run.timeline.loaded(part, (ready - workers * period * share) / US, ready / US, worker=step % workers)
            continue
        for image in range(4):
            ns = run.drawn(workers * period * share / 4 * 0.85, (step, part, image))
            run.timeline.loaded(part, start / US, (start + ns) / US, worker=step % workers)
            start += ns


def _preprocess(run, step):
    """Pageable, blocking, exposed: bytes copied to the device, one way or the other; aside: on a stream of its own."""
    side = SIDE if run.program.strength("aside") else COMPUTE
    with run.stage("preprocess"):
        with run.operator("aten::to"):
            run.spend(run.program.op_ns)
            run.copy("HtoD", 2_000_000, "pinned", stream=side)
        for fault, memory, api in (
            ("pageable", "pageable", ""),
            ("blocking", "pinned", "cudaMemcpy"),
            ("exposed", "pinned", ""),
            ("aside", "pinned", ""),
        ):
            if size := round(run.program.strength(fault)):
                with run.operator("aten::to"):
                    run.spend(run.program.op_ns)
                    stream = SIDE if fault == "aside" else COMPUTE
                    run.copy("HtoD", size, memory, stream=stream, waits=fault in ("pageable", "blocking"), api=api)
        name = "elementwise_kernel<128, 4, divide>"
        _compute(run, name, (step, "preprocess"), 0.3, after=run.free.get(side, 0))


def _compute(run, name, key, size=1.0, op="aten::mul", *, after=0):
    with run.operator(op):
        slow = 1 + run.program.strength("slow host")
        run.spend(run.drawn(run.program.op_ns * slow, (key, "host")))
        run.kernel(name, run.drawn(run.program.kernel_ns * size, (key, "kernel")), after=after)


FAST, SLOW = "sm80_xmma_fprop_implicit_gemm_f16f16_f16f32_tensorop_{}", "implicit_convolve_sgemm<float, float, {}>"
EXTRA = {
    "layout": "cudnn::ops::nchwToNhwcKernel<float>",
    "fills": "vectorized_elementwise_kernel<4, FillFunctor<float>>",
    "casts": "elementwise_kernel<direct_copy_kernel_cuda>",
}


def _convolution(run, key):
    """Fp32: so many times as long as on tensor cores; layout, fills, casts: ns of another kernel beside it."""
    slower = run.program.strength("fp32")
    name = (SLOW if slower else FAST).format(f"{key[1]}{key[2] % 4}")
    _compute(run, name, key, slower or 1.0, "aten::cudnn_convolution")
    for fault, name in EXTRA.items():
        if ns := run.drawn(run.program.strength(fault), (key, fault)):
            with run.operator("aten::copy_"):
                run.spend(run.program.op_ns)
                run.kernel(name, ns)


def _forward(run, step):
    """Tiny: kernels of 2 µs; reads: of one number each; dominant, allocations, loads: ns a step.

    Syncs, tables, sent tables: after which part of the operators the host waits, copies a table and waits, copies one.
    """
    program = run.program
    with run.stage("forward"):
        for number in range(program.ops):
            _convolution(run, (step, "forward", number))
            for _ in _turns(number, program.strength("syncs")):
                run.synchronize("cudaDeviceSynchronize")
            for fault, api in (("tables", "cudaMemcpy"), ("sent tables", "")):
                for _ in _turns(number, program.strength(fault)):
                    with run.operator("aten::to"):
                        run.spend(program.op_ns)
                        run.copy("HtoD", TABLE_BYTES, "pinned", waits=bool(api), api=api)
            for _ in _turns(number, round(program.strength("reads")) / program.ops):
                run.item()
        for number in range(round(program.strength("tiny"))):
            with run.operator("aten::add"):
                run.spend(run.drawn(program.op_ns, (step, "tiny", number)))
                run.kernel("vectorized_elementwise_kernel<4, AddFunctor>", 2 * US)
        if ns := run.drawn(program.strength("dominant"), (step, "dominant")):
            with run.operator("aten::softmax"):
                run.spend(program.op_ns)
                run.kernel("cunn_SoftMaxForward<8, float>", ns)
        if ns := run.drawn(program.strength("allocations"), (step, "allocations")):
            with run.operator("aten::empty"):
                run.call("cudaFree", ns + max(0, max(run.free.values()) - run.now), "allocation")
                run.call("cudaMalloc", ns, "allocation")
        if ns := run.drawn(program.strength("loads"), (step, "loads")):
            run.call("cuModuleLoadData", ns, "module_load")


TABLE_BYTES = 1 << 18


def _turns(number, rate):
    """Return a range as long as something that happens at a rate happens at one operator, spread evenly."""
    return range(math.floor((number + 1) * rate + 1e-9) - math.floor(number * rate + 1e-9))


def _loss(run, step):
    """Python: ns in no operator."""
    with run.stage("loss"):
        for number in range(4):
            _compute(run, f"elementwise_kernel<128, 4, loss {number}>", (step, "loss", number), 0.3)
        run.python(run.drawn(run.program.strength("python"), (step, "python")))


def _backward(run, step):
    """Exchange: ns of collectives a step, in four buckets, the last one after everything."""
    program = run.program
    with run.stage("backward"):
        run.python(10 * US)
        begun = run.now
        run.thread, stack = AUTOGRAD, run.cause
        run.cause = ["python"]
        for number in range(2 * program.ops):
            with run.operator("autograd::engine::evaluate_function: ConvolutionBackward0"):
                _convolution(run, (step, "backward", number))
            if program.ranks > 1 and number % (program.ops // 2) == program.ops // 2 - 1:
                with run.operator("c10d::allreduce_"):
                    run.spend(program.op_ns)
                    ns = program.exchange_ns + run.drawn(program.strength("exchange") / 4, (step, "comm", number))
                    name = "ncclDevKernel_AllReduce_Sum_f32_RING_LL(ncclDevComm*)"
                    run.kernel(name, ns, stream=COMM, after=run.free[COMPUTE])
        run.thread, run.cause = MAIN, stack
        run.host.append((MAIN, begun, run.now, "python"))
        run.python(10 * US)


def _optimizer(run, step):
    with run.stage("optimizer"):
        for number in range(4):
            with run.operator("aten::_foreach_add_"):
                run.spend(run.drawn(2 * run.program.op_ns, (step, "optimizer", number)))
                run.kernel(
                    "multi_tensor_apply_kernel<Adam>",
                    run.drawn(run.program.kernel_ns, (step, "adam", number)),
                    after=run.free.get(COMM, 0),
                )


def _between(run, step):
    """Logging: numbers formatted a step; validation, saving, plots, suppression: ns a step."""
    with run.stage("log"):
        run.python(30 * US)
        for _ in range(round(run.program.strength("logging"))):
            run.item()
            run.python(10 * US)
    for fault, stage, cause in (
        ("validation", "validate", "validation"),
        ("saving", "save", "save"),
        ("plots", "plot", "plot"),
        ("suppression", "nms", "python"),
    ):
        if ns := run.drawn(run.program.strength(fault), (step, fault)):
            with run.stage(stage, cause):
                with run.operator("aten::sort"):
                    run.spend(ns // 2)
                run.python(ns - ns // 2)
