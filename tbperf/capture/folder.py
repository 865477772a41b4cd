"""The run folder: made before the command starts, finished after it, readable at any moment.

trace/         {host}_{pid}[_rank{R}].{ns}.pt.trace.json.gz, one a profiler window
steps.{pid}[_rank{R}].jsonl    one line a step
run.json       what ran, where, and what was recorded
journal/       what the processes reported; folded into run.json at the end
"""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from tbperf.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

_COMPRESSION_LEVEL = 6
_FAST_COMPRESSION_LEVEL = 2
"""Of isal, whose levels end at 3."""
_CHUNK_BYTES = 1 << 20


def create_folder(out: Path | None) -> Path:
    """Make a new, empty run folder; one that exists is never written into.

    Raises:
        UsageError: The name is none that a new folder can have.
        OSError: The folder cannot be made.
    """
    wanted = out if out is not None else Path("runs", "tbperf", time.strftime("%Y-%m-%d-%H%M%S"))
    _check_name(wanted)
    wanted.parent.mkdir(parents=True, exist_ok=True)
    folder = _new_folder(wanted)
    try:
        (folder / "trace").mkdir()
        (folder / "journal").mkdir()
    except OSError:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return folder


def _check_name(out: Path) -> None:
    hint = "name a new folder with --out, such as runs/first"
    if out.name in {"", ".."}:
        raise UsageError(f"{str(out)!r}: not the name of a new folder", hint)
    if os.path.lexists(out) and not os.path.isdir(out):  # noqa: PTH112 - unlike Path.is_dir, no error of its own
        raise UsageError(f"{out}: something that is no folder stands there", hint)


def _new_folder(wanted: Path) -> Path:
    folder, number = wanted, 1
    while True:
        try:
            folder.mkdir()
        except FileExistsError:  # noqa: PERF203 - few are tried
            number += 1
            folder = wanted.with_name(f"{wanted.name}-{number}")
        else:
            return folder


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a JSON file that is there whole or not at all."""
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps(content, indent=1, default=str) + "\n", encoding="utf-8")
    part.replace(path)


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Read JSON lines up to the first that is not whole: its writer was killed."""
    with path.open(encoding="utf-8", errors="replace") as file, contextlib.suppress(ValueError):
        for line in file:
            yield json.loads(line)


def read_journal(folder: Path) -> list[dict[str, Any]]:
    """Return what all processes reported, oldest first."""
    events = [event for path in (folder / "journal").glob("*.jsonl") for event in read_lines(path)]
    return sorted(events, key=lambda event: cast("int", event["unix_ns"]))


def remove_journal(folder: Path) -> None:
    """Remove the journal, once run.json says the same."""
    shutil.rmtree(folder / "journal", ignore_errors=True)


def compress_traces(folder: Path) -> list[Path]:
    """Compress what the processes wrote, where there is room for it, and drop what is not whole; returns the traces."""
    traces = folder / "trace"
    for leftover in traces.glob("*.part*"):
        leftover.unlink()
    for path in sorted(traces.glob("*.pt.trace.json")):
        compressed = path.with_name(path.name + ".gz")
        part = compressed.with_name(compressed.name + ".part")
        try:
            with path.open("rb") as source, _gzip(part) as target:
                shutil.copyfileobj(source, target, _CHUNK_BYTES)
        except OSError:
            # The disk is full: what was recorded is worth more than a smaller file.
            part.unlink(missing_ok=True)
            continue
        part.replace(compressed)
        path.unlink()
    return sorted([*traces.glob("*.pt.trace.json.gz"), *traces.glob("*.pt.trace.json")])


def folder_bytes(folder: Path) -> int:
    """Return how much a folder holds."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _gzip(path: Path) -> BinaryIO:
    try:
        from isal import igzip  # noqa: PLC0415 - several times faster, where it is there
    except ImportError:
        return cast("BinaryIO", gzip.open(path, "wb", compresslevel=_COMPRESSION_LEVEL))
    return cast("BinaryIO", igzip.open(path, "wb", compresslevel=_FAST_COMPRESSION_LEVEL))
