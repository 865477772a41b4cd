"""Programs that profile themselves, or predict on many threads: under the recorder they end as they do alone.

A few combinations are tried here; all of them, so many times each, with ``TBPERF_PROGRAMS=20`` (hours).
"""

import itertools
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.record

PROGRAM = Path(__file__).parent / "profiled_program.py"
EVERY = int(os.environ.get("TBPERF_PROGRAMS", "0"))
OWN = ("none", "torch", "torch@thread", "autograd", "schedule", "itt", "observer", "all_threads", "left_open")
FEW = [
    ("train", "torch", "one"),
    ("train", "schedule", "one"),
    ("stream", "none", "pool"),
    ("streams", "torch@thread", "one"),
    ("predict", "none", "many"),
]
ALL = [
    (mode, own, threads)
    for mode, own, threads in itertools.product(
        ("train", "val", "predict", "stream", "streams"), OWN, ("one", "pool", "many")
    )
    if threads == "one" or mode not in {"train", "val"}
]
TOLD = ("own", "of tbperf", "weights", "boxes", "at the end")
WARNED = re.compile(r"USDT|^ERROR|^\[W|Warning|Traceback|\w+Error")


def told(result):
    """Return what depends on the program alone: its exit code, what it computed, and what was complained about."""
    lines = [re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", line) for line in result.stderr.splitlines()]
    complaints = [re.sub(r"\d+", "N", line) for line in lines if WARNED.search(line)]
    # Kineto complains when it starts on a thread of the program's own, unless it was used before.
    complaints = [line for line in complaints if "External init callback" not in line]
    return result.returncode, [line for line in result.stdout.splitlines() if line.startswith(TOLD)], complaints


@pytest.mark.parametrize(("mode", "own", "threads"), ALL if EVERY else FEW)
def test_a_program_under_the_recorder_ends_as_it_does_alone(
    mode, own, threads, workplace, environment, run_tbperf, tmp_path
):
    command = [sys.executable, str(PROGRAM), mode, own, threads, "data/data.yaml"]
    alone = subprocess.run(command, cwd=workplace, env=environment, capture_output=True, text=True, check=False)
    assert alone.returncode == 0, alone.stderr
    for number in range(EVERY or 1):
        folder = tmp_path / f"run-{number}"
        recorded = run_tbperf("record", "--out", folder, "--", *command)
        assert told(recorded) == told(alone), recorded.stderr
        about = json.loads((folder / "run.json").read_text())
        steps = {"train": 40, "val": 40}.get(mode, {"streams": 28}.get(mode, 14)) * (3 if threads == "many" else 1)
        assert about["steps"][{"stream": "predict", "streams": "predict"}.get(mode, mode)]["steps"] == steps
        assert about["windows"] or own == "left_open"
