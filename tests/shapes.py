"""Traces that are as large as one likes in one respect: many devices, deep nests, names that never repeat.

Whatever a trace looks like, ten times the events may take about ten times the work.  The tests and the benchmark
``scaling`` draw the same shapes from here: those of `DRAWN` as torch's profiler and as Nsight Systems would write them,
those of `WRITTEN` as text of the first alone, for some are no JSON.
"""

import json

from tests.draw import Timeline

DRAWN = {}
"""By name: a function that draws a timeline of about so many events."""
WRITTEN = {}
"""By name: a function that returns the text of a trace of about so many events."""
STAGE_FROM = {"ranges_as_stages": r"iter (\d+)"}
"""The pattern by which the ranges of a shape are stages."""


def _drawn(draw):
    def drawn(size):
        timeline = Timeline()
        draw(timeline, size)
        return timeline

    DRAWN[draw.__name__] = drawn
    return draw


def _written(write):
    WRITTEN[write.__name__] = write
    return write


def write(shape, size, path):
    """Write a shape as torch's profiler would, and return the path."""
    text = WRITTEN[shape](size) if shape in WRITTEN else json.dumps(DRAWN[shape](size).kineto())
    path.write_text(text, encoding="utf-8")
    return path


def _ends(draw, size):
    """Give the device something to do at both ends."""
    draw.kernel(0, 1).kernel(2 * size, 2 * size + 1)


# Devices, streams, threads.


@_drawn
def streams(draw, size):
    for i in range(size):
        draw.kernel(2 * i + 1, 2 * i + 51, stream=i, call=(2 * i, 2 * i + 1))


@_drawn
def streams_and_waits(draw, size):
    for i in range(size):
        draw.kernel(2 * i + 1, 2 * i + 51, stream=i, call=(2 * i, 2 * i + 1))
        if i % 64 == 0:
            draw.call("cudaDeviceSynchronize", 2 * i + 1.2, 2 * i + 1.8)


@_drawn
def devices(draw, size):
    for i in range(size):
        draw.kernel(2 * i + 1, 2 * i + 51, device=i, call=(2 * i, 2 * i + 1))
        draw.kernel(2 * i + 90, 2 * i + 95, device=i)


@_drawn
def devices_in_steps(draw, size):
    for i in range(size):
        draw.step(i, 10 * i, 10 * i + 9)
        draw.copy("HtoD", 10 * i + 3, 10 * i + 5, device=i, memory="pageable", call=(10 * i + 1, 10 * i + 5))
        draw.kernel(10 * i + 6, 10 * i + 8, device=i)


@_drawn
def threads(draw, size):
    for i in range(size):
        draw.op("aten::add", i, i + 5, thread=(i, i))
    for i in range(10):
        draw.kernel(2 * i, 2 * i + 1)


@_drawn
def threads_that_launch(draw, size):
    for i in range(size):
        draw.kernel(10 * i + 5, 10 * i + 8, call=(10 * i, 10 * i + 2), thread=(i, i))


@_drawn
def threads_of_everything(draw, size):
    for i in range(size):
        thread = (i, i)
        draw.stage(f"stage {i % 7}", 10 * i, 10 * i + 9, thread=thread)
        draw.op("ConvolutionBackward0", 10 * i, 10 * i + 8, thread=thread, sequence=i)
        draw.python("train.py(3): step", 10 * i, 10 * i + 8, thread=thread)
        draw.python("nn.Module: Conv_0", 10 * i, 10 * i + 8, thread=thread)
        draw.call("cudaStreamSynchronize", 10 * i + 4, 10 * i + 6, thread=thread)
        draw.kernel(10 * i + 5, 10 * i + 8, call=(10 * i, 10 * i + 2), thread=thread)


@_drawn
def threads_of_autograd(draw, size):
    draw.stage("backward", 0, 10 * size)
    for i in range(size):
        draw.op("ConvolutionBackward0", 10 * i, 10 * i + 8, thread=(1, i + 2), sequence=i)
    _ends(draw, 5 * size)


@_drawn
def threads_of_loaders(draw, size):
    draw.op("aten::add", 0, size)
    for i in range(size):
        draw.loaded("fetch", i, i + 50, worker=i)
    draw.kernel(0, 1)


# Nests.


@_drawn
def nested_operators(draw, size):
    for i in range(size):
        draw.op(f"aten::op{i % 50}", i, 2 * size - i)
    _ends(draw, size)


@_drawn
def nested_stages(draw, size):
    for i in range(size):
        draw.stage(f"s{i % 50}", i, 2 * size - i)
    _ends(draw, size)


@_drawn
def nested_python(draw, size):
    for i in range(size):
        draw.python(f"a.py({i % 50}): f", i, 2 * size - i)
    _ends(draw, size)


@_drawn
def nested_modules(draw, size):
    for i in range(size):
        draw.python(f"nn.Module: Conv_{i}", i, 2 * size - i)
    _ends(draw, size)


@_drawn
def nested_module_ranges(draw, size):
    for i in range(size):
        draw.range(f"tbperf/module:m.{i} C", i, 2 * size - i)
    _ends(draw, size)


@_drawn
def nested_ranges_that_launch(draw, size):
    for i in range(size):
        draw.range(f"range {i}", i, 4 * size - i)
        draw.kernel(2 * size + 2 * i, 2 * size + 2 * i + 1, call=(size + i, size + i + 0.5))


@_drawn
def ranges_closed_under_calls(draw, size):
    for i in range(size):
        draw.range(f"range {i % 9}", i, 2 * size + 0.5)
        draw.kernel(size + 2 * i + 2, size + 2 * i + 3, call=(size + i, size + i + 1.7))


@_drawn
def operators_that_cross(draw, size):
    for i in range(size):
        draw.op("aten::add", i, i + size)
    _ends(draw, size)


@_drawn
def operators_that_end_together(draw, size):
    for _ in range(size):
        draw.op("aten::add", 0, 1000)
    draw.kernel(0, 1).kernel(900, 901)


# Modules.


@_drawn
def module_ranges(draw, size):
    for i in range(size):
        draw.range(f"tbperf/module:m.{i} C", 2 * i, 2 * i + 1)
    _ends(draw, size)


@_drawn
def modules_side_by_side(draw, size):
    draw.python("nn.Module: Model_0", 0, 10 * size)
    for i in range(size):
        draw.python(f"nn.Module: Conv_{i}", 10 * i, 10 * i + 9)
        draw.op("aten::conv2d", 10 * i + 1, 10 * i + 8)
        draw.kernel(10 * i + 4, 10 * i + 8, call=(10 * i + 2, 10 * i + 3))


@_drawn
def modules_by_shapes(draw, size):
    for i in range(size):
        draw.op("aten::conv2d", 10 * i, 10 * i + 5, shapes=f"[[{i}, 3, 64, 64], [{i}, 3, 3, 3]]")
    draw.kernel(0, 1)


# Steps and stages.


@_drawn
def steps(draw, size):
    for i in range(size):
        draw.step(i, 10 * i, 10 * i + 9)
        draw.kernel(10 * i + 2, 10 * i + 5)


@_drawn
def steps_that_overlap(draw, size):
    for i in range(size):
        draw.step(i, i, i + size)
        draw.kernel(2 * i, 2 * i + 1)


@_drawn
def steps_in_steps(draw, size):
    for i in range(size):
        draw.step(i, i, 2 * size - i)
        draw.kernel(2 * i, 2 * i + 1)


@_drawn
def steps_of_one_number(draw, size):
    for i in range(size):
        draw.step(1, 0, 1000)
        draw.kernel(2 * i, 2 * i + 1)


@_drawn
def stages(draw, size):
    for i in range(size):
        draw.stage(f"st{i}", 10 * i, 10 * i + 9)
        draw.kernel(10 * i + 2, 10 * i + 5)


@_drawn
def stages_of_everything(draw, size):
    for i in range(size):
        draw.stage(f"st{i}", 20 * i, 20 * i + 19)
        draw.op(f"aten::op{i}", 20 * i + 1, 20 * i + 9, shapes=f"[[{i}]]")
        draw.kernel(20 * i + 10, 20 * i + 12, name=f"kernel{i}", call=(20 * i + 2, 20 * i + 4))
        draw.copy("HtoD", 20 * i + 13, 20 * i + 15, size=i, memory="pinned", call=(20 * i + 5, 20 * i + 7))
        draw.call("cudaDeviceSynchronize", 20 * i + 8, 20 * i + 9)
        draw.allocation(20 * i + 1, 1, allocated=i, reserved=i)


@_drawn
def stages_in_steps(draw, size):
    for i in range(size):
        draw.step(i, 100 * i, 100 * i + 99)
        for k in range(10):
            draw.stage(f"st{i}_{k}", 100 * i + 9 * k, 100 * i + 9 * k + 8)
        draw.kernel(100 * i + 2, 100 * i + 5)


@_drawn
def same_stages_in_steps(draw, size):
    names = [f"stage {k}" for k in range(max(1, size // 30))]
    for i in range(size):
        draw.step(i, 100 * i, 100 * i + 99)
        draw.stage(names[i % len(names)], 100 * i, 100 * i + 8)
        draw.kernel(100 * i + 2, 100 * i + 5, call=(100 * i, 100 * i + 1))


@_drawn
def ranges_as_stages(draw, size):
    for i in range(size):
        draw.range(f"iter {i}", 10 * i, 10 * i + 9)
        draw.kernel(10 * i + 2, 10 * i + 5)


@_drawn
def batches(draw, size):
    for i in range(size):
        draw.step(i, 1000 * i, 1000 * i + 999)
        draw.stage("dataload", 1000 * i, 1000 * i + 700)
        draw.loaded("fetch", 1000 * i, 1000 * i + 600, worker=i % 4)
        draw.kernel(1000 * i + 710, 1000 * i + 720, call=(1000 * i + 701, 1000 * i + 705))


@_drawn
def loader_works(draw, size):
    for i in range(size):
        draw.op("aten::add", 10 * i, 10 * i + 5)
        draw.loaded(f"transform {i}", 10 * i, 10 * i + 5, worker=i % 4)
    draw.kernel(0, 1)


# Names.


@_drawn
def kernel_names(draw, size):
    for i in range(size):
        draw.kernel(10 * i + 2, 10 * i + 5, name=f"kernel_{i}_" + "x" * 60)


@_drawn
def operator_names(draw, size):
    for i in range(size):
        draw.op(f"aten::op_{i}", 10 * i, 10 * i + 5)
    draw.kernel(0, 1)


@_drawn
def collective_names(draw, size):
    for i in range(size):
        draw.kernel(10 * i + 3, 10 * i + 8, name=f"ncclKernel_{i}", device=i % 5)


@_drawn
def call_names(draw, size):
    for i in range(size):
        draw.call(f"cudaStreamSynchronize_{i}", 10 * i, 10 * i + 8).call(f"cudaMalloc_{i}", 10 * i + 8, 10 * i + 9)
    _ends(draw, 5 * size)


@_drawn
def shapes(draw, size):
    for i in range(size):
        draw.op("aten::conv2d", 10 * i, 10 * i + 5, shapes=f"[[{i}, 3, 64, 64], [16, 3, 3, 3]]")
    draw.kernel(0, 1)


# Calls and work.


@_drawn
def synchronizations(draw, size):
    for i in range(size):
        draw.call("cudaDeviceSynchronize", 10 * i, 10 * i + 8).kernel(10 * i + 5, 10 * i + 8)


@_drawn
def synchronizations_under_long_work(draw, size):
    draw.kernel(1, 20 * size, stream=9, call=(0, 1))
    for i in range(size):
        draw.kernel(10 * i + 5, 10 * i + 8, call=(10 * i + 2, 10 * i + 3))
        draw.call("cudaStreamSynchronize", 10 * i + 4, 10 * i + 9)


@_drawn
def work_longer_than_its_synchronizations(draw, size):
    for i in range(size):
        draw.kernel(10 * i + 5, 20 * size + i, stream=i % 8, call=(10 * i + 2, 10 * i + 3))
        draw.call("cudaStreamSynchronize", 10 * i + 4, 10 * i + 9)


@_drawn
def allocations(draw, size):
    for i in range(size):
        draw.call("cudaMalloc", 10 * i, 10 * i + 8).kernel(10 * i + 5, 10 * i + 8)


@_drawn
def copies(draw, size):
    for i in range(size):
        draw.copy("HtoD", 10 * i + 5, 10 * i + 8, memory="pageable", size=i, call=(10 * i, 10 * i + 8))


@_drawn
def kernels_that_overlap(draw, size):
    for i in range(size):
        draw.kernel(i + 1, i + 1 + size, stream=i % 100, call=(i, i + 0.5))


@_drawn
def collectives(draw, size):
    for i in range(size):
        name = "ncclDevKernel_AllReduce_Sum_f32_RING_LL"
        draw.kernel(10 * i + 3, 10 * i + 8, name=name, call=(10 * i, 10 * i + 2))


@_drawn
def work_that_waits_for_streams(draw, size):
    for i in range(size):
        draw.kernel(10 * i + 3, 10 * i + 53, stream=i % 50, call=(10 * i, 10 * i + 2))


@_drawn
def overheads(draw, size):
    for i in range(size):
        draw.overhead("Buffer Flush", 10 * i, 10 * i + 8).kernel(10 * i + 5, 10 * i + 8)


@_drawn
def gaps_under_python(draw, size):
    for i in range(size):
        draw.python(f"train.py({i}): line", 10 * i, 10 * i + 9)
        draw.kernel(10 * i + 5, 10 * i + 6, call=(10 * i + 2, 10 * i + 3))


@_drawn
def backward_of_one_number(draw, size):
    for i in range(size):
        draw.op("aten::conv", 10 * i, 10 * i + 5, sequence=1)
        draw.op(
            "autograd::engine::evaluate_function: ConvBackward0",
            10 * (size + i),
            10 * (size + i) + 5,
            thread=(1, 2),
            sequence=1,
        )
    draw.kernel(0, 1)


@_drawn
def memory_of_devices(draw, size):
    for i in range(size):
        draw.allocation(i, 1, allocated=i, reserved=i, device=i)
    draw.kernel(0, 1)


# What only torch's profiler writes, and what is broken.


def _document(events):
    return json.dumps({"traceEvents": events})


def _complete(category, name, start, end, *, thread=(1, 1), **args):
    pid, tid = thread
    event = {"ph": "X", "cat": category, "name": name, "pid": pid, "tid": tid, "ts": start, "dur": end - start}
    return event | {"args": args}


def _kernel(start, end, *, name="k", stream=7, device=0, correlation=0):
    args = {"device": device, "stream": stream, "correlation": correlation}
    return _complete("kernel", name, start, end, thread=(device, stream), **args)


@_written
def one_correlation_id(size):
    calls = [_complete("cuda_runtime", "cudaLaunchKernel", 10 * i, 10 * i + 2, correlation=1) for i in range(size)]
    return _document(calls + [_kernel(10 * i + 5, 10 * i + 8, correlation=1) for i in range(size)])


@_written
def names_of_threads(size):
    names = [{"ph": "M", "name": "thread_name", "pid": i, "tid": i, "args": {"name": f"t{i}"}} for i in range(size)]
    return _document([*names, _kernel(0, 1)])


@_written
def waits_between_streams(size):
    events = []
    for i in range(size):
        events.append(_complete("cuda_runtime", "cudaLaunchKernel", 10 * i, 10 * i + 2, correlation=2 * i + 1))
        events.append(_kernel(10 * i + 3, 10 * i + 53, stream=i % 50, correlation=2 * i + 1))
        where = {"stream": i % 50, "correlation": 2 * i + 2}
        events.append(_complete("cuda_sync", "Stream Wait Event", 10 * i + 3, 10 * i + 4, thread=(0, i % 50), **where))
    return _document(events)


@_written
def begins_and_ends(size):
    halves = [
        {"ph": phase, "cat": "cpu_op", "name": f"aten::op{i}", "pid": 1, "tid": 1, "ts": at}
        for i in range(size)
        for phase, at in (("B", i), ("E", 2 * size - i))
    ]
    return _document([*halves, _kernel(0, 1)])


@_written
def quotes_in_names(size):
    """Each name holds a quote that nobody escaped."""
    return _broken(size, 'say "hello" twice')


@_written
def quotes_that_pair_up(size):
    return _broken(size, 'a "b')


@_written
def backslashes_in_names(size):
    return _broken(size, "C:\\new\\users")


@_written
def events_without_a_name(size):
    text = _broken(size, "k")
    return text.replace('"name": "k", ', '"name": , ')


@_written
def events_that_open_and_never_close(size):
    events = ",\n".join(f'{{"ph": "X", "cat": "kernel", "args": {{"at": {i}' for i in range(size))
    return f'{{"traceEvents": [\n{events}\n]}}'


@_written
def lists_in_lists(size):
    return _document([_kernel(0, 1), {**_kernel(5, 6), "args": {"deep": 0}}]).replace(
        "0}", "[" * size + "]" * size + "}"
    )


def _broken(size, name):
    events = ",\n".join(
        f'{{"ph": "X", "cat": "kernel", "name": "{name}", "pid": 0, "tid": 7, "ts": {10 * i}, "dur": 5,'
        f' "args": {{"device": 0, "stream": 7}}}}'
        for i in range(size)
    )
    return f'{{"traceEvents": [\n{events}\n]}}'


@_written
def one_name_of_punctuation(size):
    return _document([_kernel(0, 1, name="/" * 10 * size), _kernel(5, 6)])


@_written
def one_name_of_a_module(size):
    path = ".".join("m" * (10 * size // 2))
    return _document([_complete("user_annotation", f"tbperf/module:{path} Conv", 0, 1), _kernel(5, 6)])


@_written
def one_name_of_letters(size):
    return _document([_kernel(0, 1, name="x" * 100 * size), _complete("cpu_op", "aten::" + "a_" * 50 * size, 0, 1)])
