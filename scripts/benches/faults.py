"""Real trainings on the CPU with faults planted in them: is each named first in its report?

`scripts/bench faults` records each training once with `tbperf record` (half a minute each) and prints what the report
says first. Images are generated; nothing is downloaded.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

PROGRAM = '''
"""A small training on the CPU; its argument names what is slow in it."""
import os, sys, time

import cv2, torch
from ultralytics import YOLO
from ultralytics.data import base
from ultralytics.utils import loss

fault, project = sys.argv[1:3]
settings = dict(pair.split("=") for pair in sys.argv[3:])


def slower(function, seconds):
    def slow(*args, **kwargs):
        time.sleep(seconds)
        return function(*args, **kwargs)

    return slow


def counting(function, turns):
    def slow(*args, **kwargs):
        total = 0
        for value in range(turns):
            total += value * value
        return function(*args, **kwargs)

    return slow


def ask_for_workers(trainer, workers=1):  # on the CPU Ultralytics asks for none
    trainer.args.workers = workers


model = YOLO("yolov8n.yaml")
for begun in ("on_train_start", "on_val_start"):
    # Ultralytics leaves one core alone, which is half of two: that would be a fault of its own (CPU001).
    model.add_callback(begun, lambda _engine: torch.set_num_threads(len(os.sched_getaffinity(0))))
if fault == "slow transform":
    cv2.warpAffine = slower(cv2.warpAffine, 0.15)
elif fault == "slow disk":
    base.imread = slower(base.imread, 0.1)
elif fault == "too few workers":
    base.imread, cv2.warpAffine, cv2.LUT = (slower(f, 0.12) for f in (base.imread, cv2.warpAffine, cv2.LUT))
    model.add_callback("on_pretrain_routine_start", ask_for_workers)
elif fault == "Python loop in the loss":
    loss.v8DetectionLoss.preprocess = counting(loss.v8DetectionLoss.preprocess, 2_000_000)
elif fault == "plots every batch":
    import functools

    from ultralytics.models.yolo.detect import DetectionTrainer, train

    # By default a thread draws them beside the training, and they cost it 4 % of a step.
    train.plot_images = functools.partial(train.plot_images, threaded=False)
    forward = DetectionTrainer.preprocess_batch

    def preprocess_and_plot(self, batch):
        batch = forward(self, batch)
        for number in range(6):  # one of four small images takes 5 % of a step: rightly below what is told
            self.plot_training_samples(dict(batch), number)
        return batch

    DetectionTrainer.preprocess_batch = preprocess_and_plot
model.train(
    data=settings.pop("data"), project=project, device="cpu", imgsz=64, batch=4, plots=False, seed=3, workers=0,
    close_mosaic=0, epochs=int(settings.pop("epochs", 1)), val=settings.pop("val", "") == "1",
    fraction=float(settings.pop("fraction", 1)), save=settings.pop("save", "1") == "1",
)
'''


@dataclass(frozen=True)
class Case:
    """A training with a fault, and the finding that must come first."""

    fault: str
    code: str | None
    images: int = 44
    options: tuple[str, ...] = ()
    settings: dict[str, object] = field(default_factory=dict)


RECORD = ("--wait", "4", "--active", "5")
CASES = (
    Case("healthy", None),
    Case("slow transform", "LOADER003"),
    Case("slow disk", "LOADER004"),
    Case("too few workers", "LOADER002", images=80),
    Case("validation every epoch", "STAGE001", images=80, settings={"epochs": 3, "val": 1, "fraction": 0.3, "save": 0}),
    Case("Python loop in the loss", "HOST001"),
    Case("plots every batch", "STAGE002"),
)


def record(case: Case, folder: Path) -> Path:
    """Record a training, and return its run folder."""
    from tbperf.capture.dataset import write_dataset

    folder.mkdir(parents=True, exist_ok=True)
    data = write_dataset(folder / "data", images=case.images, size=96)
    data.write_text(data.read_text(encoding="utf-8").replace("val: images/val", "val: images/train"), encoding="utf-8")
    (folder / "program.py").write_text(PROGRAM, encoding="utf-8")
    settings = {"data": data, **case.settings}
    command = [sys.executable, "program.py", case.fault, str(folder / "runs")]
    command += [f"{name}={value}" for name, value in settings.items()]
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "YOLO_OFFLINE": "true",
        "YOLO_CONFIG_DIR": str(folder / "config"),
        "OMP_NUM_THREADS": "2",
    }
    arguments = [sys.executable, "-m", "tbperf", "record", "--out", str(folder / "recording"), *RECORD, "--", *command]
    done = subprocess.run(arguments, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    return folder / "recording"


def main() -> None:
    """Record each training, and print what its report says first."""
    import tbperf

    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--only", nargs="*", help="faults to plant")
    options.add_argument("--keep", type=Path, help="folder that keeps the recordings")
    given = options.parse_args()
    print("| planted | must be first | first | cost | what the report says |")
    print("|---|---|---|---:|---|")
    with tempfile.TemporaryDirectory() as temporary:
        for case in CASES:
            if given.only and case.fault not in given.only:
                continue
            folder = (given.keep or Path(temporary)) / case.fault.replace(" ", "-")
            report = tbperf.analyze(record(case, folder))
            # What is planted is planted in the training; its validations have reports of their own.
            found = [f for f in report.findings if f.severity != "info" and f.phase == "train"]
            first = found[0] if found else None
            code, share, title = (
                (first.code, f"{100 * first.cost_share:.0f} %", first.title) if first else ("–", "–", "–")
            )
            print(f"| {case.fault} | {case.code or 'nothing'} | {code} | {share} | {title} |", flush=True)


if __name__ == "__main__":
    main()
