"""Runs a command under Nsight Systems, and turns what that leaves into SQLite that can be shared.

NVIDIA's report (``.nsys-rep``) and its export carry the environment and the output of the program, and names of other
processes.  Of the export only what a profile needs is kept; the report is removed unless it is asked for.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from tbperf.errors import TbperfError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

FOLDER = "nsys"

WINDOW = "tbperf.window"
"""The range that is captured where there is no CUDA; bootstrap/tbperf_inside/ranges.py opens it."""

_TRACED = "cuda,nvtx,osrt,cudnn,cublas"
_TOLD_ABOUT_TARGET = (
    "CpuCores",
    "CpuDescription",
    "CudaDriverVersion",
    "NvDriverVersion",
    "OsDescription",
    "HardwarePlatform",
    "GpuInfo",
)
_TIMEOUT_S = 600


class NsysMissingError(TbperfError):
    """Nsight Systems was asked for and is not there."""


def find_nsys() -> Path:
    """Return the newest ``nsys`` that can be found.

    Raises:
        NsysMissingError: There is none.
    """
    on_path = shutil.which("nsys")
    if on_path:
        return Path(on_path)
    for pattern in ("nvidia/nsight-systems/*/bin/nsys", "nvidia/nsight-compute/*/host/target-linux-x64/nsys"):
        found = sorted(Path("/opt").glob(pattern))
        if found:
            return found[-1]
    raise NsysMissingError(
        "nsys: command not found: Nsight Systems is not installed",
        "install NVIDIA's nsight-systems (Debian: component non-free), or record without --nsys",
    )


def nsys_command(nsys: Path, folder: Path, command: Sequence[str], *, cuda: bool) -> list[str]:
    """Return the command that runs ``command`` under nsys, capturing the first window.

    It ends with the capture, not with the program: by default nsys would send SIGTERM at the end of a capture range.
    """
    report = folder / FOLDER / "report"
    capture = ["-c", "cudaProfilerApi"] if cuda else ["-c", "nvtx", f"--nvtx-capture={WINDOW}"]
    return [
        *(str(nsys), "profile", "-o", str(report.resolve()), "-t", _TRACED if cuda else "nvtx,osrt"),
        *("-s", "none", "--cpuctxsw=none", "--capture-range-end=stop", "--kill=none", "--wait=primary"),
        *(capture if cuda else [*capture, "-e", "NSYS_NVTX_PROFILER_REGISTER_ONLY=0"]),
        *command,
    ]


def export_report(nsys: Path, folder: Path, *, keep: bool) -> tuple[Path | None, list[str]]:
    """Export what nsys left in a run folder to SQLite.

    Args:
        nsys: The very version that recorded: another may not read the report.
        folder: The run folder.
        keep: Whether NVIDIA's own report stays, with the environment in it.

    Returns:
        The SQLite file, None where there is none, and what the user must know.
    """
    place = folder / FOLDER
    notes: list[str] = []
    report = place / "report.nsys-rep"
    if not report.exists():
        raw = next(place.glob("*.qdstrm"), None)
        if raw is None:
            return None, ["nsys left no report: no window began, or it was stopped before it could write one"]
        try:
            notes.append(_import(nsys, raw, report))
        except LookupError as error:
            return None, [str(error)]
    target = place / "report.sqlite"
    done = _run([str(nsys), "export", "-t", "sqlite", "--lazy=false", "-f", "true", "-o", str(target), str(report)])
    if not target.exists():
        # Older versions know no --lazy.
        done = _run([str(nsys), "export", "-t", "sqlite", "-f", "true", "-o", str(target), str(report)])
    if not target.exists():
        return None, [*notes, f"nsys could not export its report: {done}"]
    if not keep:
        report.unlink()
    try:
        _scrub(target)
    except sqlite3.Error as error:
        # With the environment still in it, it is not kept.
        target.unlink()
        return None, [*notes, f"nsys exported something that is no database: {error}"]
    return target, notes


def _run(command: list[str]) -> str:
    """Run a command and return the last line of what it said."""
    try:
        done = subprocess.run(  # noqa: S603 - nsys, as it was found
            command, capture_output=True, text=True, errors="replace", check=False, timeout=_TIMEOUT_S
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    lines = (done.stdout + done.stderr).strip().splitlines()
    return lines[-1] if lines else f"exit code {done.returncode}"


def _import(nsys: Path, raw: Path, report: Path) -> str:
    """Turn a capture that nsys could not import itself into a report."""
    hint = f"its importer is missing; with NVIDIA's host package: QdstrmImporter -i {raw}"
    for importer in importers(nsys):
        said = _run([str(importer), "-i", str(raw), "-o", str(report)])
        if report.exists():
            raw.unlink()
            return f"nsys found no importer beside it; {importer} was used"
        hint = f"{importer} failed: {said}"
    raise LookupError(f"nsys left a capture and no report: {hint}")


def importers(nsys: Path) -> Iterator[Path]:
    """Yield the importers that are installed: nsys looks only beside its own real folder."""
    beside = Path(os.path.realpath(nsys)).parent.parent
    places = [beside, Path("/usr/lib/nsight-systems"), *sorted(Path("/opt/nvidia").glob("nsight-*/*"), reverse=True)]
    for place in places:
        for folder in sorted(place.glob("host-linux-*")):
            importer = folder / "QdstrmImporter"
            if importer.exists():
                yield importer


def _scrub(path: Path) -> None:
    """Remove what a profile does not need and nobody should share: environment, output, other processes."""
    with contextlib.closing(sqlite3.connect(path)) as database:
        tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if "ProcessStreams" in tables:
            database.execute(
                "DELETE FROM StringIds WHERE id IN (SELECT filenameId FROM ProcessStreams)"
                " OR id IN (SELECT contentId FROM ProcessStreams)"
            )
        for table in {"ProcessStreams", "ANALYSIS_FILE"} & tables:
            database.execute(f"DELETE FROM {table}")  # noqa: S608 - a name from the line above
        if "TARGET_INFO_SYSTEM_ENV" in tables:
            marks = ",".join("?" * len(_TOLD_ABOUT_TARGET))
            database.execute(f"DELETE FROM TARGET_INFO_SYSTEM_ENV WHERE name NOT IN ({marks})", _TOLD_ABOUT_TARGET)  # noqa: S608 - only marks
        if "META_DATA_CAPTURE" in tables:
            database.execute("DELETE FROM META_DATA_CAPTURE WHERE name LIKE '%ENV%' OR name LIKE '%HOST%'")
        if "PROCESSES" in tables:
            _forget_other_processes(database, tables)
        if "StringIds" in tables:
            database.execute("DELETE FROM StringIds WHERE instr(value, char(0)) OR value LIKE 'PATH=%'")
        database.commit()
        database.execute("VACUUM")


def _forget_other_processes(database: sqlite3.Connection, tables: set[str]) -> None:
    traced: set[int] = set()
    for table in tables & {"NVTX_EVENTS", "CUPTI_ACTIVITY_KIND_RUNTIME", "OSRT_API", "PROFILER_OVERHEAD"}:
        rows = database.execute(f"SELECT DISTINCT globalTid / 0x1000000 * 0x1000000 FROM {table}")  # noqa: S608 - as above
        traced |= {number for (number,) in rows if number is not None}
    for (number,) in database.execute("SELECT DISTINCT globalPid FROM PROCESSES").fetchall():
        if number not in traced:
            database.execute("DELETE FROM PROCESSES WHERE globalPid = ?", (number,))
