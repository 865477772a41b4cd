"""Real runs of Ultralytics on the CPU, with the recorder inside them."""

import gzip
import json
import os
import re
import signal
import subprocess
import sys
import time
from statistics import median

import pytest
import torch

pytestmark = pytest.mark.record

TRAIN_LEAVES = {
    "dataload",
    "loop",
    "callbacks",
    "preprocess",
    "forward",
    "loss",
    "backward",
    "log",
    "optimizer",
}
VAL_LEAVES = {
    "dataload",
    "loop",
    "callbacks",
    "preprocess",
    "inference",
    "loss",
    "postprocess",
    "metrics",
}
PREDICT_LEAVES = {
    "dataload",
    "loop",
    "callbacks",
    "preprocess",
    "inference",
    "postprocess",
    "write",
    "consumer",
}


def train_command(project, **settings):
    settings = {
        "model": "yolov8n.yaml",
        "data": "data/data.yaml",
        "epochs": 1,
        "imgsz": 96,
        "batch": 4,
        "workers": 0,
        "plots": False,
        "device": "cpu",
        "seed": 3,
        "project": project,
        **settings,
    }
    return ["yolo", "train", *(f"{name}={value}" for name, value in settings.items())]


class Run:
    """A finished run folder, read back."""

    def __init__(self, folder, result):
        self.folder = folder
        self.result = result
        self.about = json.loads((folder / "run.json").read_text())
        self.steps = [
            json.loads(line) for path in folder.glob("steps.*.jsonl") for line in path.read_text().splitlines()
        ]
        self.traces = {}
        for path in sorted((folder / "trace").iterdir()):
            assert re.fullmatch(r"[A-Za-z0-9-]+_\d+(_rank\d+)?\.\d+\.pt\.trace\.json\.gz", path.name)
            trace = json.loads(gzip.decompress(path.read_bytes()))
            self.traces.setdefault(trace["tbperf"]["phase"], []).append(trace)

    def of(self, phase):
        return [step for step in self.steps if step["phase"] == phase]


def ranges(trace, pattern):
    return [
        event
        for event in trace["traceEvents"]
        if event.get("cat") == "user_annotation" and re.fullmatch(pattern, event["name"])
    ]


@pytest.fixture(scope="session")
def trained(run_tbperf, workplace, environment):
    """One epoch of ten batches, with its validations."""
    folder = workplace / "run-train"
    result = run_tbperf("record", "--out", folder, "--", *train_command(workplace / "with"))
    assert result.returncode == 0, result.stderr
    return Run(folder, result)


@pytest.fixture(scope="session")
def weights(trained, workplace):
    return workplace / "with" / "train" / "weights"


@pytest.fixture(scope="session")
def trained_alone(workplace, environment, trained):
    """The same training without tbperf."""
    command = train_command(workplace / "without")
    return subprocess.run(command, cwd=workplace, env=environment, capture_output=True, text=True, check=True)


def check_steps(run, phase, leaves):
    """Each step has its leaves, and they sum to its duration."""
    for step in run.of(phase):
        assert leaves - {"optimizer"} <= set(step["stages"]), step
        assert sum(step["stages"].values()) == step["dur_ns"]
        assert step["unix_ns"] > 1.6e18
        assert step["recorder_ns"] > 0
        assert 0 < step["main_cpu_ns"] <= step["cpu_ns"] + 1_000_000
        assert step["main_cpu_ns"] <= step["dur_ns"] + 1_000_000
        assert step["main_queued_ns"] is None or 0 <= step["main_queued_ns"] <= step["dur_ns"] + 1_000_000


def check_trace(trace, leaves, coverage):
    """Steps are numbered, and stages lie in them, on one thread, without holes that count."""
    steps = sorted(ranges(trace, r"ProfilerStep#\d+"), key=lambda event: event["ts"])
    first = trace["tbperf"]["first_step"]
    assert [event["name"] for event in steps] == [f"ProfilerStep#{first + i}" for i in range(len(steps))]
    stages = ranges(trace, r"tbperf/\w+")
    assert {event["name"].removeprefix("tbperf/") for event in stages} >= leaves
    assert len({(event["pid"], event["tid"]) for event in steps + stages}) == 1
    shares = []
    for event in steps:
        begin, end = event["ts"], event["ts"] + event["dur"]
        inside = [s for s in stages if begin <= s["ts"] and s["ts"] + s["dur"] <= end]
        named = sum(stage["dur"] for stage in inside if stage["name"].removeprefix("tbperf/") in leaves)
        shares.append(named / event["dur"])
    # Not each: a busy machine may take the processor away between two stages.
    assert median(shares) >= coverage


def check_speed(run, phase):
    """The stages last as long as Ultralytics prints, an image: to 2 %, and to the digit that it prints.

    What lies between its clock and ours is the opening and closing of ranges: a few µs, more on a busy machine.
    """
    line = re.search(r"Speed: .*", run.result.stdout + run.result.stderr)[0]
    printed = {name: float(ms) for ms, name in re.findall(r"([\d.]+)ms (\w+)", line)}
    steps = run.of(phase)
    images = sum(step["images"] for step in steps)
    for name, stages in {"preprocess": ["preprocess"], "inference": ["inference"], "postprocess": POSTPROCESS}.items():
        ours = sum(step["stages"].get(stage, 0) for step in steps for stage in stages) / images / 1e6
        assert ours == pytest.approx(printed[name], abs=0.05 + 0.05 + 0.02 * printed[name]), (name, line)


POSTPROCESS = ["postprocess", "nms"]


def test_each_train_step_is_logged_with_all_its_stages(trained):
    assert [step["step"] for step in trained.of("train")] == list(range(10))
    check_steps(trained, "train", TRAIN_LEAVES)
    assert {step["images"] for step in trained.of("train")} == {4}
    assert any("ema" in step["stages"] for step in trained.of("train"))


def test_the_profiler_saw_the_steps_after_the_start_and_ended_on_an_optimizer_step(trained):
    states = [step["profiler"] for step in trained.of("train")]
    assert states == ["off"] * 3 + ["warmup"] + ["active"] * 6
    assert "optimizer" in trained.of("train")[-1]["stages"]
    (trace,) = trained.traces["train"]
    threads = trace["tbperf"].pop("threads")
    assert threads["intra_op"] == min(8, max(1, os.cpu_count() - 1)), "what Ultralytics sets on the CPU"
    assert threads["usable_cores"] == len(os.sched_getaffinity(0))
    (window,) = [window for window in trained.about["windows"] if window["phase"] == "train"]
    assert window["threads"] == threads
    assert trace["tbperf"] | {"pid": 0, "unix_ns": 0, "perf_ns": 0, "tbperf": ""} == {
        "schema": "tbperf-trace/1",
        "phase": "train",
        "first_step": 4,
        "rank": None,
        "batch": 4,
        "prefetch": None,
        "visible_devices": None,
        "pid": 0,
        "unix_ns": 0,
        "perf_ns": 0,
        "tbperf": "",
    }
    # Steps are short here; what lies between two stages takes the same time in long ones.
    check_trace(trace, TRAIN_LEAVES, 0.995)


LAYERS = {
    *(f"model.{index} Conv (backbone)" for index in (0, 1, 3, 5, 7)),
    *(f"model.{index} C2f (backbone)" for index in (2, 4, 6, 8)),
    "model.9 SPPF (backbone)",
    *(f"model.{index} Upsample (neck)" for index in (10, 13)),
    *(f"model.{index} Concat (neck)" for index in (11, 14, 17, 20)),
    *(f"model.{index} C2f (neck)" for index in (12, 15, 18, 21)),
    *(f"model.{index} Conv (neck)" for index in (16, 19)),
    "model.22 Detect (head)",
    *(f"model.22.{branch}.{index} Sequential (head)" for branch in ("cv2", "cv3") for index in range(3)),
}


def check_layers(trace, stage, more=frozenset()):
    """Each layer was called once a step, in this stage and in its own order."""
    calls = sorted(ranges(trace, r"tbperf/module:.*"), key=lambda event: event["ts"])
    steps = len(ranges(trace, r"ProfilerStep#\d+"))
    names = [event["name"].removeprefix("tbperf/module:") for event in calls]
    assert {name: names.count(name) for name in names} == dict.fromkeys(LAYERS | more, steps)
    layers = [name for name in names if "." not in name.split()[0].removeprefix("model.")]
    assert layers[:23] == sorted(layers[:23], key=lambda name: int(name.split()[0].removeprefix("model.")))
    around = [(event["ts"], event["ts"] + event["dur"]) for event in ranges(trace, f"tbperf/{stage}")]
    assert all(any(a <= e["ts"] and e["ts"] + e["dur"] <= b for a, b in around) for e in calls)


def test_the_layers_of_the_model_are_ranges_in_each_recorded_step(trained):
    (trace,) = trained.traces["train"]
    check_layers(trace, "forward")
    for trace in trained.traces["val"]:
        check_layers(trace, "inference", {"model.22.dfl DFL (head)"})


def test_the_traces_clock_and_the_step_logs_agree(trained):
    (trace,) = trained.traces["train"]
    first = min(ranges(trace, r"ProfilerStep#\d+"), key=lambda event: event["ts"])
    unix_ns = trace["baseTimeNanoseconds"] + first["ts"] * 1000
    logged = trained.of("train")[trace["tbperf"]["first_step"]]
    assert abs(unix_ns - logged["unix_ns"]) < 1_000_000
    assert first["dur"] * 1000 == pytest.approx(logged["dur_ns"], rel=0.02)


def test_validations_inside_a_training_are_steps_of_their_own(trained):
    check_steps(trained, "val", VAL_LEAVES)
    assert [step["images"] for step in trained.of("val")] == [8, 2, 8, 2]
    for trace in trained.traces["val"]:
        check_trace(trace, VAL_LEAVES - {"loss"}, 0)


def test_run_json_tells_what_ran_where_and_what_was_recorded(trained):
    about = trained.about
    assert (about["schema"], about["status"], about["exit_code"]) == ("tbperf-run/1", "ended", 0)
    assert about["command"][:2] == ["yolo", "train"]
    assert about["ended_unix_ns"] > about["started_unix_ns"]
    assert about["versions"]["torch"]
    assert about["versions"]["ultralytics"]
    assert about["arguments"]["train"]["imgsz"] == 96
    assert about["steps"]["train"]["profiled"]["count"] == 6
    assert about["outside_steps"]["setup"]["count"] == 1
    assert about["outside_steps"]["validate"]["count"] == 1
    assert 0.5 < about["coverage"]["lowest"] <= about["coverage"]["mean"] <= 1
    assert any("close_mosaic" in note for note in about["notes"])
    files = {path.name for path in (trained.folder / "trace").iterdir()}
    assert {window["file"] for window in about["windows"]} == files
    pid = trained.traces["train"][0]["tbperf"]["pid"]
    assert {path.name for path in trained.folder.iterdir()} == {
        "hardware.jsonl",
        f"loader.{pid}.bin",
        "run.json",
        f"steps.{pid}.jsonl",
        "trace",
    }


def test_the_terminal_shows_the_commands_output_and_three_kinds_of_lines_of_ours(trained, trained_alone):
    ours = [line for line in trained.result.stderr.splitlines() if line.startswith("tbperf")]
    assert len(ours) == 4
    assert re.match(r"tbperf  8 of 8 steps recorded, \d\d\.\d % of each named · ", ours[-2])
    assert ours[-1] == f"tbperf  next: tbperf analyze {trained.folder}"

    def wording(text):
        text = re.sub(r"\x1b\[[0-9;]*[A-Za-z]|\r[^\n]*", "", text)
        lines = [re.sub(r"[\d.:/]+\S*", "#", line.replace("without", "with")) for line in text.splitlines()]
        # Progress bars depend on the time, and only the first run on a dataset writes its caches.
        passing = ("━", "──", "New cache created", "tbperf  ")
        return [line for line in lines if line and not any(word in line for word in passing)]

    assert wording(trained.result.stdout) == wording(trained_alone.stdout)
    assert wording(trained.result.stderr) == wording(trained_alone.stderr)


def test_the_weights_are_the_same_bit_for_bit_and_know_nothing_of_tbperf(weights, trained_alone, workplace):
    for name in ("best.pt", "last.pt"):
        assert b"tbperf" not in (weights / name).read_bytes()
        alone = workplace / "without" / "train" / "weights" / name
        mine, other = (torch.load(path, map_location="cpu", weights_only=False) for path in (weights / name, alone))
        mine, other = ((each["ema"] or each["model"]).state_dict() for each in (mine, other))
        assert mine.keys() == other.keys()
        assert all(torch.equal(mine[key], other[key]) for key in mine)


def test_the_same_files_are_left(weights, trained_alone, workplace):
    left = [
        sorted(str(path.relative_to(workplace / name)) for path in (workplace / name).rglob("*"))
        for name in ("with", "without")
    ]
    assert left[0] == left[1]


def test_a_prediction_of_files(run_tbperf, weights, workplace):
    folder = workplace / "run-predict"
    settings = [
        "source=data/images/train",
        "imgsz=96",
        "device=cpu",
        f"project={workplace / 'predict'}",
    ]
    result = run_tbperf(
        "record",
        "--out",
        folder,
        "--",
        "yolo",
        "predict",
        f"model={weights / 'last.pt'}",
        *settings,
    )
    assert result.returncode == 0, result.stderr
    run = Run(folder, result)
    assert [step["step"] for step in run.of("predict")] == list(range(40))
    check_steps(run, "predict", PREDICT_LEAVES)
    (trace,) = run.traces["predict"]
    assert trace["tbperf"]["first_step"] == 2
    assert len(ranges(trace, r"ProfilerStep#\d+")) == 5
    check_trace(trace, PREDICT_LEAVES, 0.98)
    assert {"tbperf/nms"} == {event["name"] for event in ranges(trace, "tbperf/nms")}
    check_layers(trace, "inference", {"model.22.dfl DFL (head)"})
    assert all("fetch" in step["stages"] for step in run.of("predict"))
    check_speed(run, "predict")
    assert run.about["arguments"]["predict"]["imgsz"] is not None


def test_a_validation_agrees_with_the_speed_that_ultralytics_prints(run_tbperf, weights, workplace):
    folder = workplace / "run-val"
    settings = ["data=data/data.yaml", "imgsz=96", "batch=1", "device=cpu", "plots=False"]
    command = [
        "yolo",
        "val",
        f"model={weights / 'last.pt'}",
        *settings,
        f"project={workplace / 'val'}",
    ]
    result = run_tbperf("record", "--out", folder, "--", *command)
    assert result.returncode == 0, result.stderr
    run = Run(folder, result)
    check_steps(run, "val", VAL_LEAVES)
    assert [step["profiler"] for step in run.of("val")] == ["off"] * 3 + ["warmup"] + ["active"] * 3 + ["off"] * 3
    check_trace(run.traces["val"][0], VAL_LEAVES, 0.98)
    check_speed(run, "val")


SCRIPT = """
import sys
from ultralytics import YOLO
import numpy as np

model = YOLO(sys.argv[1])
images = [np.full((64, 64, 3), i, dtype=np.uint8) for i in range(6)]
{body}
"""


def run_script(run_tbperf, workplace, weights, name, body):
    script = workplace / f"{name}.py"
    script.write_text(SCRIPT.format(body=body))
    folder = workplace / f"run-{name}"
    result = run_tbperf("record", "--out", folder, "--", sys.executable, script, weights / "last.pt")
    return Run(folder, result)


def test_results_that_a_script_takes_one_by_one_or_not_at_all(run_tbperf, workplace, weights):
    body = """
import time
options = dict(imgsz=64, device="cpu", verbose=False)
for index, result in enumerate(model.predict("data/images/train", stream=True, batch=4, **options)):
    time.sleep(0.002)
    if index == 21:
        break
one, two = (YOLO(sys.argv[1]).predict("data/images/val", stream=True, **options) for _ in range(2))
pairs = list(zip(one, two))
for image in images:
    model(image, **options)
print("done", len(pairs))
"""
    run = run_script(run_tbperf, workplace, weights, "stream", body)
    assert run.result.returncode == 0, run.result.stderr
    assert run.result.stdout.endswith("done 10\n")
    assert "recording stopped" not in run.result.stderr
    first = run.of("predict")[:5]
    assert [step["images"] for step in first] == [4] * 5
    # Four images, each with its sleep, belong to the batch that they came with.
    assert all(8e6 < step["stages"]["consumer"] < 30e6 for step in first)
    check_steps(run, "predict", PREDICT_LEAVES - {"write"})


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_training_that_is_stopped_keeps_what_was_recorded(number, workplace, environment, tmp_path):
    out = tmp_path / "run"
    command = train_command(tmp_path / "yolo", epochs=50, imgsz=32, val=False)
    tbperf = [sys.executable, "-m", "tbperf", "record", "--out", str(out), "--steps", "2-4", "--"]
    with subprocess.Popen(
        [*tbperf, *command],
        cwd=workplace,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        deadline = time.monotonic() + 60
        while not list(out.glob("trace/*.pt.trace.json")) and time.monotonic() < deadline:
            time.sleep(0.05)
        if number == signal.SIGKILL:
            (child,) = {int(path.name.split("_")[1].split(".")[0]) for path in out.glob("trace/*.json")}
            subprocess.run(["kill", "-KILL", str(child)], check=True)
        else:
            process.send_signal(number)
        process.communicate(timeout=60)
    run = Run(out, None)
    # Ended by a signal as the command was, which a shell says as 128 + n.
    told = 128 - process.returncode if process.returncode < 0 else process.returncode
    assert told == run.about["exit_code"]
    assert told in {128 + number, 1}
    (trace,) = run.traces["train"]
    assert len(ranges(trace, r"ProfilerStep#\d+")) == 3
