"""The process that analyzes a recording for TensorBoard's tab, and tells on standard output how far it is.

It is a process of its own so that TensorBoard goes on answering, and has its memory back afterwards.
"""

from __future__ import annotations

import functools
import gzip
import json
import sys
import time
from pathlib import Path
from typing import Any

ROWS = 1_500_000
"""Of all timelines of a report: over a local connection there is room for every event of most traces."""


def main() -> None:
    """Analyze the paths that follow two files to write: the report, and its timelines; both zipped JSON."""
    report_file, timelines_file, *paths = sys.argv[1:]
    try:
        _analyze(Path(report_file), Path(timelines_file), [Path(path) for path in paths])
    except BrokenPipeError:  # nobody waits for it any longer
        sys.exit(1)
    except Exception as error:  # noqa: BLE001 - whatever it is, the tab says so
        message = getattr(error, "message", None) or f"{type(error).__name__}: {error}"
        _tell(error=message, hint=getattr(error, "hint", ""))
        sys.exit(getattr(error, "exit_code", 1))


def _analyze(report_file: Path, timelines_file: Path, paths: list[Path]) -> None:
    from tbperf.render import render_json  # noqa: PLC0415 - what fails to load is told like any other error
    from tbperf.render.timeline import timeline  # noqa: PLC0415
    from tbperf.report import analyze_and  # noqa: PLC0415

    told = 0.0

    def progress(name: str, size: int, events: int) -> None:
        nonlocal told
        if time.monotonic() - told > _SELDOM_S:
            told = time.monotonic()
            _tell(reading=name.rpartition("/")[2], bytes=size, events=events)

    budget = functools.partial(timeline, rows=max(50_000, ROWS // max(1, len(paths))))
    report, timelines = analyze_and(paths, budget, progress=progress)
    report_file.write_bytes(gzip.compress(render_json(report).encode(), _LEVEL))
    timelines_file.write_bytes(gzip.compress(json.dumps(timelines).encode(), _LEVEL))
    _tell(done=True)


_SELDOM_S = 0.2
_LEVEL = 4


def _tell(**what: Any) -> None:
    print(json.dumps(what), flush=True)  # noqa: T201 - the way to the process that waits
