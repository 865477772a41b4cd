"""torch-tb-profiler 0.4.3 computes right figures of the copies."""

import gzip
import json
from collections import Counter

import pytest

import tbperf
from tbperf.tensorboard.exports import TORCH_TB, export
from tbperf.tensorboard.torch_tb import encode_torch_tb
from tests.draw import Timeline
from tests.readers.test_corpus import CORPUS
from tests.tensorboard.serving import tensorboard

API = "data/plugin/pytorch_profiler/"
TRACE = CORPUS / "kineto" / "owlv2-h100.json.gz"


@pytest.fixture(scope="module")
def report():
    if not TRACE.is_file():
        pytest.skip("no ../shared/corpus here")
    return tbperf.analyze(TRACE).traces[0]


@pytest.fixture(scope="module")
def old_tab(report, tmp_path_factory):
    """The plugin on the copy of owlv2-h100: a function that asks it."""
    pytest.importorskip("torch_tb_profiler", reason="no torch-tb-profiler (pip install 'tbperf[torch-tb]')")
    folder = tmp_path_factory.mktemp("torch-tb")
    export(TRACE, [TORCH_TB], folder)
    with tensorboard(folder) as served:
        (run,) = served.eventually(API + "runs", lambda answer: answer["runs"] and not answer["loading"])["runs"]
        assert run == "plugins/torch-tb-legacy"
        (worker,) = served.json(API + "workers", run=run, view="Overview")
        (span,) = served.json(API + "spans", run=run, worker=worker)

        def ask(path, view, **parameters):
            return served.json(API + path, run=run, worker=worker, span=span, view=view, **parameters)

        yield ask


def test_the_loader_takes_51_1_percent_of_the_step(old_tab, report):
    """The plugin itself says 0.0 % of the file as it was recorded, and advises a larger batch."""
    overview = old_tab("overview", "Overview")
    (average,) = overview["performance"]
    shares = {row["name"]: row["extra"] for row in average["children"]}

    assert shares["DataLoader"] == pytest.approx(51.1, abs=0.05)
    assert average["value"] == round(report.steps[0].dur_ns / 1000)
    assert sum(shares.values()) == pytest.approx(100, abs=0.05)
    assert "51.1% of the step time is in DataLoader" in overview["recommendations"]


def test_each_step_is_counted_once(old_tab, report):
    steps = old_tab("overview", "Overview")["steps"]["rows"]

    assert [row[0] for row in steps] == [str(step.step) for step in report.steps]


def test_operators_have_their_device_time(old_tab, report):
    rows = old_tab("operation/table", "Operator", group_by="Operation")["data"]
    found = {row["name"]: row["device_self_duration"] for row in rows if row["device_self_duration"]}
    expected = {row.name: row.gpu_ns / 1000 for row in report.operators if row.gpu_ns}

    assert found.keys() == expected.keys()
    assert all(found[name] == pytest.approx(expected[name], abs=1) for name in found)


def test_kernels_by_name_and_by_operator_equal_the_report(old_tab, report):
    expected = {kernel.name: (kernel.calls, kernel.total_ns) for kernel in report.kernels}
    by_name = _kernels(old_tab("kernel/table", "Kernel", group_by="Kernel"))
    by_operator = _kernels(old_tab("kernel/table", "Kernel", group_by="KernelNameAndOpName"))

    assert by_name.keys() == by_operator.keys() == expected.keys()
    for name, (calls, total_ns) in expected.items():
        for found in (by_name, by_operator):  # rounded to microseconds, in some tables row by row
            assert found[name] == (calls, pytest.approx(total_ns / 1000, abs=1))


def _kernels(table):
    names = [column["name"] for column in table["data"]["columns"]]
    calls, totals = Counter(), Counter()
    for values in table["data"]["rows"]:
        row = dict(zip(names, values, strict=True))
        calls[row["Name"]] += row["Calls"]
        totals[row["Name"]] += row["Total Duration (us)"]
    return {name: (calls[name], totals[name]) for name in calls}


# What is written.


def _events(trace):
    copy = json.loads(b"".join(encode_torch_tb(trace)))
    assert list(copy)[-1] == "traceEvents"  # the plugin appends to the file at its last bracket
    return copy["traceEvents"]


def test_calls_and_kernels_point_to_the_operator_that_made_them():
    trace = (
        Timeline().step(1, 0, 100).op("aten::conv2d", 10, 60).op("aten::copy_", 20, 40).kernel(45, 50, call=(25, 30))
    ).trace()
    events = {event["name"]: event for event in _events(trace)}

    caller = events["aten::copy_"]["args"]["External id"]
    assert events["cudaLaunchKernel"]["cat"] == "Runtime"
    assert events["cudaLaunchKernel"]["args"]["External id"] == events["k"]["args"]["External id"] == caller
    assert events["ProfilerStep#1"]["cat"] == "cpu_op"


def test_the_recorders_own_stage_counts_as_the_loader_and_the_others_as_nothing():
    trace = Timeline().step(1, 0, 100).stage("dataload", 0, 50).stage("forward", 50, 90).trace()
    categories = {event["name"]: event["cat"] for event in _events(trace)}

    assert categories["enumerate(DataLoader)#tbperf/dataload.__next__"] == "cpu_op"
    assert categories["tbperf/forward"] == "annotation"


def test_the_recorders_ranges_of_modules_are_what_the_module_view_looks_for():
    timeline = Timeline().range("tbperf/module:model.2 Detect (head)", 0, 50)
    timeline.range("tbperf/module:model.2.cv2 Conv (head)", 5, 45)
    calls = [e for e in _events(timeline.trace()) if e["cat"] == "python_function"]

    assert [e["name"] for e in calls] == ["nn.Module: model.2 Detect (head)", "nn.Module: model.2.cv2 Conv (head)"]
    assert calls[1]["args"]["Python parent id"] == calls[0]["args"]["Python id"]


def test_nanoseconds_are_kept():
    trace = Timeline().op("aten::add", 1.001, 2.345).trace()
    (event,) = _events(trace)

    assert (event["ts"], event["dur"]) == (1.001, 1.344)


def test_an_exported_copy_is_no_trace_of_the_run(tmp_path):
    """`tbperf analyze` of the folder must not count it a second time."""
    Timeline().op("aten::add", 0, 10).write(tmp_path / "a.pt.trace.json")
    (copy,) = export(tmp_path, [TORCH_TB]).written

    assert json.loads(gzip.decompress(copy.read_bytes()))["traceEvents"]
    assert len(tbperf.analyze(tmp_path).traces) == 1
