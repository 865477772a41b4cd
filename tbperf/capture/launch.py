"""Runs a command with tbperf inside it, unchanged in all that its user can see."""

from __future__ import annotations

import contextlib
import errno
import functools
import json
import os
import shutil
import sys
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from tbperf import __version__
from tbperf.capture.command import become, find_program, inheritable_files, refusal, start
from tbperf.capture.folder import (
    compress_traces,
    create_folder,
    folder_bytes,
    remove_journal,
    write_json,
)
from tbperf.capture.hardware import describe_hardware
from tbperf.capture.nsight import FOLDER as NSYS_FOLDER
from tbperf.capture.nsight import export_report, find_nsys, nsys_command
from tbperf.capture.options import RecordOptions
from tbperf.capture.outcome import read_outcome
from tbperf.capture.running import taken_signals, wait
from tbperf.capture.sampler import HardwareLog
from tbperf.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import AbstractContextManager

    from tbperf.capture.running import Signals

_BOOTSTRAP = Path(__file__).parent / "bootstrap"

_TOLD_ENVIRONMENT = (
    "CUDA_VISIBLE_DEVICES",
    "OMP_NUM_THREADS",
    "RANK",
    "LOCAL_RANK",
    "WORLD_SIZE",
    "PYTORCH_CUDA_ALLOC_CONF",
)
"""All that a run folder says about the environment, which may hold secrets."""


@dataclass(frozen=True)
class Recording:
    """What a recorded command left."""

    exit_code: int
    """The command's own; 128 + n when signal n ended it, as a shell says it."""
    folder: Path | None
    """None when no folder could be written, and the command ran by itself."""
    traces: tuple[Path, ...] = ()
    planned_steps: int = 0
    """Steps of all windows that began."""
    recorded_steps: int = 0
    coverage: float | None = None
    """Share in named stages of the recorded step where it is lowest."""
    slowdown: Mapping[str, float] = field(default_factory=dict)
    """By phase: median of profiled steps ÷ median of the others, where there are enough."""
    size_bytes: int = 0
    """Size of the folder."""
    notes: tuple[str, ...] = ()
    signal: int | None = None
    """The signal that ended the command."""


def record(
    command: Sequence[str],
    options: RecordOptions | None = None,
    announce: Callable[[str], None] = lambda _line: None,
) -> Recording:
    """Run ``command`` as it is, and record what it trains, validates and predicts with Ultralytics.

    Once the command runs, nothing that fails on this side is raised: it becomes a note.

    Args:
        command: Program and arguments.  They, the standard streams, the signals and the
            environment (but for PYTHONPATH and TBPERF_CAPTURE) reach it as without tbperf.
        options: What to record; by default one window each of training, validation and prediction.
        announce: Called with a line before the command starts; whether it fails does not matter.

    Raises:
        UsageError: The folder to write cannot be one; nothing was run.
        CommandNotFoundError: There is no such program, or its interpreter is missing.
        CommandNotExecutableError: It cannot be executed.
        NsysMissingError: Nsight Systems was asked for and is not there; nothing was run.
        NoProcessError: There is no room for another process; nothing was run.
    """
    options = options or RecordOptions()
    run = _Run(inheritable_files())
    program = find_program(command)
    nsys = find_nsys() if options.nsys else None
    alone = _Way(program, command, _environment_of_the_command(program))
    try:
        prepared = _prepare(alone, options, nsys)
    except UsageError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever happens on our side, the command runs
        _quietly(announce, f"not recording: {error}")
        run.to_its_end([alone])
        return run.recording(folder=None)
    _quietly(announce, prepared.announcement)
    export = functools.partial(export_report, nsys, keep=options.nsys_report) if nsys else None
    try:
        run.to_its_end(prepared.ways, prepared.hardware.watching)
        return _finish(prepared, run, export)
    except (Exception, KeyboardInterrupt) as error:
        if run.ended is None:  # nothing ran
            shutil.rmtree(prepared.folder, ignore_errors=True)
            raise
        # Whatever happens to our files now, the command's exit code is its own.
        interrupted = isinstance(error, KeyboardInterrupt)
        why = "interrupted after the command had ended" if interrupted else repr(error)
    return run.recording(folder=prepared.folder, notes=(*run.notes, f"the recording is not complete: {why}"))


@dataclass(frozen=True)
class _Prepared:
    """What is there before the command runs."""

    folder: Path
    header: dict[str, Any]
    """What run.json says so far."""
    announcement: str
    ways: Sequence[_Way]
    hardware: HardwareLog


def _prepare(alone: _Way, options: RecordOptions, nsys: Path | None) -> _Prepared:
    """Make the run folder and what else a recording needs; where that cannot be done, nothing stays."""
    folder = create_folder(options.out)
    try:
        header = _header(alone.arguments, options)
        recorded = replace(alone, environment=recording_environment(folder, options, alone.environment))
        ways = [recorded, alone]
        if nsys is not None:
            (folder / NSYS_FOLDER).mkdir()
            under = nsys_command(nsys, folder, alone.arguments, cuda=bool(header["hardware"]["gpus"]))
            ways.insert(0, replace(recorded, program=str(nsys), arguments=under))
        write_json(folder / "run.json", header)
        return _Prepared(folder, header, f"{options.describe()} · {folder}", ways, HardwareLog(folder))
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def run_in_place(command: Sequence[str]) -> NoReturn:
    """Run a command in place of this process, unrecorded: where there is no room for another one."""
    program = find_program(command)
    become(program, command, _environment_of_the_command(program))


def _quietly(say: Callable[[str], None], line: str) -> None:
    with contextlib.suppress(Exception):
        say(line)


@dataclass(frozen=True)
class _Way:
    """One way to run the command."""

    program: str
    arguments: Sequence[str]
    environment: Mapping[str, str]


@dataclass
class _Run:
    """The command's run, of which nothing is lost once it has begun."""

    files: frozenset[int]
    """What is open for the command."""
    ended: int | None = None
    """Its exit code, or −n when signal n ended it."""
    notes: list[str] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """As a shell tells it."""
        ended = self.ended or 0
        return ended if ended >= 0 else 128 - ended

    def recording(self, **rest: Any) -> Recording:
        """Return what became of the command together with what became of the recording."""
        ended = self.ended or 0
        return Recording(exit_code=self.exit_code, signal=-ended if ended < 0 else None, **rest)

    def to_its_end(
        self,
        ways: Sequence[_Way],
        beside: Callable[[int], AbstractContextManager[None]] = lambda _pid: contextlib.nullcontext(),
    ) -> None:
        """Run the command in the first way that the system lets us, passing signals on.

        ``beside`` is told the command's process; what it returns is entered while the command runs.
        """
        with taken_signals() as signals:
            pid = self._start(ways, signals)
            self.ended = (wait if signals is None else signals.wait)(pid, beside)

    def _start(self, ways: Sequence[_Way], signals: Signals | None) -> int:
        program = ways[-1].program
        blocked, ignored = (None, ()) if signals is None else (signals.before, signals.ignored)
        for way in ways:
            try:
                return start(
                    way.program,
                    way.arguments,
                    way.environment,
                    files=self.files,
                    blocked_signals=blocked,
                    ignored_signals=ignored,
                )
            except OSError as error:  # noqa: PERF203 - three at most
                if way.program != program:
                    self.notes.append(f"recorded without Nsight Systems: {way.program}: {error.strerror}")
                elif way is ways[-1] or error.errno != errno.E2BIG:
                    raise refusal(program, error) from error
                else:
                    lacking = "arguments and environment leave no room for tbperf's two variables"
                    self.notes.append(f"not recorded: {lacking}")
        raise AssertionError(ways)


def _header(command: Sequence[str], options: RecordOptions) -> dict[str, Any]:
    """Return what run.json can say before the command runs: a killed run must be readable."""
    return {
        "schema": "tbperf-run/1",
        "tbperf": __version__,
        "status": "running",
        "command": list(command),
        "cwd": Path.cwd().name,
        "started_unix_ns": time.time_ns(),
        "ended_unix_ns": None,
        "exit_code": None,
        "environment": {name: os.environ[name] for name in _TOLD_ENVIRONMENT if name in os.environ},
        "hardware": _hardware(),
        "profiler": {"options": options.profiler(), "plans": options.plans()},
    }


def _hardware() -> dict[str, Any]:
    try:
        return describe_hardware()
    except Exception as error:  # noqa: BLE001 - a driver may fail in any way; what the program does can be recorded still
        return {"gpus": [], "gpus_unseen": f"the hardware could not be described: {error!r}", "driver": None}


def recording_environment(
    folder: Path, options: RecordOptions, environment: Mapping[str, str] = os.environ
) -> dict[str, str]:
    """Return the environment that brings tbperf into every Python process of the command."""
    settings = {
        "folder": str(folder.resolve()),
        "version": __version__,
        "plans": options.plans(),
        "profiler": options.profiler(),
        "modules": options.modules,
        "max_bytes": options.max_bytes,
        "nsys": options.nsys,
    }
    before = environment.get("PYTHONPATH")
    python_path = os.pathsep.join([str(_BOOTSTRAP)] + ([before] if before else []))
    return {**environment, "PYTHONPATH": python_path, "TBPERF_CAPTURE": json.dumps(settings)}


_COERCED = ("C.UTF-8", "C.utf8", "UTF-8")


def _environment_of_the_command(program: str) -> dict[str, str]:
    """Return the environment that the command would have alone, without what was set for this process."""
    environment = dict(os.environ)
    if environment.get("LC_CTYPE") in _COERCED and b"LC_CTYPE" not in _variables_at_start():
        del environment["LC_CTYPE"]  # Python's own way out of a locale of C
    if environment.get("_") in (sys.argv[0], sys.executable):
        environment["_"] = program  # a shell names here what it runs
    return environment


def _variables_at_start() -> list[bytes]:
    try:
        told = Path("/proc/self/environ").read_bytes()
    except OSError:
        return [b"LC_CTYPE"]
    return [variable.partition(b"=")[0] for variable in told.split(b"\0")]


def _finish(
    prepared: _Prepared, run: _Run, export: Callable[[Path], tuple[Path | None, list[str]]] | None
) -> Recording:
    """Compress the traces, and say in run.json what became of the run."""
    ended = {"status": "ended", "ended_unix_ns": time.time_ns(), "exit_code": run.exit_code}
    folder, header = prepared.folder, {**prepared.header, **ended}
    run.notes += [prepared.hardware.note] if prepared.hardware.note else []
    traces = compress_traces(folder)
    outcome = read_outcome(folder, traces)
    if export is not None:
        exported, said = export(folder)
        run.notes += said
        if exported is not None:
            traces.append(exported)
            for window in outcome["windows"]:
                window["file"] = exported.name
    if any(trace.suffix != ".gz" for trace in traces):
        outcome["notes"].append("traces were left as they are: there was no room to compress them")
    outcome["notes"] += run.notes
    outcome["versions"]["driver"] = header["hardware"]["driver"]
    write_json(folder / "run.json", {**header, **outcome})
    remove_journal(folder)
    slowdowns = {phase: steps["slowdown"] for phase, steps in outcome["steps"].items()}
    return run.recording(
        folder=folder,
        traces=tuple(traces),
        planned_steps=sum(window["planned_steps"] for window in outcome["windows"]),
        recorded_steps=sum(window["steps"] for window in outcome["windows"]),
        coverage=outcome["coverage"]["lowest"] if outcome["coverage"] else None,
        slowdown={phase: slowdown for phase, slowdown in slowdowns.items() if slowdown is not None},
        size_bytes=folder_bytes(folder),
        notes=tuple(outcome["notes"]),
    )
