"""Reports as nsys itself writes them: only nsys can read those, so it is asked to export them into a cache."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shlex
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from tbperf.errors import TraceFormatError

_REPORT_MAGIC = (b"NVIDIA Tegra Profiler Report", b"NVIDIA Nsight Systems Report")
_STREAM_MAGIC = b"NVIDIA Nsight Systems Stream"
_MAGIC_WITHIN = 64
SUFFIXES = (".nsys-rep", ".qdrep", ".qdstrm")

_LONGEST_S = 3600
_MONTH_S = 30 * 24 * 3600


def is_report(head: bytes) -> bool:
    """Tell whether a file is a report of nsys (.nsys-rep, .qdrep) or the raw stream of one (.qdstrm)."""
    return any(magic in head[:_MAGIC_WITHIN] for magic in (*_REPORT_MAGIC, _STREAM_MAGIC))


def exported(path: Path) -> Path:
    """Return the export of a report, made now or before; the report and what lies beside it are left alone.

    Raises TraceFormatError where there is no nsys, or it cannot read the report: with the command to run elsewhere.
    """
    target = _cache() / f"{_fingerprint(path)}.sqlite"
    if target.exists():
        os.utime(target)
        return target
    _let_go(target.parent)
    nsys = _find_nsys()
    command = f"nsys export --type sqlite --output {shlex.quote(path.stem)}.sqlite {shlex.quote(path.name)}"
    if nsys is None:
        raise TraceFormatError(
            f"{path}: a report of Nsight Systems, which only nsys can open, and there is no nsys here",
            f"where it is installed, run: {command}; then analyze the .sqlite file",
        )
    with tempfile.TemporaryDirectory(dir=target.parent, prefix="exporting-") as folder:
        report = path
        with path.open("rb") as file:
            is_stream = _STREAM_MAGIC in file.read(_MAGIC_WITHIN)
        if is_stream:
            report = Path(folder, "report.nsys-rep")
            _run(
                [_importer(path, nsys), "--input-file", str(path), "--output-file", str(report)], report, path, command
            )
        part = Path(folder, "export.sqlite")
        export = [nsys, "export", "--type", "sqlite", "--quiet", "true", "--output", str(part), str(report)]
        _run(export, part, path, command)
        part.replace(target)
    return target


def _run(arguments: list[str], makes: Path, path: Path, command: str) -> None:
    """Run a tool of nsys; it may say that all went well and leave nothing."""
    try:
        done = subprocess.run(  # noqa: S603 - nsys of this machine
            arguments, capture_output=True, text=True, errors="replace", check=False, timeout=_LONGEST_S
        )
        said = next((line.strip() for line in (done.stderr + done.stdout).splitlines()[::-1] if line.strip()), "")
    except (OSError, subprocess.TimeoutExpired) as error:
        said = str(error)
    if not makes.exists():
        raise TraceFormatError(
            f"{path}: nsys cannot export this report: {said or 'it did not say why'}",
            f"with the nsys that recorded it, or a newer one, run: {command}; then analyze the .sqlite file",
        )


PLACES = (Path("/opt/nvidia"), Path("/usr/lib"))
"""Where Nsight Systems is installed, besides the folders on the PATH."""


def _find_nsys() -> str | None:
    """Return the nsys on the PATH, else the newest that is installed."""
    installed = [nsys for place in PLACES for nsys in place.glob("nsight-systems/*/bin/nsys")]
    return shutil.which("nsys") or (str(max(installed)) if installed else None)


def _importer(path: Path, nsys: str) -> str:
    """Return the tool that turns a stream into a report; nsys brings it along, in a folder of its own."""
    beside = sorted(Path(nsys).resolve().parent.parent.glob("host-*/QdstrmImporter"))
    elsewhere = [tool for place in PLACES for tool in place.glob("nsight-systems/**/QdstrmImporter")]
    found = next(map(str, [*beside, *elsewhere]), None) or shutil.which("QdstrmImporter")
    if found is None:
        raise TraceFormatError(
            f"{path}: the raw stream of a recording, and nsys' QdstrmImporter is not here",
            f"where nsys was installed whole, run: QdstrmImporter --input-file {shlex.quote(path.name)}",
        )
    return found


def _let_go(cache: Path) -> None:
    """Remove exports that nobody asked for in a month."""
    for file in cache.glob("*.sqlite"):
        with contextlib.suppress(OSError):
            if time.time() - file.stat().st_mtime > _MONTH_S:
                file.unlink()


def _fingerprint(path: Path) -> str:
    facts = path.stat()
    told = f"{path.resolve()}\0{facts.st_size}\0{facts.st_mtime_ns}"
    return hashlib.sha256(told.encode("utf-8", "surrogateescape")).hexdigest()[:32]


def _cache() -> Path:
    """Return the folder for exports; one that goes with the session where the user's cannot be written."""
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    for folder in (
        Path(base).expanduser() / "tbperf" / "nsys",
        Path(tempfile.gettempdir(), f"tbperf-nsys-{os.getuid()}"),
    ):
        with contextlib.suppress(OSError):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if os.access(folder, os.W_OK) and folder.stat().st_uid == os.getuid():
                return folder
    raise TraceFormatError("no folder to export the report into can be written", "set XDG_CACHE_HOME to one")
