"""Runs a command with tbperf inside it, unchanged in all that its user can see."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import shutil
import signal
import subprocess
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tbperf import __version__
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
from tbperf.capture.sampler import HardwareLog
from tbperf.errors import TbperfError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import AbstractContextManager

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

_FORWARDED = (
    signal.SIGINT,
    signal.SIGTERM,
    signal.SIGHUP,
    signal.SIGQUIT,
    signal.SIGUSR1,
    signal.SIGUSR2,
)

_SENT_BY_KERNEL = 0x80
"""``si_code`` of a signal from the terminal, whose whole foreground group gets it."""


class CommandNotFoundError(TbperfError):
    """There is no such command; the exit code is a shell's."""

    exit_code = 127


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


def record(
    command: Sequence[str],
    options: RecordOptions | None = None,
    announce: Callable[[str], None] = lambda _line: None,
) -> Recording:
    """Run ``command`` as it is, and record what it trains, validates and predicts with Ultralytics.

    Args:
        command: Program and arguments.  They, the standard streams, the signals and the
            environment (but for PYTHONPATH and TBPERF_CAPTURE) reach it as without tbperf.
        options: What to record; by default one window each of training, validation and prediction.
        announce: Called with one line before the command starts.

    Raises:
        CommandNotFoundError: There is no such program.
        NsysMissingError: Nsight Systems was asked for and is not there; nothing was run.
    """
    if not command or shutil.which(command[0]) is None:
        name = command[0] if command else "(nothing)"
        hint = "check the name, and that the environment that provides it is active"
        raise CommandNotFoundError(f"{name}: command not found", hint)
    options = options or RecordOptions()
    nsys = find_nsys() if options.nsys else None
    try:
        folder = create_folder(options.out)
        if nsys is not None:
            (folder / NSYS_FOLDER).mkdir()
        header = _header(command, options)
        write_json(folder / "run.json", header)
    except OSError as error:
        announce(f"not recording: {error}")
        return Recording(exit_code=_run(command, dict(os.environ)), folder=None)
    announce(f"{options.describe()} · {folder}")
    hardware = HardwareLog(folder)
    cuda = bool(header["hardware"]["gpus"])
    run = command if nsys is None else nsys_command(nsys, folder, command, cuda=cuda)
    exit_code = _run(run, recording_environment(folder, options), hardware.watching)
    try:
        return _finish(
            folder,
            {**header, "status": "ended", "ended_unix_ns": time.time_ns(), "exit_code": exit_code},
            [hardware.note] if hardware.note else [],
            functools.partial(export_report, nsys, keep=options.nsys_report) if nsys else None,
        )
    except Exception as error:  # noqa: BLE001 - whatever happens to our files, the command's exit code is its own
        return Recording(exit_code=exit_code, folder=folder, notes=(f"the recording is not complete: {error!r}",))


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
        "hardware": describe_hardware(),
        "profiler": {"options": options.profiler(), "plans": options.plans()},
    }


def recording_environment(folder: Path, options: RecordOptions) -> dict[str, str]:
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
    before = os.environ.get("PYTHONPATH")
    python_path = os.pathsep.join([str(_BOOTSTRAP)] + ([before] if before else []))
    return {**os.environ, "PYTHONPATH": python_path, "TBPERF_CAPTURE": json.dumps(settings)}


def _finish(
    folder: Path,
    header: dict[str, Any],
    notes: Sequence[str],
    export: Callable[[Path], tuple[Path | None, list[str]]] | None,
) -> Recording:
    """Compress the traces, and say in run.json what became of the run."""
    traces = compress_traces(folder)
    outcome = read_outcome(folder, traces)
    if export is not None:
        exported, said = export(folder)
        notes = [*notes, *said]
        if exported is not None:
            traces.append(exported)
            for window in outcome["windows"]:
                window["file"] = exported.name
    if any(trace.suffix != ".gz" for trace in traces):
        outcome["notes"].append("traces were left as they are: there was no room to compress them")
    outcome["notes"] += notes
    outcome["versions"]["driver"] = header["hardware"]["driver"]
    write_json(folder / "run.json", {**header, **outcome})
    remove_journal(folder)
    slowdowns = {phase: steps["slowdown"] for phase, steps in outcome["steps"].items()}
    return Recording(
        exit_code=header["exit_code"],
        folder=folder,
        traces=tuple(traces),
        planned_steps=sum(window["planned_steps"] for window in outcome["windows"]),
        recorded_steps=sum(window["steps"] for window in outcome["windows"]),
        coverage=outcome["coverage"]["lowest"] if outcome["coverage"] else None,
        slowdown={phase: slowdown for phase, slowdown in slowdowns.items() if slowdown is not None},
        size_bytes=folder_bytes(folder),
        notes=tuple(outcome["notes"]),
    )


def _run(
    command: Sequence[str],
    environment: dict[str, str],
    beside: Callable[[int], AbstractContextManager[None]] = lambda _pid: contextlib.nullcontext(),
) -> int:
    """Run the command to its end, passing signals on, and return its exit code.

    ``beside`` is told the command's process; what it returns is entered while the command runs.
    """
    if threading.current_thread() is not threading.main_thread():
        # Signals reach the main thread, which is not ours to stop.
        with subprocess.Popen(command, env=environment) as child, beside(child.pid):  # noqa: S603 - the user's command
            return _exit_code(child.wait())
    # Blocked signals wait for us to take them; the command must not inherit that.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [*_FORWARDED, signal.SIGCHLD])
    try:
        child = subprocess.Popen(  # noqa: S603 - the same
            command,
            env=environment,
            preexec_fn=lambda: signal.pthread_sigmask(signal.SIG_SETMASK, before),  # noqa: PLW1509 - one thread only
        )
        # Its thread inherits our mask, so that signals still wait for us.
        with beside(child.pid):
            while child.poll() is None:
                arrived = signal.sigwaitinfo([*_FORWARDED, signal.SIGCHLD])
                if arrived.si_signo != signal.SIGCHLD and arrived.si_code != _SENT_BY_KERNEL:
                    with contextlib.suppress(ProcessLookupError):
                        child.send_signal(arrived.si_signo)
        return _exit_code(child.returncode)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _exit_code(returncode: int) -> int:
    return returncode if returncode >= 0 else 128 - returncode
