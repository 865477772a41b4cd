"""A disk that is really full, as small file systems in memory are soon: the run ends as it would have."""

import gzip
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

pytestmark = pytest.mark.record

TINY = Path(__file__).parent / "faults" / "tiny.yaml"

PROGRAM = """
import sys, torch
from ultralytics import YOLO
model = YOLO(TINY)
model.train(data=DATA, epochs=1, imgsz=32, batch=4, workers=0, device="cpu", plots=False, seed=1, project=sys.argv[1])
sys.exit(3)
"""


@pytest.fixture
def small_disk(tmp_path):
    """Return a function that mounts a file system of a size."""
    folder = tmp_path / "disk"

    def mount(kilobytes):
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", folder]
        mounted = subprocess.run(command, capture_output=True, check=False)
        if mounted.returncode:
            pytest.skip(f"file systems cannot be mounted here: {mounted.stderr.decode().strip()}")
        return folder

    yield mount
    if folder.exists() and os.path.ismount(folder):
        subprocess.run(["umount", folder], check=True)


@pytest.fixture(scope="module")
def program(workplace, tmp_path_factory):
    path = tmp_path_factory.mktemp("program") / "program.py"
    data = str(workplace / "data" / "data.yaml")
    path.write_text(PROGRAM.replace("DATA", repr(data)).replace("TINY", repr(str(TINY))))
    return path


@pytest.fixture(scope="module")
def alone(program, environment, tmp_path_factory):
    place = tmp_path_factory.mktemp("alone")
    done = subprocess.run([sys.executable, program, place], env=environment, capture_output=True, check=False)
    assert done.returncode == 3, done.stderr
    return weights(place)


def weights(place):
    (path,) = place.rglob("last.pt")
    trained = torch.load(path, map_location="cpu", weights_only=False)
    tensors = (trained["ema"] or trained["model"]).state_dict()
    return hashlib.sha256(b"".join(tensor.numpy().tobytes() for tensor in tensors.values())).hexdigest()


@pytest.fixture(scope="module")
def trace_kilobytes(run_tbperf, program, tmp_path_factory):
    """Return how large the run's traces are where there is room for them, before they are compressed."""
    place = tmp_path_factory.mktemp("roomy")
    result = run_tbperf("record", "--out", place / "run", "--", sys.executable, program, place)
    assert result.returncode == 3, result.stderr
    traces = (place / "run" / "trace").iterdir()
    return sum(len(gzip.decompress(path.read_bytes())) for path in traces) >> 10


def record_on(folder, run_tbperf, program, alone, yolo):
    """Record into a folder on a small disk; the run is the same run, and says what came of the recording."""
    result = run_tbperf("record", "--out", folder, "--", sys.executable, program, yolo)
    assert result.returncode == 3, result.stderr
    assert weights(yolo) == alone
    assert "Traceback" not in result.stderr
    return result.stderr, json.loads((folder / "run.json").read_text())


def test_room_for_nothing(small_disk, run_tbperf, program, alone, tmp_path):
    said, about = record_on(small_disk(4) / "run", run_tbperf, program, alone, tmp_path)
    assert said.count("No space left on device") == 3  # inside the program, of the hardware, and at its end
    assert about["status"] == "running"


def test_room_for_the_step_log_and_some_of_a_trace(small_disk, run_tbperf, program, alone, trace_kilobytes, tmp_path):
    folder = small_disk(trace_kilobytes // 4) / "run"
    said, about = record_on(folder, run_tbperf, program, alone, tmp_path)
    assert said.count("no space left") == 2  # when it happens, and in the summary
    assert about["status"] == "ended"
    assert about["steps"]["train"]["steps"] >= 8
    assert list((folder / "trace").iterdir()) == []


def test_room_for_a_trace_but_not_for_a_smaller_copy_of_it(
    small_disk, run_tbperf, program, alone, trace_kilobytes, tmp_path
):
    folder = small_disk(trace_kilobytes + 80) / "run"
    _, about = record_on(folder, run_tbperf, program, alone, tmp_path)
    assert about["status"] == "ended"
    assert about["steps"]["train"]["steps"] >= 8
    plain = [path for path in (folder / "trace").iterdir() if path.suffix == ".json"]
    assert plain
    for path in plain:
        assert json.loads(path.read_text())["traceEvents"]
    assert any("no room to compress" in note for note in about["notes"])
