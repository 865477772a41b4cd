"""What each module costs, from each of the three things that tell modules apart."""

import gzip
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tbperf
from tbperf.analyses.examine import examine
from tbperf.analyses.module_calls import called_modules, has_modules, time_modules
from tbperf.analyses.modules import sum_modules
from tbperf.render import render_text
from tbperf.report import report_on
from tbperf.trace.stages import module_name, own_stage
from tests.draw import Timeline

CORPUS = Path(__file__).parents[3] / "shared" / "corpus" / "kineto"
AUTOGRAD = (1, 2)
CONV, NORM = "[[2, 3, 8, 8], [16, 3, 3, 3], [16]]", "[[2, 16, 6, 6], [16], [16]]"


def costs(found):
    """Forward and backward by module, in µs."""

    def us(forward, backward):
        return forward / 1000, backward / 1000

    return {
        row.path: us(row.op_ns, row.backward_op_ns) if row.gpu_ns is None else us(row.gpu_ns, row.backward_gpu_ns)
        for row in found.rows
    }


def layer(timeline, name, start, end, *, sequence, kernel):
    """A layer that calls one operator, which launches one kernel."""
    timeline.range(f"tbperf/module:{name}", start, end)
    timeline.op("aten::conv2d", start + 1, end - 1, sequence=sequence)
    return timeline.kernel(*kernel, call=(start + 2, start + 3))


def backward(timeline, sequence, start, end, *, kernel=None, thread=AUTOGRAD):
    timeline.op("autograd::engine::evaluate_function: ConvBackward0", start, end, sequence=sequence, thread=thread)
    timeline.op("ConvBackward0", start + 1, end - 1, sequence=sequence, thread=thread)
    timeline.op("aten::convolution_backward", start + 2, end - 2, thread=thread)
    return timeline.kernel(*kernel, call=(start + 3, start + 4), thread=thread) if kernel else timeline


def model():
    """Two layers and a head with a part of its own; each forward and backward, and a loss in no layer."""
    timeline = Timeline().step(1, 0, 200).stage("forward", 0, 60).stage("backward", 60, 200)
    layer(timeline, "model.0 Conv (backbone)", 0, 10, sequence=1, kernel=(10, 15))
    layer(timeline, "model.1 C2f (neck)", 10, 20, sequence=2, kernel=(20, 27))
    timeline.range("tbperf/module:model.2 Detect (head)", 20, 50)
    layer(timeline, "model.2.cv2.0 Sequential (head)", 22, 32, sequence=3, kernel=(32, 43))
    timeline.op("aten::cat", 40, 45, sequence=4).kernel(50, 52, call=(41, 42))
    timeline.op("aten::sum", 51, 55, sequence=5).kernel(60, 63, call=(52, 53))
    for sequence, start, kernel in ((5, 70, 1), (4, 80, 2), (3, 90, 30), (2, 100, 20), (1, 110, 10)):
        backward(timeline, sequence, start, start + 9, kernel=(start + 40 * sequence, start + 40 * sequence + kernel))
    return timeline


def test_ranges_give_each_layer_its_forward_and_its_backward():
    found = sum_modules(model().trace())
    assert found.source == "ranges"
    assert costs(found) == {
        "model.0": (5, 10),
        "model.1": (7, 20),
        "model.2": (2, 2),
        "model.2.cv2.0": (11, 30),
        None: (4, 0),  # the loss, and its backward
    }
    assert [(row.path, row.kind, row.part, row.level, row.calls) for row in found.rows] == [
        ("model.0", "Conv", "backbone", 0, 1),
        ("model.1", "C2f", "neck", 0, 1),
        ("model.2", "Detect", "head", 0, 1),
        ("model.2.cv2.0", "Sequential", "head", 1, 1),
        (None, None, None, 0, 0),
    ]


def test_totals_hold_what_is_inside_and_shares_sum_to_one():
    found = sum_modules(model().trace())
    rows = {row.path: row for row in found.rows}
    assert (rows["model.2"].total_ns, rows["model.2"].total_backward_ns) == (45_000, 32_000)
    assert rows["model.2"].total_share == 45 / 91
    assert sum(row.share for row in found.rows) == pytest.approx(1)
    assert sum(row.total_share for row in found.rows if not row.level) == pytest.approx(1)
    assert [(part.part, part.total_ns, part.backward_ns) for part in found.parts] == [
        ("backbone", 15_000, 10_000),
        ("neck", 27_000, 20_000),
        ("head", 45_000, 32_000),
        (None, 4_000, 0),
    ]
    assert sum(part.share for part in found.parts) == pytest.approx(1)


def test_own_host_time_is_that_of_the_innermost_module_and_the_rest_of_the_steps_has_none():
    rows = {row.path: row.self_ns for row in sum_modules(model().trace()).rows}
    assert rows == {"model.0": 10_000, "model.1": 10_000, "model.2": 20_000, "model.2.cv2.0": 10_000, None: 150_000}


def test_without_a_gpu_the_time_in_operators_is_the_cost():
    timeline = Timeline().step(1, 0, 100)
    timeline.range("tbperf/module:model.0 Conv", 0, 10).op("aten::conv2d", 1, 8, sequence=1)
    timeline.range("tbperf/module:model.1 Conv", 10, 30).op("aten::conv2d", 11, 28, sequence=2)
    timeline.op("aten::sum", 30, 33, sequence=3)
    # On the CPU, backward runs on the thread that asks for it.
    for sequence, start, end in ((3, 40, 45), (2, 50, 70), (1, 70, 80)):
        backward(timeline, sequence, start, end, thread=(1, 1))
    timeline.op("aten::add_", 90, 94)
    found = sum_modules(timeline.trace())
    assert costs(found) == {"model.0": (7, 10), "model.1": (17, 20), None: (3 + 5 + 4, 0)}
    assert not found.parts
    assert {row.gpu_ns for row in found.rows} == {None}


def test_of_operators_with_one_number_the_last_one_made_the_node():
    timeline = Timeline().step(1, 0, 100)
    timeline.range("tbperf/module:model.0 Conv", 0, 20).op("aten::conv2d", 1, 8, sequence=1)
    # Makes no node, and carries the number of the next one, which the loss makes.
    timeline.op("aten::detach", 10, 12, sequence=2).op("aten::sum", 30, 33, sequence=2)
    backward(timeline, 2, 40, 50, kernel=(60, 70))
    backward(timeline, 1, 50, 60, kernel=(70, 75))
    assert costs(sum_modules(timeline.trace())) == {"model.0": (0, 5), None: (10, 0)}


def test_a_module_that_is_called_twice_and_one_inside_itself_are_counted_once_a_call():
    timeline = Timeline().step(1, 0, 100)
    for start in (0, 20):
        layer(timeline, "model.0 Shared", start, start + 10, sequence=1 + start, kernel=(start + 12, start + 15))
    timeline.range("tbperf/module:model.0 Shared", 40, 50).range("tbperf/module:model.0 Shared", 42, 48)
    (row, _) = sum_modules(timeline.trace()).rows
    assert (row.calls, row.self_ns, row.gpu_ns) == (4, 30_000, 6_000)


def test_ranges_of_modules_are_no_stages():
    trace = model().trace()
    assert set(trace.stage_names) == {"forward", "backward"}
    assert own_stage("tbperf/module:model.0 Conv") is None
    report = examine(trace)
    assert {row.stage for row in report.stages} == {"forward", "backward"}
    only_modules = layer(Timeline().step(1, 0, 50), "model.0 Conv", 0, 10, sequence=1, kernel=(10, 15)).trace()
    assert not only_modules.stage_names


def test_nsight_systems_knows_the_same_layers_without_their_backward(tmp_path):
    """Backward is tied by sequence numbers, which only ``emit_nvtx`` gives it."""
    (report,) = tbperf.analyze(model().nsys(tmp_path / "run.sqlite")).traces
    assert report.module_source == "ranges"
    assert [(row.path, row.gpu_ns, row.backward_gpu_ns) for row in report.modules] == [
        ("model.0", 5_000, 0),
        ("model.1", 7_000, 0),
        ("model.2", 2_000, 0),
        ("model.2.cv2.0", 11_000, 0),
        (None, 66_000, 0),
    ]
    assert {row.stage for row in report.stages} == {"forward", "backward"}


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("tbperf/module:model.22 Detect (head)", ("model.22", "Detect", "head")),
        ("tbperf/module:model.22.cv2.0 Sequential", ("model.22.cv2.0", "Sequential", None)),
        ("tbperf/module:fc", ("fc", None, None)),
        ("tbperf/module:", None),
        ("tbperf/forward", None),
        ("model.22 Detect", None),
    ],
)
def test_the_name_of_a_range_tells_path_class_and_part(name, read):
    assert module_name(name) == (None if read is None else (*read, "."))


def test_python_calls_come_before_ranges():
    timeline = model()
    timeline.python("nn.Module: Model_0", 0, 55).python("nn.Module: Conv_0", 0, 10).python(
        "nn.Module: Detect_0", 20, 50
    )
    found = sum_modules(timeline.trace())
    assert found.source == "python"
    assert costs(found) == {
        "Model_0": (7 + 3, 20 + 1),
        "Model_0/Conv_0": (5, 10),
        "Model_0/Detect_0": (11 + 2, 30 + 2),
        None: (0, 0),
    }
    assert called_modules(timeline.trace()).levels == (("Model_0",), ("Model_0", "Conv_0"), ("Model_0", "Detect_0"))


def shaped():
    """Two steps; in each two convolutions with weights of one shape, and a normalization of their own thread's."""
    timeline = Timeline().step(1, 0, 200).step(2, 200, 400)
    for step, base in enumerate((0, 200)):
        first = 10 * step
        for index, start in enumerate((base, base + 20)):
            timeline.op("aten::conv2d", start, start + 10, sequence=first + index, shapes=CONV)
            timeline.op("aten::convolution", start + 1, start + 9, sequence=first + index, shapes=CONV)
            timeline.kernel(start + 12, start + 13 + index, call=(start + 2, start + 3))
        timeline.op("aten::batch_norm", base + 40, base + 50, sequence=first + 2, shapes=NORM)
        timeline.kernel(base + 55, base + 58, call=(base + 41, base + 42))
        timeline.op("aten::relu", base + 60, base + 65, sequence=first + 3, shapes="[[2, 16, 6, 6]]")
        timeline.kernel(base + 66, base + 70, call=(base + 61, base + 62))
        for place, sequence in enumerate((3, 2, 1, 0)):
            start = base + 100 + 20 * place
            backward(timeline, first + sequence, start, start + 10, kernel=(start + 12, start + 15 + sequence))
    return timeline


def test_shapes_tell_operators_apart_by_their_weights_and_their_order_in_the_step():
    trace = shaped().trace()
    found = sum_modules(trace)
    assert found.source == "shapes"
    assert costs(found) == {
        "conv2d 16x3x3x3 (#1)": (2, 6),
        "conv2d 16x3x3x3 (#2)": (4, 8),
        "batch_norm 16": (6, 10),
        None: (8 + 12, 0),
    }
    assert [row.calls for row in found.rows] == [2, 2, 2, 0]
    assert called_modules(trace) is None


def test_without_steps_shapes_alone_tell_operators_apart():
    timeline = shaped()
    timeline.host = [row for row in timeline.host if row[0] != "user_annotation"]
    timeline.autograd = dict(enumerate(timeline.autograd.values()))
    timeline.host.sort(key=lambda row: row[0] != "cpu_op")
    assert costs(sum_modules(timeline.trace()))["conv2d 16x3x3x3"] == (6, 14)


@pytest.mark.parametrize(
    "shapes", ["", "[", "[[1]]", "{}", "[[1], 5]", '[[1], ["a"]]', "[[1], []]", "[[1], [[2], [3]]]"]
)
def test_shapes_that_tell_no_weight_tell_nothing(shapes):
    trace = Timeline().step(1, 0, 10).op("aten::conv2d", 0, 5, shapes=shapes).trace()
    assert time_modules(trace) is None
    assert not has_modules(trace)
    (skipped,) = [skipped for skipped in examine(trace).skipped if skipped.analysis == "modules"]
    assert "record with --shapes" in skipped.reason


@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 40), st.integers(0, 20), st.integers(1, 2)), max_size=12),
    st.lists(st.tuples(st.integers(0, 40), st.integers(0, 9), st.integers(-1, 4), st.integers(1, 2)), max_size=12),
    st.lists(st.tuples(st.integers(0, 60), st.integers(1, 9), st.integers(0, 40), st.integers(1, 2)), max_size=9),
    st.sampled_from(["ranges", "python", "shapes"]),
)
def test_every_nanosecond_has_one_module_or_none(modules, ops, kernels, source):
    timeline = Timeline().step(1, 0, 30).step(2, 30, 60)
    for number, start, length, thread in modules:
        if source == "ranges":
            path = ("model.0", "model.1", "model.1.cv1", "model.1.cv1.conv", "model.10", "x")[number]
            timeline.range(f"tbperf/module:{path} Any", start, start + length, thread=(1, thread))
        elif source == "python":
            timeline.python(f"nn.Module: Any_{number}", start, start + length, thread=(1, thread))
        else:
            timeline.op("aten::linear", start, start + length, thread=(1, thread), shapes=f"[[2], [3, {number + 1}]]")
    for start, length, sequence, thread in ops:
        name = "AddBackward0" if sequence % 2 else "aten::add"
        timeline.op(name, start, start + length, sequence=sequence, thread=(1, thread))
    for start, length, call, thread in kernels:
        timeline.kernel(start, start + length, call=(call, call + 1), thread=(1, thread))
    trace = timeline.trace()
    if not has_modules(trace):
        return
    found = sum_modules(trace)
    assert found.source == source
    own = [row.own_ns for row in found.rows]
    whole = sum(length * 1000 for _, length, _, _ in kernels)
    if kernels:
        assert sum(own) == whole
    assert all(value >= 0 for value in own)
    assert sum(row.total_ns for row in found.rows if not row.level) == sum(own)
    busy = {}
    for _, _, start, end, thread, _ in (row for row in timeline.host if row[0] == "cpu_op"):
        busy.setdefault(thread, set()).update(range(start, end))
    assert sum(row.op_ns + row.backward_op_ns for row in found.rows) == 1000 * sum(map(len, busy.values()))


def test_the_text_shows_parts_layers_and_what_has_no_module():
    text = render_text(report_on([examine(model().trace())]), sections=["modules"])
    cells = [line.split() for line in text.splitlines()]
    assert ["backbone", "0.01", "16.5", "0.01", "0.01"] in cells
    assert ["head", "0.04", "49.5", "0.01", "0.03"] in cells
    assert ["model.2", "Detect", "0.04", "49.5", "0.01", "0.03", "1"] in cells
    assert ["(in", "no", "module)", "0.00", "4.4"] in cells
    assert "Parts of the model, GPU work" in text
    assert "Modules are told apart by the ranges of tbperf record." in text


@pytest.fixture(scope="module")
def resnet():
    path = CORPUS / "resnet50-v100-torch1.9-loader-bound.pt.trace.json.gz"
    if not path.exists():
        pytest.skip("no ../shared/corpus here")
    return path


def test_a_public_trace_says_what_its_events_say_one_by_one(resnet):
    """ResNet-50 on a V100: 53 convolutions, 53 normalizations, one linear layer; the first two and the last by hand."""
    (report,) = tbperf.analyze(resnet).traces
    assert report.module_source == "shapes"
    assert len(report.modules) == 53 + 53 + 1 + 1
    events = [e for e in json.loads(gzip.decompress(resnet.read_bytes()))["traceEvents"] if e.get("ph") == "X"]
    ops = [e for e in events if e.get("cat") == "Operator"]
    launches = {e["args"]["correlation"]: e for e in events if e.get("cat") == "Runtime"}
    work = [e for e in events if e.get("cat") in {"Kernel", "Memcpy", "Memset"}]

    def inside(event, span):
        return str(event["tid"]) == str(span["tid"]) and span["ts"] <= event["ts"] < span["ts"] + span["dur"]

    def launched_in(spans):
        calls = [(e["dur"], launches.get(e["args"]["correlation"])) for e in work]
        return 1000 * sum(dur for dur, call in calls if call and any(inside(call, span) for span in spans))

    numbered = sorted((e for e in ops if "Sequence number" in e["args"]), key=lambda e: e["ts"])
    backward_ops = [e for e in numbered if "Backward" in e["name"]]
    last_of = {e["args"]["Sequence number"]: e for e in numbered if "Backward" not in e["name"]}
    for path, operator, weight in (
        ("conv2d 64x3x7x7", "aten::conv2d", [64, 3, 7, 7]),
        ("linear 1000x2048", "aten::linear", [1000, 2048]),
    ):
        calls = [e for e in ops if e["name"] == operator and e["args"]["Input Dims"][1] == weight]
        numbers = {number for number, last in last_of.items() if any(inside(last, call) for call in calls)}
        behind = [e for e in backward_ops if e["args"]["Sequence number"] in numbers]
        (row,) = [row for row in report.modules if row.path == path]
        assert row.calls == len(calls) == 6
        assert row.gpu_ns == launched_in(calls)
        assert row.backward_gpu_ns == launched_in(behind)
    assert sum(row.own_ns for row in report.modules) == 1000 * sum(event["dur"] for event in work)
    assert sum(row.share for row in report.modules) == pytest.approx(1)
