"""Trains, validates and predicts with several versions of Ultralytics beside one torch.

Each version is installed without its dependencies into a folder of its own (--keep FOLDER saves the download the next
time). What does not run without tbperf either is said to be so. `scripts/bench versions [VERSION ...]`.
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

VERSIONS = ("8.0.200", "8.1.47", "8.2.103", "8.3.0", "8.3.200", "8.4.0", "newest")

TINY = Path(__file__).parents[2] / "tests" / "capture" / "faults" / "tiny.yaml"

OLD_DEPENDENCIES = ("tqdm", "seaborn", "py-cpuinfo", "thop")
"""What older versions import and newer ones no longer bring along."""

PROGRAM = """
import numpy
if not hasattr(numpy, "trapz"):  # numpy 2.4 took away what versions before 8.3.100 call
    numpy.trapz = numpy.trapezoid
from ultralytics import YOLO
common = dict(imgsz=96, device="cpu", verbose=False, project="out")
model = YOLO("tiny.yaml")
model.train(data=DATA, epochs=1, batch=8, workers=0, plots=False, close_mosaic=0, **common)
model = YOLO(model.trainer.last)
model.val(data=DATA, batch=8, plots=False, **common)
for _ in model.predict(IMAGES, stream=True, **common):
    pass
"""


def main() -> None:
    """Print a row for each version."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("versions", nargs="*", default=VERSIONS)
    parser.add_argument("--keep", type=Path, help="Folder for the installed versions.")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        data = write_dataset(place / "data", images=64, size=160)
        versions = options.keep or place / "versions"
        dependencies = install_into(versions / "dependencies", OLD_DEPENDENCIES)
        print("| ultralytics | torch | train | val | predict | |\n|---|---|---|---|---|---|")
        for version in options.versions:
            wanted = "ultralytics" if version == "newest" else f"ultralytics=={version}"
            packages = install_into(versions / version, (wanted,))
            print(row(version, f"{packages}{os.pathsep}{dependencies}", place, data), flush=True)


def install_into(folder: Path, distributions: tuple[str, ...]) -> Path:
    """Install into a folder of their own, without what they depend on, unless it is there."""
    if not folder.exists():
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder)]
        subprocess.run([*command, *distributions], check=True)
    return folder


def row(version: str, packages: str, place: Path, data: Path) -> str:
    """Record one version, and lay out what came of it."""
    folder = place / f"run-{version}"
    folder.mkdir()
    images = data.parent / "images" / "val"
    program = PROGRAM.replace("DATA", repr(str(data))).replace("IMAGES", repr(str(images)))
    (folder / "program.py").write_text(program)
    (folder / "tiny.yaml").write_text(TINY.read_text())
    command = [sys.executable, "program.py"]
    recorder = [sys.executable, "-m", "tbperf", "record", "--out", "run", "--"]
    code = run([*recorder, *command], folder, packages)
    about = json.loads((folder / "run" / "run.json").read_text())
    cells = [
        about["versions"]["ultralytics"] or version,
        about["versions"]["torch"] or "",
        *(cell(about, phase) for phase in ("train", "val", "predict")),
        "; ".join(note for note in about["notes"] if "mosaic" not in note),
    ]
    if code:
        alone = run(command, folder, packages)
        last = (folder / "output").read_text().strip().splitlines()[-1]
        cells[-1] += f" exit code {code}, without tbperf {alone}: {last}"
    return "| " + " | ".join(cells) + " |"


def cell(about: dict, phase: str) -> str:
    """Return steps and coverage of a phase."""
    windows = [window for window in about["windows"] if window["phase"] == phase and window["coverage"]]
    if not windows:
        return "not recorded"
    named = median(window["coverage"]["median"] for window in windows)
    return f"{sum(window['steps'] for window in windows)} steps, {named:.2%}"


def run(command: list[str], folder: Path, packages: str) -> int:
    """Run a command with one version of Ultralytics; older ones load their weights as torch did then."""
    path = os.pathsep.join([packages, str(Path(__file__).parents[2])])
    own = {
        "PYTHONPATH": path,
        "YOLO_OFFLINE": "true",
        "YOLO_CONFIG_DIR": str(folder / "config"),
        "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    with (folder / "output").open("w") as output:
        done = subprocess.run(command, cwd=folder, env={**os.environ, **own}, stdout=output, stderr=output, check=False)
    return done.returncode


if __name__ == "__main__":
    main()
