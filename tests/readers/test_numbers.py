"""Numbers that cannot be are left out, counted and said: never computed with, never the end of the report."""

import json
import shutil
import sqlite3
from pathlib import Path

import pytest

import tbperf
from tbperf.analyses import examine
from tbperf.errors import TraceFormatError
from tbperf.readers import find_traces, read_trace
from tbperf.readers.bounds import plain
from tbperf.render import render_json
from tbperf.trace import LONGEST_TEXT
from tests.draw import Timeline
from tests.readers.test_nsys import export

ROOT = Path(__file__).parents[2]
RUN = ROOT / "sample_traces/tbperf/0.1.0/yolov8n-train-workers-cpu"
HUGE = (10**30, 2**63, -(2**63), float("nan"), -float("inf"), 1e300)
ODD = (None, True, "words", [1], {"a": 1}, "9" * 5000)


def trace_of(tmp_path, document):
    path = tmp_path / "t.json"
    path.write_text(json.dumps(document))
    report = tbperf.analyze(path)
    assert json.loads(render_json(report))["traces"]
    return report.traces[0]


def drawn():
    return (
        Timeline()
        .step(1, 0, 100)
        .kernel(10, 30, call=(1, 4))
        .copy("HtoD", 40, 50, call=(33, 35))
        .kernel(60, 70)
        .op("aten::add", 1, 5)
        .allocation(3, 64, allocated=64)
        .kineto()
    )


@pytest.mark.parametrize("field", ["ts", "dur", "pid", "tid", "name", "cat", "args"])
def test_a_field_of_an_event_may_be_anything(tmp_path, field):
    for value in (*HUGE, *ODD):
        document = drawn()
        for event in document["traceEvents"][:2]:
            event[field] = value

        trace = trace_of(tmp_path, document)

        (device,) = [device for device in trace.devices if device.device == 0]
        assert device.kernels >= 1, value
        assert device.window_ns <= 100_000, value


@pytest.mark.parametrize("field", ["device", "stream", "correlation", "bytes", "grid", "block", "Sequence number"])
def test_an_argument_of_an_event_may_be_anything(tmp_path, field):
    for value in (*HUGE, *ODD):
        document = drawn()
        for event in document["traceEvents"]:
            event.setdefault("args", {})[field] = value

        trace = trace_of(tmp_path, document)

        assert sum(device.kernels for device in trace.devices) == 2, value
        assert all(0 <= (copy.bytes or 0) < 1 << 50 for copy in trace.memcpy), value


@pytest.mark.parametrize(
    "key", ["deviceProperties", "distributedInfo", "baseTimeNanoseconds", "tbperf", "cuda_runtime_version", "traceName"]
)
def test_what_stands_beside_the_events_may_be_anything(tmp_path, key):
    for value in (*HUGE, *ODD):
        inside = {
            "deviceProperties": [{"id": value, "name": value, "totalGlobalMem": value, "numSms": value}],
            "distributedInfo": {"rank": value, "world_size": value},
            "tbperf": dict.fromkeys(("phase", "pid", "batch", "prefetch", "visible_devices", "threads"), value),
        }
        for form in (value, inside[key]) if key in inside else (value,):
            trace = trace_of(tmp_path, drawn() | {key: form})
            assert trace.rank is None or 0 <= trace.rank < 1 << 20
            assert trace.world_size is None or 0 <= trace.world_size < 1 << 20


@pytest.mark.parametrize("number", ["99999999999999999999", "1" * 5000, "-1", "٣"])
def test_a_step_whose_number_cannot_be_is_dropped_and_counted(tmp_path, number):
    document = drawn()
    document["traceEvents"].append(
        {"ph": "X", "cat": "user_annotation", "name": f"ProfilerStep#{number}", "pid": 1, "tid": 1, "ts": 100, "dur": 9}
    )

    trace = trace_of(tmp_path, document)

    assert trace.dropped == {"step_number_out_of_range": 1}
    assert [step.step for step in trace.steps] == [1]


def test_sizes_that_cannot_be_are_unknown_and_said(tmp_path):
    document = drawn()
    for event in document["traceEvents"]:
        event.get("args", {})["bytes"] = 2**62

    trace = trace_of(tmp_path, document)

    assert all(copy.bytes is None or copy.bytes <= 0 for copy in trace.memcpy)
    assert any("values that cannot be are read as unknown: bytes (3)" in note for note in trace.notes)


def test_a_value_of_any_shape_becomes_one_that_a_report_can_hold():
    deep = []
    for _ in range(5000):
        deep = [deep]
    found = plain({"a": 10**30, "b": float("nan"), "c": "\ud800", "d": deep, "e": [True, 2**63 - 1, "x" * 70_000]})

    assert (found["a"], found["b"], found["c"]) == (None, None, "?")
    assert found["e"][:2] == [True, 2**63 - 1]
    assert len(found["e"][2]) == LONGEST_TEXT
    json.dumps(found)


def test_lone_surrogates_reach_no_report(tmp_path):
    document = drawn() | {"tbperf": {"phase": "\ud800"}, "deviceProperties": [{"id": 0, "name": "\udfff"}]}
    for event in document["traceEvents"]:
        event["name"] += " \ud800"
    for name in ("thread_name", "process_name"):
        document["traceEvents"].append({"ph": "M", "name": name, "pid": 1, "tid": 1, "args": {"name": "\ud800"}})
    document["traceEvents"].append(dict(document["traceEvents"][0], pid="\ud800", tid="\udc00", cat="cpu_op"))

    trace = trace_of(tmp_path, document)

    assert trace.gpus[0].name == "?"


# Run folders


@pytest.fixture
def run(tmp_path):
    """A copy of a sample, with its first trace only."""
    folder = tmp_path / "run"
    shutil.copytree(RUN, folder)
    for path in sorted((folder / "trace").iterdir())[1:]:
        path.unlink()
    return folder


def edited(path, at, change):
    lines = path.read_text().splitlines()
    found = change(json.loads(lines[at]))
    lines[at] = found if isinstance(found, str) else json.dumps(found)
    path.write_text("\n".join(lines) + "\n")


def first_trace(folder):
    report = tbperf.analyze(folder)
    render_json(report)
    return report.traces[0]


STEP_VALUES = (
    *(("dur_ns", 10**30), ("unix_ns", 10**30), ("unix_ns", -1), ("dur_ns", -5), ("step", 10**30), ("step", -1)),
    *(("stages", {"x": 10**30}), ("images", 10**30), ("images", -1), ("cpu_ns", 10**30), ("dur_ns", "1"), ("phase", 5)),
    *(("dur_ns", 86_400 * 10**9 + 1), ("stages", []), ("dur_ns", 1.5), ("main_queued_ns", -1), ("dur_ns", None)),
)


@pytest.mark.parametrize(("key", "value"), STEP_VALUES, ids=str)
def test_a_line_of_the_step_log_that_cannot_be_is_dropped_and_counted(run, key, value):
    (log,) = run.glob("steps.*.jsonl")
    whole = first_trace(run)
    edited(log, 5, lambda line: line | {key: value})

    trace = first_trace(run)

    assert trace.dropped == {"broken_line_of_the_step_log": 1}
    assert len(trace.steps) == len(whole.steps)


@pytest.mark.parametrize("line", ["", "[]", "null", "[[[[", "[" * 5000, "\x00", '{"phase": "train"}', "ÿ"])
def test_lines_that_are_none_hide_no_others(run, line):
    (log,) = run.glob("steps.*.jsonl")
    steps = tbperf.analyze(run).logged_steps[0].steps
    edited(log, 4, lambda _line: line)
    edited(run / "hardware.jsonl", 3, lambda _line: line)

    report = tbperf.analyze(run)

    assert report.logged_steps[0].steps == steps - 1
    expected = {} if not line else {"broken_line_of_the_step_log": 1, "broken_line_of_the_hardware_log": 1}
    assert report.traces[0].dropped == expected


@pytest.mark.parametrize(
    "change",
    [
        lambda row: [10**30, *row[1:]],
        lambda row: [-(2**63), *row[1:]],
        lambda row: [row[0], *([10**30] * (len(row) - 1))],
        lambda row: [row[0], *(["x"] * (len(row) - 1))],
        lambda row: row[:-1],
        lambda row: [str(row[0]), *row[1:]],
        lambda _row: [],
    ],
)
def test_a_line_of_the_hardware_log_that_cannot_be_is_dropped_and_counted(run, change):
    edited(run / "hardware.jsonl", 3, change)

    trace = first_trace(run)

    assert trace.dropped == {"broken_line_of_the_hardware_log": 1}
    assert trace.hardware


@pytest.mark.parametrize("device", [2**40, -5, "x", None])
def test_a_header_of_the_hardware_log_that_cannot_be_is_said(run, device):
    edited(run / "hardware.jsonl", 0, lambda header: header | {"columns": [["cpu_percent", device]]})

    assert any(note.startswith("hardware.jsonl cannot be read: its first line") for note in first_trace(run).notes)


@pytest.mark.parametrize("records", [10**30, 2**62, 10**11, -1, 0, None, "x", 1.5])
def test_a_loader_log_that_cannot_be_is_dropped_from_there_on_and_counted(run, records):
    logs = sorted(run.glob("loader.*.bin"))
    for log in logs:
        data = log.read_bytes()
        end = data.index(b"\n")
        log.write_bytes(json.dumps(json.loads(data[:end]) | {"records": records}).encode() + data[end:])

    trace = first_trace(run)

    assert trace.dropped == {"damaged_end_of_a_loader_log": len(logs)}
    assert trace.loading is None


RUN_VALUES = (
    *((["started_unix_ns"], 10**30), (["hardware"], None), (["hardware", "cpu"], 10**30), (["hardware"], [1])),
    *((["hardware", "gpus"], 5), (["hardware", "usable_cores"], -1), (["hardware", "cores"], "many")),
    *((["steps", "train", "unprofiled", "median_dur_ns"], 10**30), (["steps", "train"], 5), (["steps"], [])),
    *((["steps", "train", "slowdown"], 1e300), (["steps", "train", "profiled", "count"], -1), (["command"], "yolo")),
    *((["processes", 0, "pid"], 10**30), (["processes", 0], 3), (["notes"], [1, "two"]), (["exit_code"], "x")),
    *((["outside_steps", "setup", "total_ns"], 10**30), (["versions", "torch"], 2.9), (["arguments", "train"], 0)),
)


@pytest.mark.parametrize(("path", "value"), RUN_VALUES, ids=str)
def test_what_of_run_json_cannot_be_is_left_out_and_named_and_the_rest_is_used(run, path, value):
    document = json.loads((run / "run.json").read_text())
    inner = document
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    (run / "run.json").write_text(json.dumps(document))

    trace = first_trace(run)

    assert trace.run is not None
    assert trace.run.status == "ended"
    if not (path[-1] == "cpu" and value == 10**30):  # null is a value that it may have
        assert any("run.json: what cannot be was left out" in note for note in trace.notes)


def test_lone_surrogates_of_a_run_reach_no_report(run):
    document = json.loads((run / "run.json").read_text())
    document |= {"status": "\ud800", "command": ["\ud800"], "versions": {"\ud800": "\ud800"}}
    document["hardware"]["cpu"] = document["notes"] = ["\ud800"]
    document["arguments"]["train"]["\ud800"] = "\udc00"
    (run / "run.json").write_text(json.dumps(document))

    assert first_trace(run).run.command == ("?",)


@pytest.mark.parametrize("content", ["", "[]", "{", "null", '{"schema": 5}', "{}", "[" * 5000])
def test_a_run_json_that_is_none_is_said(run, content):
    (run / "run.json").write_text(content)

    trace = first_trace(run)

    assert trace.run is None
    assert any(note.startswith("run.json") for note in trace.notes)


# Exports of Nsight Systems


TABLES_OF_SPANS = (
    "CUPTI_ACTIVITY_KIND_KERNEL",
    "CUPTI_ACTIVITY_KIND_MEMCPY",
    "CUPTI_ACTIVITY_KIND_RUNTIME",
    "NVTX_EVENTS",
)


@pytest.mark.parametrize("table", TABLES_OF_SPANS)
def test_every_column_of_an_export_may_be_anything(tmp_path, table):
    path = export(tmp_path / "t.sqlite")
    with sqlite3.connect(path) as database:
        found = [name for _, name, *_ in database.execute(f"PRAGMA table_info({table})")]
        declared = ", ".join(f'"{name}"' for name in found)  # without the constraints of the types
        database.execute(f"CREATE TABLE loose ({declared})")
        database.execute(f"INSERT INTO loose SELECT * FROM {table}")  # noqa: S608
        database.execute(f"DROP TABLE {table}")
        database.execute(f"ALTER TABLE loose RENAME TO {table}")
    database.close()
    whole = path.read_bytes()
    for column in found:
        for value in (None, b"\xff\x00", -(2**63)):
            path.write_bytes(whole)
            with sqlite3.connect(path) as database:
                database.execute(f"UPDATE {table} SET {column} = ?", [value])  # noqa: S608
            database.close()
            try:
                sources = list(find_traces(path))
                reports = [examine(read_trace(source)) for source in sources]
            except TraceFormatError:
                continue
            for trace in reports:
                assert all(0 <= device.window_ns < 10**12 for device in trace.devices), (column, value)
                assert all(device.device >= 0 for device in trace.devices), (column, value)


def test_of_very_many_processes_those_that_did_most_are_reported_and_the_rest_is_said(tmp_path, monkeypatch):
    from tbperf.readers import nsys

    monkeypatch.setattr(nsys, "MOST_PROCESSES", 2)
    path = export(tmp_path / "t.sqlite")
    with sqlite3.connect(path) as database:
        copy = "INSERT INTO NVTX_EVENTS (start, end, eventType, text, globalTid) VALUES (1, 9, 59, 'x', ?)"
        database.executemany(copy, [(process << 24,) for process in (7, 8, 8, 8)] * 20)
    database.close()

    report = tbperf.analyze(path)

    assert len(report.traces) == 2
    assert {"process 8" in trace.path for trace in report.traces} == {True, False}
    assert all("that did less and are left out: 1" in trace.notes[0] for trace in report.traces)


def test_a_kernel_of_years_is_dropped_and_counted(tmp_path):
    path = export(tmp_path / "t.sqlite")
    with sqlite3.connect(path) as database:
        database.execute("UPDATE CUPTI_ACTIVITY_KIND_KERNEL SET end = ? WHERE rowid = 1", [2**60])
    database.close()

    (trace,) = tbperf.analyze(path).traces

    assert trace.dropped["overflowing_duration"] == 1
    assert all(device.window_ns < 10**12 for device in trace.devices)
