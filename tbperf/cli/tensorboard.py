"""``tbperf tensorboard``: TensorBoard on recorded runs, with everything that its dashboards can show."""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from importlib import metadata
from pathlib import Path
from typing import IO, TYPE_CHECKING

import click

from tbperf.cli.output import jobs_option, progress_of_reading, say
from tbperf.errors import TbperfError, UsageError
from tbperf.printable import printable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tbperf.tensorboard.exports import Exported

_DEFAULT_PORT = 6006
_ADDRESS = re.compile(r"\bat (http://\S+)")
_NOISE = re.compile(
    r"\A(?:\s*$|I\d{4} |INFO|NOTE: |WARNING: All log messages before absl|TensorFlow installation not found"
    r'|.*"--load_fast=false" and report issues|\s*https://github.com/tensorflow/tensorboard/issues/4784)'
)
"""What TensorBoard and its plugins say while all is well."""


@click.command("tensorboard", short_help="Show recorded runs in TensorBoard.")
@click.argument("path", type=click.Path(path_type=Path), required=False)
@click.option("--port", type=click.IntRange(1, 65535), help="Port to listen on.  [6006, or any free one]")
@jobs_option
def command(path: Path | None, port: int | None, jobs: int) -> None:
    """Prepare the traces of PATH for TensorBoard's dashboards, and start TensorBoard on them.

    PATH is a folder of runs (`runs` by default, where Ultralytics writes, too), one run, or a trace.  TensorBoard
    listens on 127.0.0.1 alone and ends with this command (Ctrl-C).  What it needs is written into the folders of the
    runs.
    """
    path = _log_folder() if path is None else path
    if not path.exists():
        raise UsageError(f"{path}: no such file or folder", "name a folder of runs, such as `runs`")
    from tbperf.tensorboard.exports import require_tensorboard  # noqa: PLC0415 - only what is asked for

    require_tensorboard()
    port = _free_port(port)
    with _folder_of(path) as folder:
        for line in _prepare(path, None if folder == path else folder, jobs):
            say(line)
        sys.exit(_run_tensorboard(folder, port))


def _log_folder() -> Path:
    runs = Path("runs")
    if not runs.is_dir():
        raise UsageError("no folder `runs` here", "name a folder of runs, a run, or a trace")
    return runs


@contextlib.contextmanager
def _folder_of(path: Path) -> Iterator[Path]:
    """Yield a log folder for a path: a folder itself; for a trace, one that is there for as long as it is looked at."""
    if path.is_dir():
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="tbperf-") as folder:
        _place(path, Path(folder, path.name))
        yield Path(folder)


def _place(file: Path, copy: Path) -> None:
    try:
        copy.hardlink_to(file.resolve())
    except OSError:  # on another disk
        try:
            shutil.copyfile(file, copy)
        except OSError as error:
            raise TbperfError(
                f"{file}: {(error.strerror or str(error)).lower()}", "is it readable, and the disk not full?"
            ) from error


def _prepare(path: Path, out: Path | None, jobs: int) -> Iterator[str]:
    """Export what is missing, and yield what is worth saying; the dashboards that can be shown are shown anyhow."""
    from tbperf.tensorboard.exports import TENSORBOARD, XPROF, export  # noqa: PLC0415 - only what is asked for

    targets = [TENSORBOARD]
    if _has_profile_tab():
        targets.append(XPROF)
    else:
        yield "note: without the Profile tab; for it: pip install 'tbperf[tensorboard]'"
    done: Exported | None = None
    try:
        with progress_of_reading() as progress:
            done = export(path, targets, out, jobs=jobs, progress=progress)
    except TbperfError as error:
        yield f"note: {error.message}"
    if done is not None:
        yield from (f"note: {note}" for note in done.notes)
        if done.written:
            yield f"prepared {len(done.written)} exports" + ("" if out else f" in {path}")


def _has_profile_tab() -> bool:
    for package in ("tensorboard-plugin-profile", "xprof"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            metadata.version(package)
            return True
    return False


def _run_tensorboard(folder: Path, port: int) -> int:
    """Run TensorBoard until it ends or is ended, passing signals on; return the exit code."""
    arguments = ["--logdir", str(folder), "--host", "127.0.0.1", "--port", str(port)]
    child = subprocess.Popen(  # noqa: S603 - our own interpreter
        [sys.executable, "-m", "tensorboard.main", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2", "PYTHONUNBUFFERED": "1"},
        start_new_session=True,  # Ctrl-C reaches this process alone, which passes it on
        preexec_fn=_end_with_parent if sys.platform == "linux" else None,  # noqa: PLW1509 - one thread only
    )
    stopped = threading.Event()

    def stop(_number: int, _frame: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            child.terminate()  # the one signal at which it tidies up
        stopped.set()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop)
    assert child.stderr is not None  # noqa: S101 - a pipe was asked for
    listener = threading.Thread(target=_listen, args=(child.stderr, stopped), daemon=True)
    listener.start()
    code = _wait(child, stopped)
    listener.join(timeout=1)
    if stopped.is_set():
        return 0
    if code:
        raise TbperfError(f"TensorBoard ended with exit code {code}", "what it said stands above")
    return 0


def _wait(child: subprocess.Popen[str], stopped: threading.Event) -> int:
    """Wait for TensorBoard to end; once it was told to, not for long: its plugins finish what they are reading."""
    patience = _TIDY_UP_S
    while True:
        try:
            return child.wait(_LOOK_S)
        except subprocess.TimeoutExpired:  # noqa: PERF203 - twice a second
            patience -= _LOOK_S if stopped.is_set() else 0
            if patience <= 0:
                _kill(child)


def _kill(child: subprocess.Popen[str]) -> None:
    """End it with the processes that its plugins started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)


_LOOK_S = 0.5
_TIDY_UP_S = 5.0


def _listen(messages: IO[str], stopped: threading.Event) -> None:
    """Show the address, and what TensorBoard has to complain about while it runs."""
    for line in messages:
        if stopped.is_set():
            continue
        found = _ADDRESS.search(line)
        if found:
            say(f"{found[1]} (ends with Ctrl-C)")
        elif not _NOISE.match(line):
            sys.stderr.write(f"{printable(line.rstrip())}\n")


def _free_port(wanted: int | None) -> int:
    """Return the wanted port or, where none is wanted, TensorBoard's own, else any free one."""
    for port in (_DEFAULT_PORT, 0) if wanted is None else (wanted,):
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            free: int = probe.getsockname()[1]
            return free
    raise TbperfError(f"port {wanted} cannot be used: is something else listening on it?", "leave --port out")


_PR_SET_PDEATHSIG = 1


def _end_with_parent() -> None:
    """Let the kernel end this process when the one that started it dies, however it dies."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
