"""What a window costs the steps in it, held against their neighbours, over step lengths, threads and workers.

A training with the default options opens a window of two steps every seven; each profiled step is compared with the
steps of its kind next to it (as `steps.*.slowdown` of run.json is), by wall clock and by processor time: a machine that
gets slower hits both.  Settings take turns.   `scripts/bench profiled [--rounds N] [--settings "20 ms,1 s"]`
"""

from __future__ import annotations

import argparse
import itertools
import os
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from statistics import median
from typing import NamedTuple

from tbperf.capture.dataset import write_dataset
from tbperf.capture.summary import FEWEST_STEPS, read_steps, summarize_steps

PROGRAM = """
import sys
from ultralytics import YOLO

def with_workers(trainer):
    trainer.args.workers = WORKERS  # Ultralytics allows none on the CPU

if __name__ == "__main__":
    model = YOLO(MODEL)
    model.add_callback("on_pretrain_routine_start", with_workers)
    model.train(data=DATA, epochs=2, imgsz=IMGSZ, batch=BATCH, device="cpu", plots=False, val=False, save=False,
                close_mosaic=0, seed=1, project="out", exist_ok=True)
"""

SMALL = """
nc: 3
scales: {n: [1.0, 1.0, 1024]}
backbone: [[-1, 1, Conv, [8, 3, 2]], [-1, 1, Conv, [16, 3, 2]], [-1, 1, C2f, [16]], [-1, 1, Conv, [32, 3, 2]]]
head: [[[1, 3], 1, Detect, [nc]]]
"""


WINDOWS = ("--wait", "4", "--active", "2", "--gap", "4", "--repeat", "1000")


class Setting(NamedTuple):
    """A training."""

    model: str
    imgsz: int
    batch: int
    images: int


SETTINGS = {
    "20 ms": Setting("small.yaml", 64, 2, 60),
    "60 ms": Setting("small.yaml", 128, 8, 240),
    "200 ms": Setting("yolov8n.yaml", 96, 4, 120),
    "400 ms": Setting("yolov8n.yaml", 160, 8, 200),
    "1 s": Setting("yolov8n.yaml", 288, 8, 160),
}


def main() -> None:
    """Run the rounds and print ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--settings", default=",".join(SETTINGS))
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--workers", default="0,2")
    parser.add_argument("options", nargs="*", help="of tbperf record")
    options = parser.parse_args()
    wanted = list(
        itertools.product(
            options.settings.split(","), map(int, options.threads.split(",")), map(int, options.workers.split(","))
        )
    )
    found: dict[tuple[str, int, int], list[Cost]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        (place / "small.yaml").write_text(SMALL)
        for _, case in itertools.product(range(options.rounds), wanted):
            found[case].append(run(place, SETTINGS[case[0]], *case[1:], options.options))
            print(".", end="", file=sys.stderr, flush=True)
    print(f"\n{'step':>10} {'threads':>8} {'workers':>8} {'a step':>10} {'wall clock':>24} {'processor time':>24}")
    for (setting, threads, workers), costs in found.items():
        length = f"{median(cost.step_ns for cost in costs) / 1e6:.1f} ms"
        cells = [ratio([cost[clock] for cost in costs]) for clock in (1, 2)]
        print(f"{setting:>10} {threads:>8} {workers:>8} {length:>10} {cells[0]:>24} {cells[1]:>24}")


class Cost(NamedTuple):
    """What the window of one run cost its steps."""

    step_ns: float
    """Of a step without the profiler."""
    wall: float
    processor: float


def run(place: Path, setting: Setting, threads: int, workers: int, options: list[str]) -> Cost:
    """Train once and compare."""
    data = place / f"data-{setting.images}-{setting.imgsz}"
    if not data.exists():
        write_dataset(data, images=setting.images, size=setting.imgsz)
    model = place / setting.model
    program = PROGRAM.replace("WORKERS", str(workers)).replace("BATCH", str(setting.batch))
    for name, value in {
        "MODEL": str(model) if model.exists() else setting.model,
        "DATA": str(data / "data.yaml"),
        "IMGSZ": setting.imgsz,
    }.items():
        program = program.replace(name, repr(value))
    (place / "program.py").write_text(program)
    folder = Path(tempfile.mkdtemp(dir=place)) / "run"
    command = [sys.executable, "-m", "tbperf", "record", "--out", str(folder), *WINDOWS, *options, "--"]
    own = {
        "YOLO_OFFLINE": "true",
        "YOLO_CONFIG_DIR": str(place / "config"),
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "OMP_NUM_THREADS": str(threads),
    }
    subprocess.run(
        [*command, sys.executable, "program.py"], cwd=place, env={**os.environ, **own}, check=True, capture_output=True
    )
    steps = [step for step in read_steps(folder) if step["phase"] == "train"]
    by_processor = [{**step, "dur_ns": step["cpu_ns"]} for step in steps]
    wall, processor = (summarize_steps(rows)["train"] for rows in (steps, by_processor))
    if wall["slowdown"] is None:
        sys.exit(f"{setting}: fewer than {FEWEST_STEPS} steps of a kind")
    return Cost(wall["unprofiled"]["median_dur_ns"], wall["slowdown"], processor["slowdown"])


def ratio(values: list[float]) -> str:
    """Return the median and the range."""
    return f"{median(values):.3f} ({min(values):.3f} … {max(values):.3f})"


if __name__ == "__main__":
    main()
