"""Exports of traces to the places where TensorBoard's dashboards look for them.

Below the folder of the run (or beside the trace), or below another one:

    plugins/profile/<capture>/<host>.xplane.pb                 the Profile tab (XProf)
    plugins/torch-tb-legacy/<worker>.<ns>.pt.trace.json.gz     the old tab (torch-tb-profiler)
    tbperf/<capture>[/<rank>]/events.out.tfevents.…            Scalars and Text
    plugins/tbperf/exports.json                                what was exported from which file

A capture is one recorded window; ranks of a job are its hosts.  What stands there already is never replaced.
"""

from __future__ import annotations

import contextlib
import functools
import gzip
import itertools
import json
import os
import re
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from tbperf.analyses import examine
from tbperf.errors import TbperfError, TraceFormatError
from tbperf.readers import find_traces, read_trace
from tbperf.readers.run import find_run, read_steps
from tbperf.render import render_markdown
from tbperf.report import report_on
from tbperf.tensorboard.scalars import joined, series_of_log, series_of_trace
from tbperf.tensorboard.torch_tb import LABEL, encode_torch_tb
from tbperf.tensorboard.xspace import MOST_KERNEL_ROWS, encode_xspace, kernel_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from tbperf.readers import Source
    from tbperf.trace import Trace

XPROF, TORCH_TB, TENSORBOARD = TARGETS = ("xprof", "torch-tb", "tensorboard")
"""The Profile tab, the old tab, and the dashboards that come with TensorBoard."""

_INSTALL = "pip install 'tbperf[tensorboard]'"
_LEAD_NS = 60 * 10**9
"""XProf knows no times before zero: ranks that began earlier than the first one that is read have so much room."""


@dataclass
class Exported:
    """What an export did."""

    written: list[Path] = field(default_factory=list)
    kept: list[Path] = field(default_factory=list)
    """Exported before, from the same file."""
    notes: list[str] = field(default_factory=list)
    """What could not be done, one line each."""


def export(
    path: Path,
    targets: Sequence[str],
    out: Path | None = None,
    *,
    jobs: int = 0,
    progress: Callable[[str, int, int], None] = lambda _name, _bytes, _events: None,
) -> Exported:
    """Export every trace that a path stands for; into the folder of its run, where no other is named.

    Traces are read one after the other; one that cannot be read does not keep the others from being exported, and
    stands in the notes.  Raises TbperfError where nothing can be written, TraceFormatError where nothing can be read.
    """
    if TENSORBOARD in targets:
        require_tensorboard()
    done, places = Exported(), _Places()
    failed: list[TbperfError] = []
    rows: Counter[Path] = Counter()
    sources = _sources(path, failed)
    for source in sources:
        home = out or _home(source, path)
        ledger = _Ledger.read(home)
        before = {target: ledger.of(source, path, target) for target in targets}
        done.kept += [file for file in before.values() if file is not None]
        missing = [target for target, file in before.items() if file is None]
        if not missing:
            continue
        try:
            trace = read_trace(source, jobs=jobs, progress=functools.partial(progress, source.name))
            for target in missing:
                file = _EXPORTERS[target](trace, home, places.of(trace, source, path, home))
                ledger.note(source, path, target, file)
                done.written.append(file)
                if target == XPROF:
                    rows[file.parent] += kernel_rows(trace)
        except TbperfError as error:
            failed.append(error)
    if failed and not (done.written or done.kept):
        raise failed[0]
    done.notes += [error.message for error in failed]
    done.notes += [
        f"{capture}: XProf keeps {MOST_KERNEL_ROWS:,} rows of kernels for all hosts together, the dearest of {count:,};"
        " its rows for a single host are complete"
        for capture, count in rows.items()
        if count > MOST_KERNEL_ROWS
    ]
    return done


def _sources(path: Path, failed: list[TbperfError]) -> Iterator[Source]:
    """Yield the traces of a path; an archive may be damaged behind members that were read."""
    first = True
    try:
        for source in find_traces(path):
            _require_file(source, path)
            yield source
            first = False
    except TraceFormatError as error:
        if first:
            raise
        failed.append(error)


def _require_file(source: Source, path: Path) -> None:
    if source.passing and not path.is_file():
        raise TraceFormatError(
            f"{source.name}: exports lie beside their trace, which must be a file of its own for that",
            "write it to a file first",
        )


def require_tensorboard() -> None:
    """Raise TbperfError where TensorBoard is not installed, or broken."""
    try:
        import tensorboard.compat.proto.event_pb2  # noqa: F401, PLC0415
    except ModuleNotFoundError as error:
        raise TbperfError("TensorBoard is not installed", _INSTALL) from error
    except Exception as error:
        raise TbperfError(f"TensorBoard is installed, but broken: {error}", _INSTALL) from error


def _home(source: Source, path: Path) -> Path:
    """Return the folder that exports of a trace belong to: its run's, else its own."""
    lasting = source.lasting_path
    if lasting is None:
        return path.parent
    run = find_run(lasting)
    return Path(run.folder) if run else lasting.parent


@dataclass(frozen=True)
class _Place:
    """Where a trace stands among the others."""

    capture: str
    host: str
    timestamp_ns: int
    is_one_of_many: bool


class _Places:
    """Names captures and hosts: one capture a window, ranks as its hosts."""

    def __init__(self) -> None:
        self._given: dict[str, _Place] = {}
        self._windows: dict[tuple[str, str], int] = {}
        self._origins: dict[str, int] = {}

    def of(self, trace: Trace, source: Source, path: Path, home: Path) -> _Place:
        """Return the place of a trace, the same for every target."""
        if source.name not in self._given:
            self._given[source.name] = self._next(trace, source, path, home)
        return self._given[source.name]

    def _next(self, trace: Trace, source: Source, path: Path, home: Path) -> _Place:
        own = _plain(_stem(source.name))
        together = trace.rank is not None and (source.lasting_path is None or path.is_dir())
        label = _label(trace, home) or (_plain(_stem(path.name)) if together else own)
        host = own if trace.rank is None else f"rank{trace.rank}"
        key = f"{home}/{label}", "" if trace.rank is None else host
        window = self._windows[key] = self._windows.get(key, 0) + 1
        capture = label if window == 1 else f"{label}-{window}"
        origin = trace.origin_unix_ns
        if not together or origin is None:
            return _Place(capture, host, 0, is_one_of_many=together)
        first = self._origins.setdefault(f"{home}/{capture}", origin)
        return _Place(capture, host, max(0, origin - first + _LEAD_NS), is_one_of_many=True)


def _label(trace: Trace, home: Path) -> str | None:
    """Name a window of a recorded run by its phase; with the run, where it is exported to another place."""
    phase = trace.recording.get("phase")
    if not isinstance(phase, str):
        return None
    run = Path(trace.run.folder) if trace.run else home
    return _plain(phase if run == home else f"{run.resolve().name}-{phase}")


def _stem(name: str) -> str:
    """Return a file's name without its endings, and without the nanoseconds that torch's profiler puts into it."""
    return re.sub(r"(\.\d{10,})?(\.pt\.trace)?(\.json|\.sqlite|\.tar|\.tgz)?(\.gz)?$", "", name.rpartition("/")[2])


def _plain(text: str) -> str:
    """Make a name that is one on every file system, and that XProf does not take apart."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", text).strip("._")[:100] or "trace"


# One function a target: trace, folder, place → the file that it wrote.


def _export_xprof(trace: Trace, home: Path, place: _Place) -> Path:
    folder = home / "plugins" / "profile"
    pieces = encode_xspace(trace, place.host, place.timestamp_ns)
    return _write_new(lambda suffix: folder / f"{place.capture}{suffix}" / f"{place.host}.xplane.pb", pieces)


def _export_torch_tb(trace: Trace, home: Path, place: _Place) -> Path:
    folder = home / "plugins" / LABEL
    began = trace.origin_unix_ns or 0
    names = (place.host,) if place.is_one_of_many else dict.fromkeys((place.capture, place.host))
    worker = "_".join(names)
    return _write_new(
        lambda suffix: folder / f"{worker}{suffix}.{began}.pt.trace.json.gz", encode_torch_tb(trace), compressed=True
    )


def _export_tensorboard(trace: Trace, home: Path, place: _Place) -> Path:
    from tbperf.tensorboard.events import encode_events  # noqa: PLC0415 - only where TensorBoard is installed

    folder = home / "tbperf"
    unix_ns = trace.origin_unix_ns or time.time_ns()
    phase = trace.recording.get("phase")
    steps = read_steps(Path(trace.run.folder)) if trace.run else []
    logged = list(series_of_log([step for step in steps if (step.phase, step.rank) == (phase, trace.rank)]))
    series = joined(logged, list(series_of_trace(trace)))
    texts = {"tbperf/report": _without_html(render_markdown(report_on([examine(trace)]), top=_TOP))}

    def name(suffix: str) -> Path:
        here = folder / f"{place.capture}{suffix}"
        return (here / place.host if place.is_one_of_many else here) / f"events.out.tfevents.{unix_ns // 10**9}.tbperf"

    return _write_new(name, encode_events(series, texts, unix_ns))


_TOP = 10


def _without_html(markdown: str) -> str:
    """Leave out the HTML that GitHub folds sections with; the Text dashboard shows it as it is, and no tables in it."""
    return re.sub(r"</?(?:details|summary|sub)>", "", markdown)


_EXPORTERS: dict[str, Callable[[Trace, Path, _Place], Path]] = {
    XPROF: _export_xprof,
    TORCH_TB: _export_torch_tb,
    TENSORBOARD: _export_tensorboard,
}


def _write_new(name: Callable[[str], Path], pieces: Iterable[bytes], *, compressed: bool = False) -> Path:
    """Write a file as a whole or not at all, beside whatever has its name: ``-2``, ``-3`` …  Return what it is called.

    The file gets its name by a hard link, which fails where something has that name already.
    """
    first = name("")
    part = first.with_name(f".{first.name}.{os.getpid()}.part")
    try:
        first.parent.mkdir(parents=True, exist_ok=True)
        try:
            with part.open("xb") as file:
                _write(file, pieces, compressed=compressed)
            for number in itertools.count(1):
                target = name("" if number == 1 else f"-{number}")
                target.parent.mkdir(parents=True, exist_ok=True)
                if _take_name(part, target):
                    return target
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise TbperfError(
            f"{first}: {(error.strerror or str(error)).lower()}", "name a folder for the exports with --out"
        ) from error
    raise AssertionError(first)


def _write(file: BinaryIO, pieces: Iterable[bytes], *, compressed: bool) -> None:
    if compressed:
        # No time and no name in it: the same trace gives the same file.
        with gzip.GzipFile(filename="", fileobj=file, mode="wb", compresslevel=_FAST_COMPRESSION, mtime=0) as packed:
            packed.writelines(pieces)
    else:
        file.writelines(pieces)


_FAST_COMPRESSION = 3


def _take_name(part: Path, target: Path) -> bool:
    try:
        target.hardlink_to(part)
    except FileExistsError:
        return False
    except OSError:  # a file system without hard links
        if target.exists():
            return False
        part.rename(target)
    return True


class _Ledger:
    """``plugins/tbperf/exports.json``: which file was exported to which, so that nothing is exported twice."""

    def __init__(self, home: Path, entries: dict[str, dict[str, str]]) -> None:
        self._home = home
        self._entries = entries

    @classmethod
    def read(cls, home: Path) -> _Ledger:
        """Read that of a folder; an unreadable one counts for nothing."""
        try:
            found = json.loads((home / _LEDGER).read_bytes())
            exports = found["exports"]
            entries = {str(name): {str(key): str(value) for key, value in of.items()} for name, of in exports.items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            entries = {}
        return cls(home, entries)

    def of(self, source: Source, path: Path, target: str) -> Path | None:
        """Return the export of a trace, as it is now, to a target; None where there is none, or no more."""
        entry = self._entries.get(self._key(source), {})
        if target not in entry or entry.get("stamp") != _stamp(source, path):
            return None
        file = self._home / entry[target]
        return file if file.is_file() else None

    def note(self, source: Source, path: Path, target: str, file: Path) -> None:
        """Remember an export; where that fails, it will be made again."""
        entry = self._entries.setdefault(self._key(source), {})
        if entry.get("stamp") != _stamp(source, path):
            entry.clear()
        entry |= {"stamp": _stamp(source, path), target: file.relative_to(self._home).as_posix()}
        text = json.dumps({"schema": "tbperf-exports/1", "exports": self._entries}, indent=1)
        with contextlib.suppress(OSError):
            ledger = self._home / _LEDGER
            ledger.parent.mkdir(parents=True, exist_ok=True)
            part = ledger.with_name(ledger.name + f".{os.getpid()}.part")
            part.write_text(text, encoding="utf-8")
            part.replace(ledger)

    def _key(self, source: Source) -> str:
        with contextlib.suppress(ValueError):
            return Path(source.name).resolve().relative_to(self._home.resolve()).as_posix()
        return source.name


_LEDGER = Path("plugins", "tbperf", "exports.json")


def _stamp(source: Source, path: Path) -> str:
    status = (source.lasting_path or path).stat()
    return f"{status.st_size}-{status.st_mtime_ns}"


__all__ = ["TARGETS", "TENSORBOARD", "TORCH_TB", "XPROF", "Exported", "export", "require_tensorboard"]
