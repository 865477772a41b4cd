"""What can be recorded here, what not, and what would help: looked at, not guessed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tbperf.capture.folder import read_journal
from tbperf.capture.launch import recording_environment
from tbperf.capture.nsight import NsysMissingError, find_nsys, importers
from tbperf.capture.options import RecordOptions
from tbperf.capture.sampler import Sampler, open_nvml

if TYPE_CHECKING:
    from collections.abc import Iterator

_PROBE = Path(__file__).parent / "probe.py"
_TIMEOUT_S = 300
_ENOUGH_BYTES = 2_000_000_000
_INSTALL = "pip install 'tbperf[record]'"


@dataclass(frozen=True)
class Check:
    """One thing that a recording may hold, and whether it can here."""

    what: str
    works: bool
    found: str
    """What was seen."""
    remedy: str = ""
    """What would help; empty where it works or nothing can help."""


def examine_machine(python: str = sys.executable) -> list[Check]:
    """Look at this machine, and at the Python that would run Ultralytics."""
    with tempfile.TemporaryDirectory() as folder:
        probe = _run_probe(python, Path(folder))
        missing = [event["what"] for event in read_journal(Path(folder)) if event["event"] == "missing"]
    torch, ultralytics = probe.get("torch", probe), probe.get("ultralytics", probe)
    return [
        *_of_ultralytics(ultralytics, missing),
        *_of_torch(torch),
        *_of_hardware(),
        *_of_nsight(torch),
        *_of_tensorboard(),
        _of_folder(),
    ]


def _run_probe(python: str, folder: Path) -> dict[str, Any]:
    """Return what the probe says; ``error`` where it could not run."""
    (folder / "journal").mkdir()
    environment = recording_environment(folder, RecordOptions())
    try:
        done = subprocess.run(  # noqa: S603 - the user's own Python
            [python, "-"],
            input=_PROBE.read_text(encoding="utf-8"),
            env=environment,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=_TIMEOUT_S,
        )
        answer: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    except (OSError, subprocess.TimeoutExpired) as error:
        return {"error": f"{python}: {error}"}
    except (IndexError, ValueError):
        lines = done.stderr.strip().splitlines()
        return {"error": f"{python}: {lines[-1] if lines else 'said nothing'}"}
    return answer


def _of_ultralytics(found: dict[str, Any], missing: list[str]) -> Iterator[Check]:
    if "error" in found:
        yield Check("stages of YOLO", works=False, found=found["error"], remedy=_INSTALL)
        return
    lost = [*found["missing_modules"], *dict.fromkeys(missing)]
    yield Check(
        "stages of YOLO",
        works=not lost,
        found=f"ultralytics {found['version']}"
        + (f" lacks {', '.join(lost)}" if lost else ", everything that is tapped is there"),
        remedy="report it; what these would have shown is not recorded, the rest is" if lost else "",
    )


def _of_torch(found: dict[str, Any]) -> Iterator[Check]:
    if "error" in found:
        yield Check("operators", works=False, found=found["error"], remedy=_INSTALL)
        return
    yield Check(
        "operators",
        works=found["kineto"] and found["operators"] > 0,
        found=f"torch {found['version']} recorded {found['operators']} events of a trial on the CPU",
        remedy="" if found["operators"] else "this build has no Kineto: install one from pytorch.org",
    )
    yield _gpu_work(found)
    yield Check(
        "NVTX ranges",
        works=found["nvtx"],
        found="torch's binding is there" if found["nvtx"] else "this build of torch has none",
        remedy="" if found["nvtx"] else "a CUDA build of torch has one, also without a GPU",
    )


def _gpu_work(found: dict[str, Any]) -> Check:
    what = "work of the GPU"
    build = found["cuda"] or found["hip"]
    if not build:
        remedy = "install a CUDA or ROCm build from pytorch.org if this machine has a GPU"
        return Check(what, works=False, found=f"torch {found['version']} is a build for the CPU", remedy=remedy)
    if not found["cuda_available"]:
        remedy = "check the driver (nvidia-smi); in a container, start it with --gpus all"
        return Check(what, works=False, found=f"torch (CUDA or HIP {build}) sees no device", remedy=remedy)
    if not found["kernels"]:
        remedy = "CUPTI has no access: " + _cupti_remedy()
        return Check(what, works=False, found="a trial on the GPU ran, but its kernels were not seen", remedy=remedy)
    return Check(what, works=True, found=f"a trial on the GPU showed {found['kernels']} kernels and copies")


def _cupti_remedy() -> str:
    """Return what usually takes CUPTI's access away here."""
    if "microsoft" in os.uname().release.lower():
        return "on WSL2, enable the developer settings of the GPU's performance counters in Windows"
    if Path("/.dockerenv").exists():
        return "start the container with --cap-add=SYS_ADMIN, or lift the restriction on the host"
    return "load the driver with NVreg_RestrictProfilingToAdminUsers=0 (/etc/modprobe.d), or run as root"


def _of_hardware() -> Iterator[Check]:
    sampler = Sampler(os.getpid())
    names = {name for name, _ in sampler.columns}
    machine = "cpu_percent" in names
    yield Check(
        "processor, memory, disk, network",
        works=machine,
        found=f"{sum(series == 'core_percent' for series, _ in sampler.columns)} cores, over time"
        if machine
        else sampler.absent["cpu_percent"],
        remedy="" if machine else _INSTALL,
    )
    try:
        nvml = open_nvml()
    except LookupError as error:
        remedy = (
            _INSTALL if "installed" in str(error) else "install NVIDIA's driver; other makers' GPUs are not watched"
        )
        yield Check("clocks, power, memory of the GPU", works=False, found=str(error), remedy=remedy)
        return
    lacking = sorted(name for name, why in sampler.absent.items() if why.startswith("GPU"))
    yield Check(
        "clocks, power, memory of the GPU",
        works=True,
        found=f"{nvml.nvmlDeviceGetCount()} GPUs" + (f", without {', '.join(lacking)}" if lacking else ""),
    )


def _of_nsight(torch: dict[str, Any]) -> Iterator[Check]:
    what = "Nsight Systems (--nsys)"
    try:
        nsys = find_nsys()
    except NsysMissingError as error:
        yield Check(what, works=False, found=error.message, remedy=error.hint)
        return
    version = subprocess.run([nsys, "--version"], capture_output=True, text=True, check=False).stdout.strip()  # noqa: S603
    importer = next(importers(nsys), None)
    yield Check(
        what,
        works=importer is not None and bool(torch.get("nvtx")),
        found=f"{version or nsys}, {'with' if importer else 'without'} its importer",
        remedy="" if importer else "install the host package of the same version: captures cannot be read without it",
    )


def _of_tensorboard() -> Iterator[Check]:
    distributions = ("tensorboard", "tensorboard-plugin-profile")
    versions = {name: version for name in distributions if (version := _version(name))}
    yield Check(
        "TensorBoard",
        works=len(versions) == len(distributions),
        found=", ".join(f"{name} {version}" for name, version in versions.items()) or "not installed",
        remedy="" if len(versions) == len(distributions) else "pip install 'tbperf[tensorboard]'",
    )


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _of_folder() -> Check:
    place = Path("runs", "tbperf")
    there = next(folder for folder in (place, place.parent, Path.cwd()) if folder.exists())
    writable = os.access(there, os.W_OK)
    free = shutil.disk_usage(there).free
    enough = free >= _ENOUGH_BYTES
    remedy = "" if writable and enough else "name another folder with --out"
    return Check(
        "run folder",
        works=writable and enough,
        found=f"{place} {'can' if writable else 'cannot'} be written, {free / 1e9:.1f} GB free",
        remedy=remedy,
    )
