"""What recording costs: the same training or prediction alone, with the always-on log, and with a window; in turn.

Each round runs the three one after the other in processes of their own, and the program itself measures its steps:
wall clock and processor time. A ratio compares neighbours of a round, so that a machine that gets slower hits both;
the ratio of two runs without tbperf is the noise that the others must be held against. The last line counts the time
inside tbperf's own code, which no noise hides.   `scripts/bench record [--rounds N]`
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

from tbperf.capture.dataset import write_dataset

PROGRAM = """
import json, time
from ultralytics import YOLO

steps = []

def begun(engine):
    engine.begun = time.perf_counter_ns(), time.process_time_ns()

def ended(engine):
    steps.append([time.perf_counter_ns() - engine.begun[0], time.process_time_ns() - engine.begun[1]])
    begun(engine)

model = YOLO(MODEL)
RUN
json.dump(steps, open("steps.json", "w"))
"""

RUNS = {
    "train": """
model.add_callback("on_train_epoch_start", begun)
model.add_callback("on_train_batch_end", ended)
model.train(data=DATA, epochs=1, imgsz=IMGSZ, batch=8, workers=0, device="cpu", plots=False, val=False,
            close_mosaic=0, seed=1, project="out", name="train", exist_ok=True)
""",
    "predict": """
model.add_callback("on_predict_start", begun)
model.add_callback("on_predict_batch_end", ended)
for _ in model.predict(IMAGES, stream=True, imgsz=IMGSZ, device="cpu", verbose=False):
    pass
""",
}

COUNTING = """
import collections, json, os, sys, time
sys.path.insert(0, BOOTSTRAP)
from tbperf_inside import guard
spent, inside = collections.defaultdict(list), [False]
call = guard.Guard.__call__

def counted(self, function, *args, **kwargs):
    if inside[0]:
        return call(self, function, *args, **kwargs)
    inside[0] = True
    began = time.perf_counter_ns()
    try:
        return call(self, function, *args, **kwargs)
    finally:
        spent[getattr(function, "__qualname__", repr(type(function)))].append(time.perf_counter_ns() - began)
        inside[0] = False

guard.Guard.__call__ = counted
import atexit
atexit.register(lambda: spent and json.dump(spent, open("inside.json", "w")))  # not of the parent
"""

NEVER = ("--steps", "1000000")
WARM = 4
"""Steps of each run that are left out: they are slow for reasons of their own."""


def main() -> None:
    """Run the rounds and print ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--phase", choices=RUNS, default="train")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--images", type=int, default=240)
    parser.add_argument("--imgsz", type=int, default=160)
    parser.add_argument("--model", default="yolov8n.yaml", help="a smaller one has shorter steps, which shows more")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        data = write_dataset(place / "data", images=options.images, size=options.imgsz)
        model = Path(options.model)
        model = model.resolve() if model.exists() else model
        program = PROGRAM.replace("RUN", RUNS[options.phase].strip())
        values = {"DATA": str(data), "IMAGES": str(data.parent / "images" / "train"), "MODEL": str(model)}
        for name, value in {**values, "IMGSZ": options.imgsz}.items():
            program = program.replace(name, repr(value))
        (place / "program.py").write_text(program)
        rounds: list[dict[str, Steps]] = []
        for number in range(options.rounds):
            rounds.append(one_round(place, options.phase))
            medians = "   ".join(f"{way} {typical(steps, 0) / 1e6:.2f} ms" for way, steps in rounds[-1].items())
            print(f"round {number + 1}: {medians}", flush=True)
        if rounds:
            show(rounds)
        show_inside(place, options.phase)


Steps = dict[int, tuple[int, int]]
"""Wall clock and processor time of each warm step, in ns."""


def one_round(place: Path, phase: str) -> dict[str, Steps]:
    """Run each way once; alone twice, for the noise."""
    return {
        "alone": run(place, phase, None),
        "always on": run(place, phase, NEVER),
        "alone again": run(place, phase, None),
        "profiled": run(place, phase, ()),
    }


def run(place: Path, phase: str, options: tuple[str, ...] | None, environment: dict[str, str] | None = None) -> Steps:
    """Run the program; of a recorded one with a window, return the profiled steps."""
    command = [sys.executable, "program.py"]
    if options is not None:
        command = [sys.executable, "-m", "tbperf", "record", "--out", "run", *options, "--", *command]
    own = {
        "YOLO_OFFLINE": "true",
        "YOLO_CONFIG_DIR": str(place / "config"),
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        **(environment or {}),
    }
    subprocess.run(command, cwd=place, env={**os.environ, **own}, check=True, capture_output=True)
    steps = dict(enumerate(map(tuple, json.loads((place / "steps.json").read_text()))))
    warm = {number: times for number, times in steps.items() if number >= WARM}
    if options == ():
        log = next(max(place.glob("run*"), key=lambda folder: folder.stat().st_mtime_ns).glob("steps.*.jsonl"))
        rows = map(json.loads, log.read_text().splitlines())
        profiled = {row["step"] for row in rows if row["phase"] == phase and row["profiler"] == "active"}
        # The window's last step ends with writing the trace, which no step of the log counts.
        return {number: times for number, times in warm.items() if number in profiled - {max(profiled)}}
    return warm


def show(rounds: list[dict[str, Steps]]) -> None:
    """Print the ratio of each way to its neighbour without tbperf."""
    print(f"{len(rounds)} rounds of {len(rounds[0]['alone'])} warm steps")
    print(f"{'':28} {'wall clock':>24} {'processor time':>24}")
    for title, way, other in (
        ("noise: alone / alone", "alone again", "alone"),
        ("always on / alone", "always on", "alone"),
        ("profiled / alone", "profiled", "alone again"),
    ):
        cells = [ratio([typical(r[way], clock) / typical(r[other], clock) for r in rounds]) for clock in (0, 1)]
        print(f"{title:28} {cells[0]:>24} {cells[1]:>24}")


def typical(steps: Steps, clock: int) -> float:
    """Return the median of one clock."""
    return median(times[clock] for times in steps.values())


def ratio(values: list[float]) -> str:
    """Return the median and the range."""
    return f"{median(values):.3f} ({min(values):.3f} … {max(values):.3f})"


def show_inside(place: Path, phase: str) -> None:
    """Count the time inside tbperf's code in a run without a window."""
    bootstrap = Path(__file__).parents[2] / "tbperf" / "capture" / "bootstrap"
    counting = place / "counting"
    counting.mkdir()
    (counting / "sitecustomize.py").write_text(COUNTING.replace("BOOTSTRAP", repr(str(bootstrap))))
    steps = run(place, phase, NEVER, {"PYTHONPATH": f"{Path(__file__).parents[2]}{os.pathsep}{counting}"})
    spent = json.loads((place / "inside.json").read_text())
    number = len(steps) + WARM
    # What happens less than once a step happens once a run, or once a second.
    often = {name: (len(times) / number, median(times)) for name, times in spent.items() if len(times) >= number}
    a_step = sum(count * ns for count, ns in often.values())
    once = sum(map(sum, spent.values())) - a_step * number
    whole = typical(steps, 0)
    calls = sum(count for count, _ in often.values())
    print(f"inside tbperf: {a_step / 1000:.0f} µs a step of {whole / 1e6:.1f} ms ({a_step / whole:.3%})")
    print(f"in {calls:.0f} calls; {once / 1e6:.0f} ms of the run besides")
    for name, (count, ns) in sorted(often.items(), key=lambda item: -item[1][0] * item[1][1])[:6]:
        print(f"    {count * ns / 1000:6.1f} µs a step: {count:5.1f} calls of {name}")


if __name__ == "__main__":
    main()
