"""Programs of users, recorded for real: loader workers with a trainer of one's own, and several ranks.

`scripts/bench modes` records every mode of every task; this is the part that each change must pass.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import torch

from tbperf.readers import find_traces, read_trace
from tbperf.trace.stages import module_name

pytestmark = pytest.mark.record

HERE = Path(__file__).parent

WORKERS = """
import os
import sys
from ultralytics import YOLO
from ultralytics.models.yolo.detect import DetectionTrainer

class Mine(DetectionTrainer):
    def preprocess_batch(self, batch):
        return super().preprocess_batch(batch)

    def optimizer_step(self):  # without its parent
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.ema.update(self.model)

if __name__ == "__main__":
    model = YOLO("tiny.yaml")
    model.add_callback("on_pretrain_routine_start", lambda trainer: setattr(trainer.args, "workers", 2))
    model.add_callback("on_train_batch_end", lambda trainer: seen.append(trainer.epoch))
    seen = []
    model.train(trainer=Mine, data=sys.argv[1], epochs=2, imgsz=64, batch=4, device="cpu", plots=False, val=False,
                close_mosaic=0, seed=1, project=os.path.abspath("out"), name="train")
    assert len(seen) == 20
"""

RANKS = """
import os
import sys
from gloo_ranks import GlooTrainer
from ultralytics import YOLO

YOLO("tiny.yaml").train(trainer=GlooTrainer, data=sys.argv[1], epochs=1, imgsz=32, batch=8, device="cpu", plots=False,
                        val=False, workers=0, project=os.path.abspath("out"), name="train")
"""


def program(folder, code):
    folder.mkdir()
    shutil.copy(HERE / "faults" / "tiny.yaml", folder)
    (folder / "program.py").write_text(code)
    return [sys.executable, "program.py"]


@pytest.fixture(scope="module")
def data(workplace):
    return str(workplace / "data" / "data.yaml")


@pytest.fixture(scope="module")
def with_workers(run_tbperf, environment, data, tmp_path_factory):
    """A training with workers and everything that can be recorded, and the same alone."""
    place = tmp_path_factory.mktemp("workers")
    everything = ("--stacks", "--shapes", "--memory", "--flops", "--modules", "--active", "6")
    command = [*program(place / "inside", WORKERS), data]
    result = run_tbperf("record", "--out", "run", *everything, "--", *command, cwd=place / "inside", env=environment)
    assert result.returncode == 0, result.stderr
    command = [*program(place / "alone", WORKERS), data]
    subprocess.run(command, cwd=place / "alone", env=environment, check=True, capture_output=True)
    return place


def test_weights_are_the_same_bit_for_bit_with_workers_and_everything_recorded(with_workers):
    states = []
    for name in ("inside", "alone"):
        path = with_workers / name / "out" / "train" / "weights" / "last.pt"
        assert b"tbperf" not in path.read_bytes()
        content = torch.load(path, map_location="cpu", weights_only=False)
        states.append((content["ema"] or content["model"]).state_dict())
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


def train_trace(folder):
    traces = [read_trace(source) for source in find_traces(folder)]
    return next(trace for trace in traces if trace.recording["phase"] == "train")


def test_what_the_workers_did_for_the_window_is_in_the_trace(with_workers):
    trace = train_trace(with_workers / "inside" / "run")
    loading = trace.ranges.rows(trace.named(trace.ranges, lambda name: name.startswith("loader/")))
    names = {name.removeprefix("loader/") for name in trace.texts(loading["name"])}
    assert names >= {"fetch", "collate", "load_image", "Mosaic", "RandomPerspective", "RandomHSV", "Format"}
    workers = {trace.threads[thread].name for thread in loading["thread"].tolist()}
    assert workers == {"loader worker 0", "loader worker 1"}
    # Six steps were recorded; each worker loads ahead what the first of them took.
    fetched = trace.ranges.rows(trace.named(trace.ranges, lambda name: name == "loader/fetch"))
    assert len(fetched) >= 6
    for thread in set(loading["thread"].tolist()):
        rows = loading.rows(loading["thread"] == thread)
        outer = fetched.rows(fetched["thread"] == thread)
        inside = (rows["start_ns"][:, None] >= outer["start_ns"]) & (rows.end_ns[:, None] <= outer.end_ns)
        assert (inside.sum(axis=1) == 1).all()
    # Images of four: a mosaic loads three more.
    images = trace.named(trace.ranges, lambda name: name == "loader/load_image").sum()
    assert images == 16 * len(fetched)


def test_every_module_was_called_as_often_as_python_called_it(with_workers):
    """Two accounts of the same calls: the recorder's ranges, and the profiler's own Python calls."""
    trace = train_trace(with_workers / "inside" / "run")
    shown = [name for text in trace.texts(trace.ranges["name"]) if (name := module_name(text))]
    called = re.findall(r"nn\.Module: (\w+)_\d+$", "\n".join(trace.texts(trace.python["name"])), re.MULTILINE)
    assert {"model.0 Conv", "model.0.conv Conv2d", "model.0.bn BatchNorm2d"} <= {f"{n.path} {n.kind}" for n in shown}
    assert {name.part for name in shown} == {"backbone", "head"}
    # Besides those of the model: the model itself, which is its own outermost module, and losses.
    ours = Counter(name.kind for name in shown)
    assert ours == {kind: count for kind, count in Counter(called).items() if kind in ours}


def test_the_hardware_was_watched_while_the_window_was_open(with_workers):
    trace = train_trace(with_workers / "inside" / "run")
    series = set(trace.texts(trace.samples["series"]))
    assert {"cpu_percent", "core_percent", "rss_bytes"} <= series
    end = int(trace.steps.end_ns[-1])
    assert trace.samples["start_ns"].min() < end


def test_steps_tell_the_loaders_queue_and_a_user_trainers_stages(with_workers):
    (log,) = (with_workers / "inside" / "run").glob("steps.*.jsonl")
    steps = [step for step in map(json.loads, log.read_text().splitlines()) if step["phase"] == "train"]
    assert [step["step"] for step in steps] == list(range(20))
    assert all(step["queue"] is not None and step["images"] == 4 for step in steps)
    assert {"preprocess", "forward", "loss", "backward"} <= set(steps[5]["stages"])
    assert any({"optimizer", "ema"} <= set(step["stages"]) for step in steps)
    about = json.loads((with_workers / "inside" / "run" / "run.json").read_text())
    (window,) = [window for window in about["windows"] if window["phase"] == "train"]
    assert window["steps"] == 6
    # Inside one epoch of ten batches.
    assert window["first_step"] // 10 == (window["first_step"] + 5) // 10
    # Steps of a model this small are short, and what lies between two stages is not.
    assert window["coverage"]["mean"] > 0.95


def test_each_rank_of_a_training_has_files_of_its_own(run_tbperf, environment, data, tmp_path):
    pytest.importorskip("cloudpickle", reason="Ultralytics starts its ranks with cloudpickle")
    command = [*program(tmp_path / "ranks", RANKS), data]
    inside = environment | {"PYTHONPATH": f"{environment['PYTHONPATH']}{os.pathsep}{HERE}"}
    result = run_tbperf("record", "--out", "run", "--", *command, cwd=tmp_path / "ranks", env=inside, timeout=300)
    assert result.returncode == 0, result.stderr
    folder = tmp_path / "ranks" / "run"
    assert {path.name.partition("_")[2] for path in folder.glob("steps.*")} == {"rank0.jsonl", "rank1.jsonl"}
    traces = [read_trace(source) for source in find_traces(folder)]
    trained = [trace for trace in traces if trace.recording["phase"] == "train"]
    assert {trace.rank for trace in trained} == {0, 1}
    for trace in trained:
        assert len(trace.steps) >= 3
        calls = Counter(name.path for text in trace.texts(trace.ranges["name"]) if (name := module_name(text)))
        assert calls["model.0"] == calls["model.3"] == len(trace.steps)
        assert {"forward", "loss", "backward", "optimizer"} <= set(trace.stage_names)
