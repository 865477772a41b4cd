"""Recordings and reports in JSON are compared in any mix; what is neither is refused in one line."""

import json
from pathlib import Path

import pytest

from tbperf import analyze, compare
from tbperf.comparison import read_report
from tbperf.errors import TraceFormatError
from tbperf.readers.run import LOG_ROWS, read_logged_steps
from tbperf.render import render_json
from tests.comparison.runs import report, write_log
from tests.draw import Timeline

SAMPLE = Path(__file__).parents[2] / "sample_traces" / "tbperf" / "0.1.0" / "yolov8n-train-cpu"


def test_a_report_in_json_comes_back_as_it_was(tmp_path):
    made = analyze(SAMPLE)
    path = tmp_path / "report.json"
    path.write_text(render_json(made))

    assert read_report(path) == made


def test_a_recording_and_its_report_are_the_same(tmp_path):
    path = tmp_path / "report.json"
    path.write_text(render_json(analyze(SAMPLE)))

    found = compare(SAMPLE, path)

    rows = (*found.figures, *found.stages, *found.work)
    assert {row.change for row in rows} == {"noise"}
    assert found.stages
    assert not any(row.difference for row in found.stages)


def test_a_report_made_before_a_field_was_added_is_read(tmp_path):
    made = json.loads(render_json(report(1)))
    del made["logged_steps"]
    made["later"] = "unknown to this version"
    path = tmp_path / "report.json"
    path.write_text(json.dumps(made))

    assert read_report(path).logged_steps == ()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ('{"tbperf": "9", "schema": "tbperf-report/2"}', "its schema is 'tbperf-report/2'"),
        ('{"tbperf": "9", "schema": "tbperf-comparison/1"}', "its schema is 'tbperf-comparison/1'"),
        ('{"tbperf": "9", "schema": "tbperf-report/1"}', "not a whole report"),
        ('{"tbperf": "9", "verdict": ["cut sho', "not a whole report"),
        ('{"tbperf": 9}', "its schema is ''"),
        ('{"results": [1, 2, 3]}', "it holds no list of trace events"),
        ("", "the file is empty"),
    ],
)
def test_what_is_no_report_is_refused(tmp_path, content, says):
    path = tmp_path / "report.json"
    path.write_text(content)

    with pytest.raises(TraceFormatError) as refused:
        read_report(path)

    assert refused.value.message.startswith(f"{path}: ")
    assert says in refused.value.message
    assert refused.value.exit_code == 3


def test_several_paths_are_replicas():
    found = compare([SAMPLE, SAMPLE], SAMPLE)

    assert len(found.a.runs) == 2


def test_the_log_holds_unprofiled_steps_but_the_cold_ones(tmp_path):
    write_log(tmp_path / "steps.1.jsonl", [900, 900, 900, 100, 101, 102], stages={"forward": 60})
    write_log(tmp_path / "steps.2.jsonl", [500] * 9, profiler="active")

    (log,) = read_logged_steps(tmp_path)

    assert (log.process, log.steps, log.steps_per_row) == ("1", 3, 1)
    assert log.dur_ns == (100, 101, 102)
    assert log.stages == {"forward": (60, 60, 60)}
    assert log.images == (8, 8, 8)


def test_a_long_log_is_thinned_to_means(tmp_path):
    write_log(tmp_path / "steps.1.jsonl", [100, 200] * 500, first=3)

    (log,) = read_logged_steps(tmp_path)

    assert len(log.dur_ns) <= LOG_ROWS
    assert log.steps == 1000
    assert log.steps_per_row == 4
    assert set(log.dur_ns) == {150}


def test_a_log_that_was_cut_off_is_read_as_far_as_it_goes(tmp_path):
    path = tmp_path / "steps.1.jsonl"
    write_log(path, [100] * 20, first=3)
    path.write_bytes(path.read_bytes()[:-30] + b"\xff\x00{")

    (log,) = read_logged_steps(tmp_path)

    assert log.steps == 19


def test_no_log_is_no_error(tmp_path):
    assert read_logged_steps(tmp_path) == []
    assert read_logged_steps(tmp_path / "nowhere") == []


def test_drawn_traces_are_compared(tmp_path):
    paths = []
    for name, us in (("a", 10), ("b", 30)):
        timeline = Timeline()
        for step in range(20):
            at = step * 1000
            timeline.step(step, at, at + 990).stage("forward", at, at + 500)
            timeline.kernel(at + 100, at + 100 + us, name="gemm", call=(at + 50, at + 60))
        paths.append(timeline.write(tmp_path / f"{name}.json"))

    found = compare(*paths)

    assert [(row.name, row.change) for row in found.work if row.sort == "kernel"] == [("gemm", "more")]
    assert next(row for row in found.figures if row.name == "step_time").change == "noise"
