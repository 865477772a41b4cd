"""What can be compared: recordings of any sort, and reports on them in JSON."""

from __future__ import annotations

import re
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import msgspec

from tbperf.analyses import Rows
from tbperf.comparison.comparing import compare_reports
from tbperf.errors import TraceFormatError
from tbperf.report import SCHEMA, Report, analyze

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from tbperf.comparison.result import Comparison

_Path = str | PathLike[str]
_SNIFF_BYTES = 64
_OURS = re.compile(rb'\A\s*\{\s*"tbperf"\s*:')


class _Header(msgspec.Struct):
    schema: str = ""


def compare(  # noqa: PLR0913 - one parameter a choice
    a: _Path | Iterable[_Path],
    b: _Path | Iterable[_Path],
    *,
    phase: str | None = None,
    force: bool = False,
    jobs: int = 0,
    progress: Callable[[str, int, int], None] = lambda _name, _bytes, _events: None,
) -> Comparison:
    """Compare what was recorded before with what was recorded after.

    Each side is a recording (whatever `analyze` takes) or a report in JSON, or several: replicas of each other, which
    tell how far runs differ where nothing was changed.  Raises UsageError where the sides cannot be compared (other
    hardware, another image size …) unless ``force``; TraceFormatError for what cannot be read.
    """
    sides = [[read_report(path, jobs=jobs, progress=progress) for path in _listed(side)] for side in (a, b)]
    return compare_reports(sides[0], sides[1], phase=phase, force=force)


def _listed(side: _Path | Iterable[_Path]) -> list[_Path]:
    return [side] if isinstance(side, (str, PathLike)) else list(side)


def read_report(
    path: _Path,
    *,
    jobs: int = 0,
    progress: Callable[[str, int, int], None] = lambda _name, _bytes, _events: None,
) -> Report:
    """Return the report on a recording, or the one that a JSON file holds."""
    file = Path(path)
    if not _is_report(file):
        return analyze(file, jobs=jobs, progress=progress)
    try:
        content = file.read_bytes()
        schema = msgspec.json.decode(content, type=_Header).schema
        if schema != SCHEMA:
            raise TraceFormatError(f"{path}: its schema is {schema!r}", f"this version reads {SCHEMA!r}")
        return msgspec.json.decode(content, type=Report, dec_hook=_rows)
    except msgspec.ValidationError as error:
        hint = "analyze its recording again with this version"
        raise TraceFormatError(f"{path}: not a whole report: {error}", hint) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise TraceFormatError(f"{path}: not a whole report: {error}", "write it again") from error


def _is_report(path: Path) -> bool:
    """Tell by the first bytes whether a file is a report of ours."""
    if not path.is_file():
        return False  # what is read from a pipe to look at it is gone
    try:
        with path.open("rb") as file:
            return bool(_OURS.match(file.read(_SNIFF_BYTES)))
    except OSError:
        return False  # reading it as a trace says why


def _rows(of: Any, value: Any) -> Any:
    row: Any = get_args(of)[0]
    rows: list[Any] = msgspec.convert(value, list[row], dec_hook=_rows)
    return Rows(rows)
