"""Train YOLOv8n for an epoch on the CPU, with one stage slowed by so much work of the CPU a step.

python compare_train.py DATA OUT STAGE MS      STAGE: none, preprocess, forward, loss, dataload
"""

from __future__ import annotations

import functools
import sys
import time
from typing import Any

from ultralytics.data.dataset import YOLODataset
from ultralytics.models.yolo.detect import DetectionTrainer
from ultralytics.utils import loss

BATCH = 4
DATA, OUT, STAGE, MS = sys.argv[1], sys.argv[2], sys.argv[3], float(sys.argv[4])


def work(ms: float) -> None:
    """Keep the CPU busy: by its own clock, so that a busy machine slows it like any other work."""
    end = time.thread_time() + ms / 1000
    while time.thread_time() < end:
        pass


def slow(owner: type, method: str, ms: float) -> None:
    """Work a little before each call of a method."""
    original = getattr(owner, method)

    @functools.wraps(original)
    def slowed(*args: Any, **kwargs: Any) -> Any:
        work(ms)
        return original(*args, **kwargs)

    setattr(owner, method, slowed)


def _work_in_training(module: Any, _inputs: Any) -> None:
    if module.training:
        work(MS)


class Trainer(DetectionTrainer):
    """A user's trainer that does a little more than it should."""

    def preprocess_batch(self, batch: Any) -> Any:
        """Prepare a batch."""
        batch = super().preprocess_batch(batch)
        if STAGE == "preprocess":
            work(MS)
        return batch

    def get_model(self, *args: Any, **kwargs: Any) -> Any:
        """Make the model."""
        model = super().get_model(*args, **kwargs)
        if STAGE == "forward":
            model.model[0].register_forward_pre_hook(_work_in_training)
        return model


if STAGE == "loss":
    slow(loss.v8DetectionLoss, "__call__", MS)
if STAGE == "dataload":
    slow(YOLODataset, "__getitem__", MS / BATCH)
Trainer(
    overrides={
        "model": "yolov8n.yaml",
        "data": DATA,
        "epochs": 1,
        "imgsz": 64,
        "batch": BATCH,
        "workers": 0,
        "plots": False,
        "val": False,
        "save": False,
        "close_mosaic": 0,
        "project": OUT,
        "name": "train",
        "verbose": False,
        "device": "cpu",
    }
).train()
