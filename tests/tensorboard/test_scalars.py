"""Scalars and Text: what stands in the event files, read back by TensorBoard itself."""

import json
import shutil
import sys
import warnings
from pathlib import Path

import pytest

import tbperf
from tbperf.errors import TbperfError
from tbperf.readers.run import LoggedStep, read_steps
from tbperf.tensorboard.exports import TENSORBOARD, export
from tbperf.tensorboard.scalars import joined, series_of_log, series_of_trace
from tests.draw import Timeline
from tests.readers.test_corpus import CORPUS

RUN = Path(__file__).parents[2] / "sample_traces" / "tbperf" / "0.1.0" / "yolov8n-train-cpu"


def by_tag(series):
    return {one.tag: dict(zip(one.step, one.value, strict=True)) for one in series}


@pytest.fixture(scope="module")
def events():
    """Read event files as TensorBoard does."""
    accumulators = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")

    def read(file):
        found = accumulators.EventAccumulator(str(file), size_guidance={"tensors": 0, "scalars": 0})
        found.Reload()
        return found

    return read


def test_the_device_of_each_step_busy_waiting_and_why():
    trace = (
        Timeline()
        .step(5, 0, 100)
        .stage("dataload", 0, 40)
        .kernel(50, 90, call=(45, 49))
        .step(6, 100, 200)
        .stage("dataload", 100, 160)
        .kernel(170, 190, call=(165, 168))
        .trace()
    )

    found = by_tag(series_of_trace(trace))

    assert found["tbperf/step_time_ms"] == {5: 0.1, 6: 0.1}
    assert found["tbperf/data_wait_ms"] == {5: 0.04, 6: 0.06}
    assert found["tbperf/gpu_busy_percent"] == {5: 40, 6: 20}
    # The window of the device begins with its first kernel.
    assert found["tbperf/idle_ms/dataloader"] == {5: 0, 6: 0.06}
    assert found["tbperf/idle_ms/launch"] == {5: 0, 6: 0.003}
    assert found["tbperf/idle_ms/queued"] == {5: 0, 6: 0.002}


def test_power_is_the_mean_of_the_samples_in_a_step():
    timeline = Timeline().step(1, 0, 100).step(2, 100, 200).kernel(10, 190)
    trace = timeline.sample(20, "power_watts", 100.0, device=0).sample(40, "power_watts", 200.0, device=0).trace()

    assert by_tag(series_of_trace(trace))["tbperf/power_watts"] == {1: 150.0}


def test_idle_by_cause_sums_to_the_idle_time_of_the_steps():
    if not CORPUS.is_dir():
        pytest.skip("no ../shared/corpus here")
    from tbperf.readers import file_source, read_trace

    name = "resnet50-v100-torch1.9-loader-bound.pt.trace.json.gz"
    trace = read_trace(file_source(CORPUS / "kineto" / name))
    found = by_tag(series_of_trace(trace))
    causes = [values for tag, values in found.items() if tag.startswith("tbperf/idle_ms/")]
    # The first and the last step reach beyond the window of the device, where there is no ledger.
    inner = sorted(found["tbperf/step_time_ms"])[1:-1]

    assert inner
    for step in inner:
        length, busy = found["tbperf/step_time_ms"][step], found["tbperf/gpu_busy_percent"][step] / 100
        assert sum(values[step] for values in causes) == pytest.approx(length * (1 - busy), abs=1e-6)


def test_the_log_of_all_steps_stands_for_the_few_of_the_trace():
    steps = [LoggedStep("train", n, 10**18 + n, 2_000_000 * (n + 1), {"dataload": 500_000}, 16) for n in (1, 0)]
    traced = list(series_of_trace(Timeline().step(1, 0, 100).kernel(10, 60).trace()))

    found = by_tag(joined(list(series_of_log(steps)), traced))

    assert found["tbperf/step_time_ms"] == {0: 2.0, 1: 4.0}
    assert found["tbperf/images_per_second"] == {0: 8000.0, 1: 4000.0}
    assert found["tbperf/data_wait_ms"] == {0: 0.5, 1: 0.5}
    assert found["tbperf/gpu_busy_percent"] == {1: 50.0}


def test_a_broken_line_of_the_log_hides_no_other(tmp_path):
    line = json.dumps({"phase": "train", "step": 0, "unix_ns": 1, "dur_ns": 2})
    (tmp_path / "steps.1_rank3.jsonl").write_text(f'{line}\n{{"phase": "tr')

    (step,) = read_steps(tmp_path)

    assert (step.phase, step.step, step.dur_ns, step.rank) == ("train", 0, 2, 3)


def test_a_recorded_run_shows_all_its_steps_and_its_report(tmp_path, events):
    shutil.copytree(RUN, tmp_path / "run")
    written = export(tmp_path / "run", [TENSORBOARD]).written
    train = events(next(file for file in written if file.parent.name == "train"))
    steps = [step for step in read_steps(RUN) if step.phase == "train"]

    scalars = {event.step: event.value for event in train.Scalars("tbperf/step_time_ms")}
    assert scalars == {step.step: pytest.approx(step.dur_ns / 1e6) for step in steps}
    (text,) = train.Tensors("tbperf/report")
    markdown = text.tensor_proto.string_val[0].decode()
    report = next(trace for trace in tbperf.analyze(RUN).traces if trace.phase == "train")
    assert report.operators[0].name in markdown.replace("\\", "")
    assert "<details>" not in markdown


def test_what_stands_there_stays(tmp_path):
    """A second export keeps the first; a file of the user's under its name is left alone, and one written beside it."""
    shutil.copytree(RUN, tmp_path / "run")
    first = export(tmp_path / "run", [TENSORBOARD])
    again = export(tmp_path / "run", [TENSORBOARD])

    assert again.kept == first.written
    assert not again.written
    shutil.rmtree(tmp_path / "run" / "plugins")
    mine = first.written[0]
    mine.write_text("mine")
    beside = export(tmp_path / "run", [TENSORBOARD]).written
    assert mine.read_text() == "mine"
    assert beside[0] != mine
    assert beside[0].is_file()


def test_hostile_names_are_text(tmp_path, events):
    hostile = "<img src=x onerror=alert(1)>|[x](javascript:1)"
    Timeline().step(1, 0, 100).op(hostile, 10, 60).kernel(20, 30, name=hostile, call=(12, 14)).write(
        tmp_path / "a.pt.trace.json"
    )
    (written,) = export(tmp_path, [TENSORBOARD]).written

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of what TensorBoard carries along
        from tensorboard import plugin_util  # what the dashboard makes of it

    (text,) = events(written).Tensors("tbperf/report")
    page = plugin_util.markdown_to_safe_html(text.tensor_proto.string_val[0])
    assert hostile.partition("|")[0].replace("<", "&lt;").replace(">", "&gt;") in page
    assert "<img" not in page
    assert "javascript:" not in page.replace("x](javascript:", "")
    assert "<table>" in page


@pytest.mark.parametrize(("broken", "said"), [(None, "not installed"), ("raise RuntimeError('no luck')", "no luck")])
def test_a_missing_or_broken_tensorboard_gives_one_line(tmp_path, monkeypatch, broken, said):
    for name in [name for name in sys.modules if name == "tensorboard" or name.startswith("tensorboard.")]:
        monkeypatch.delitem(sys.modules, name)
    if broken is None:
        monkeypatch.setitem(sys.modules, "tensorboard", None)
    else:
        (tmp_path / "tensorboard").mkdir()
        (tmp_path / "tensorboard" / "__init__.py").write_text(broken)
        monkeypatch.syspath_prepend(tmp_path)

    with pytest.raises(TbperfError, match=said) as caught:
        export(RUN, [TENSORBOARD], tmp_path / "out")

    assert caught.value.hint == "pip install 'tbperf[tensorboard]'"
