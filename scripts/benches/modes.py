"""Records every mode of every task, and prints how much of each step the stages name.

`scripts/bench modes [REGEX]`.
Everything runs on the CPU, from models that YAML files describe and generated images; nothing is downloaded.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from tbperf.capture.dataset import TASKS, write_dataset

TINY = Path(__file__).parents[2] / "tests" / "capture" / "faults" / "tiny.yaml"
SUFFIX = {"detect": "", "segment": "-seg", "classify": "-cls", "pose": "-pose", "obb": "-obb"}
SETTINGS = 'imgsz=96, batch=8, device="cpu", plots=False, verbose=False, project=os.path.abspath("out")'

ALL_MODES = """
model = YOLO("yolov8n{suffix}.yaml")
model.train(data={data!r}, epochs=1, workers=0, {settings})
model = YOLO(model.trainer.last)
model.val(data={data!r}, {settings})
for _ in model.predict({images!r}, stream=True, imgsz=96, device="cpu", verbose=False):
    pass
"""

OTHER_MODES = """
model = YOLO("yolov8n{suffix}.yaml")
{track}for _ in model.track({images!r}, stream=True, imgsz=96, device="cpu", verbose=False, conf=0.01):
{track}    pass
model.export(format="torchscript", imgsz=96, device="cpu")
"""

WITH_WORKERS = """
import multiprocessing
if __name__ == "__main__":
    multiprocessing.set_start_method("{method}")
    model = YOLO("yolov8n.yaml")
    model.add_callback("on_pretrain_routine_start", lambda trainer: setattr(trainer.args, "workers", 2))
    model.train(data={data!r}, epochs=2, close_mosaic=0, val=False, {settings})
"""

OWN_TRAINER = """
from ultralytics.models.yolo.detect import DetectionTrainer

class Mine(DetectionTrainer):
    def preprocess_batch(self, batch):
        batch = super().preprocess_batch(batch)
        batch["img"] = batch["img"] * 1.0
        return batch

    def optimizer_step(self):
        self.optimizer.step()
        self.optimizer.zero_grad()
        if self.ema:
            self.ema.update(self.model)

model = YOLO("yolov8n.yaml")
model.add_callback("on_train_batch_end", lambda trainer: None)
model.train(trainer=Mine, data={data!r}, epochs=1, workers=0, {settings})
"""

RESUMED = """
model = YOLO("yolov8n.yaml")
def die(trainer):
    if trainer.epoch == 1:
        raise KeyboardInterrupt
model.add_callback("on_train_epoch_start", die)
try:
    model.train(data={data!r}, epochs=3, workers=0, name="first", exist_ok=True, {settings})
except KeyboardInterrupt:
    pass
YOLO("out/first/weights/last.pt").train(resume=True)
"""

COMPILED = """
YOLO({tiny!r}).train(data={data!r}, epochs=1, workers=0, compile=True, {settings})
"""

BENCHMARK = """
from ultralytics.utils.benchmarks import benchmark
model = YOLO("yolov8n.yaml")
model.train(data={data!r}, epochs=1, workers=0, val=False, {settings})
benchmark(model=model.trainer.last, data={data!r}, imgsz=96, device="cpu", format="torchscript")
"""

DISTRIBUTED = """
from gloo_ranks import GlooTrainer
YOLO("yolov8n.yaml").train(trainer=GlooTrainer, data={data!r}, epochs=1, workers=0, {settings})
"""


@dataclass
class Case:
    """One recorded program."""

    name: str
    code: str
    task: str = "detect"


def cases() -> list[Case]:
    """List what is recorded."""
    found = []
    for task in TASKS:
        found += [
            Case(f"{task}: train, val, predict", ALL_MODES, task),
            Case(f"{task}: {'' if task == 'classify' else 'track, '}export", OTHER_MODES, task),
        ]
    found += [
        Case(f"train, {method} workers, 2 epochs", WITH_WORKERS.replace("{method}", method)) for method in METHODS
    ]
    return [
        *found,
        Case("train, own trainer and callbacks", OWN_TRAINER),
        Case("train, stopped and resumed", RESUMED),
        Case("train, 2 ranks (gloo)", DISTRIBUTED),
        Case("benchmark", BENCHMARK),
        Case("train, compile=True", COMPILED),
    ]


METHODS = ("fork", "spawn", "forkserver")


def main() -> None:
    """Run the cases whose name matches, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("regex", nargs="?", default="")
    pattern = parser.parse_args().regex
    print(f"{'recorded':36} exit  phase    windows  steps  lowest median  notes")
    with tempfile.TemporaryDirectory() as place:
        for number, case in enumerate(cases()):
            if re.search(pattern, case.name):
                show(case, record(case, Path(place), number))


def record(case: Case, place: Path, number: int) -> Path:
    """Run one case in a folder of its own."""
    folder = place / str(number)
    folder.mkdir()
    data = place / case.task
    if not data.exists():
        write_dataset(data, images=64, size=160, task=case.task)
    code = case.code
    for name, value in {
        "{suffix}": SUFFIX[case.task],
        "{data!r}": repr(str(data if case.task == "classify" else data / "data.yaml")),
        "{images!r}": repr(str(data / "val" / "shape0" if case.task == "classify" else data / "images" / "val")),
        "{settings}": SETTINGS,
        "{tiny!r}": repr(str(TINY)),  # what takes seconds to train takes minutes to compile
        "{track}": "# " if case.task == "classify" else "",
    }.items():
        code = code.replace(name, value)
    (folder / "program.py").write_text(f"import os\nfrom ultralytics import YOLO\n{code}")
    command = [sys.executable, "-m", "tbperf", "record", "--out", "run", "--", sys.executable, "program.py"]
    with (folder / "output").open("w") as output:
        subprocess.run(command, cwd=folder, env=environment(place), stdout=output, stderr=output, check=False)
    return folder


def environment(place: Path) -> dict[str, str]:
    """Keep Ultralytics offline, with settings of its own."""
    root = Path(__file__).parents[2]
    source = f"{root}{os.pathsep}{root / 'tests' / 'capture'}"
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    own = {"YOLO_OFFLINE": "true", "YOLO_CONFIG_DIR": str(place / "config"), "PYTHONPATH": source, "PATH": path}
    return {**os.environ, **own}


def show(case: Case, folder: Path) -> None:
    """Print a line a phase."""
    about = json.loads((folder / "run" / "run.json").read_text())
    for phase in ("train", "val", "predict"):
        windows = [window for window in about["windows"] if window["phase"] == phase]
        shares = [window["coverage"] for window in windows if window["coverage"]]
        if shares:
            lowest = min(share["lowest"] for share in shares)
            middle = median(share["median"] for share in shares)
            steps = f"{sum(window['steps'] for window in windows):3}/{about['steps'][phase]['steps']}"
            line = f"{case.name:36} {about['exit_code']:4}  {phase:8} {len(windows):7}  {steps:6}"
            print(f"{line} {lowest:6.2%} {middle:6.2%}", flush=True)
    for note in about["notes"]:
        print(f"    note: {note}", flush=True)
    if about["exit_code"]:
        print("    " + "\n    ".join((folder / "output").read_text().splitlines()[-5:]), flush=True)


if __name__ == "__main__":
    main()
