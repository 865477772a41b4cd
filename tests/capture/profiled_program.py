"""A program that profiles itself, or predicts on many threads, in one of many ways; it tells what it saw.

    python profiled_program.py MODE OWN THREADS DATA

MODE      train, val, predict, stream or streams (two at once)
OWN       none, or the profiler that the program runs itself; ``…@thread`` begins and ends it on another thread
THREADS   one, pool (each step on a new thread), or many (the work is done on three threads at a time)

What it prints depends on its own work alone: counts of events, digests of weights and boxes.
"""

import hashlib
import sys
import tempfile
import threading
from pathlib import Path

import cv2
import numpy as np
import torch
from torch.profiler import ExecutionTraceObserver, ProfilerActivity, profile, schedule
from ultralytics import YOLO

MODE, OWN, THREADS, DATA = sys.argv[1:5]
MODEL = Path(__file__).parent / "faults" / "tiny.yaml"
AT, STEPS = 4, 3
"""The program's own profiler sees these steps, which lie in the window of tbperf."""


def on_a_thread(work):
    """Run ``work`` on a thread of its own, to its end."""
    failed = []

    def run():
        try:
            work()
        except Exception as error:  # noqa: BLE001 - raised again below
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if failed:
        raise failed[0]


def here(work):
    work()


class OwnProfiler:
    """The program's own profiler, told of each step."""

    def __init__(self, kind):
        self.kind, _, where = kind.partition("@")
        self.call = on_a_thread if where else here
        self.step_number = 0
        self.running = None

    def step(self):
        """Begin, go on, or end."""
        self.step_number += 1
        if self.kind == "none":
            return
        if self.kind == "schedule":
            self.scheduled()
        elif self.step_number == AT:
            self.call(self.begin)
        elif self.step_number == AT + STEPS:
            self.call(self.end)

    def scheduled(self):
        if self.running is None:
            plan = schedule(wait=AT, warmup=1, active=STEPS, repeat=1)
            self.running = profile(activities=[ProfilerActivity.CPU], schedule=plan)
            self.running.start()
        self.running.step()
        if self.step_number == AT + STEPS + 2:
            self.running.stop()
            self.tell(self.running)

    def begin(self):
        if self.kind == "torch":
            self.running = profile(activities=[ProfilerActivity.CPU])
        elif self.kind == "autograd":
            self.running = torch.autograd.profiler.profile()
        elif self.kind == "itt":
            self.running = torch.autograd.profiler.emit_itt()
        elif self.kind == "all_threads":
            config = torch._C._profiler._ExperimentalConfig(profile_all_threads=True)
            self.running = profile(activities=[ProfilerActivity.CPU], experimental_config=config)
        elif self.kind == "observer":
            self.file = tempfile.mktemp(suffix=".json")  # noqa: S306 - the observer makes it
            self.running = ExecutionTraceObserver().register_callback(self.file)
            self.running.start()
            return
        elif self.kind == "left_open":
            self.running = profile(activities=[ProfilerActivity.CPU])
        self.running.__enter__()

    def end(self):
        if self.kind == "observer":
            self.running.stop()
            self.running.unregister_callback()
            print("own observer saw tbperf:", "tbperf" in Path(self.file).read_text())
        elif self.kind != "left_open":
            self.running.__exit__(None, None, None)
            if self.kind != "itt":
                self.tell(self.running)

    def tell(self, profiler):
        events = profiler.function_events if self.kind == "autograd" else profiler.events()
        names = [event.name for event in events]
        print("own profiler saw", len(names) if "@" not in OWN and THREADS == "one" else "some", "events")
        print("of tbperf:", sum("tbperf" in name for name in names))


def digest(tensors):
    whole = hashlib.sha256()
    for tensor in tensors:
        whole.update(tensor.detach().numpy().tobytes())
    return whole.hexdigest()[:16]


def train(own, model):
    model.add_callback("on_train_batch_end", lambda _trainer: own.step())
    with tempfile.TemporaryDirectory() as project:
        settings = {"imgsz": 32, "batch": 2, "workers": 0, "device": "cpu", "plots": False, "val": False}
        model.train(data=DATA, epochs=2, project=project, seed=1, verbose=False, **settings)
        saved = torch.load(Path(project, "train", "weights", "last.pt"), weights_only=False)
    return "weights", digest((saved["ema"] or saved["model"]).state_dict().values())


def val(own, model):
    model.add_callback("on_val_batch_end", lambda _validator: own.step())
    with tempfile.TemporaryDirectory() as project:
        settings = {"imgsz": 32, "batch": 1, "workers": 0, "device": "cpu", "plots": False, "split": "train"}
        metrics = model.val(data=DATA, project=project, **settings)
    return "boxes", metrics.results_dict


def frames(count=14):
    noise = np.random.default_rng(0)
    return [noise.integers(0, 255, (48, 48, 3), dtype=np.uint8) for _ in range(count)]


def predict(own, model):
    for frame in frames():
        result = model.predict(frame, imgsz=32, conf=0.0, verbose=False)[0]
        own.step()
    return "boxes", digest([result.boxes.data])


def stream(own, *models):
    boxes = []
    with tempfile.TemporaryDirectory() as folder:
        for number, frame in enumerate(frames()):
            cv2.imwrite(f"{folder}/{number:02}.png", frame)
        streams = [model.predict(folder, imgsz=32, conf=0.0, stream=True, verbose=False) for model in models]

        def advance():
            for results in streams:
                result = next(results, None)
                if result is not None:
                    boxes.append(result.boxes.data)
            own.step()

        for _ in range(14):
            (on_a_thread if THREADS == "pool" else here)(advance)
    return "boxes", digest(boxes)


def main():
    work = {"train": train, "val": val, "predict": predict, "stream": stream, "streams": stream}[MODE]
    torch.manual_seed(0)
    models = [YOLO(MODEL) for _ in range(4)]
    others = [threading.Thread(target=work, args=(OwnProfiler("none"), model)) for model in models[2:]]
    if THREADS == "many":
        for other in others:
            other.start()
    print(*work(OwnProfiler(OWN), *models[: 2 if MODE == "streams" else 1]))
    if THREADS == "many":
        for other in others:
            other.join()
    with profile(activities=[ProfilerActivity.CPU]) as last:
        torch.ones(2) + 1
    print("at the end a profiler sees", len(last.events()))


if __name__ == "__main__":
    main()
