"""Worker processes that decode pieces of a file side by side.

They are plain subprocesses of this module: unlike `multiprocessing`'s they neither copy a process that has threads nor
run the caller's main module again.  Only this module writes to their pipes.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import selectors
import signal
import subprocess
import sys
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

from tbperf.errors import TbperfError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

ResultT = TypeVar("ResultT")

MOST_WORKERS = 8
"""More do not pay: one process joins what they return."""


def usable_cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def run_side_by_side(
    function: Callable[..., ResultT], tasks: Iterable[tuple[Any, ...]], workers: int
) -> Iterator[ResultT]:
    """Yield ``function(*task)`` for each task, in order; an exception of a task is raised here.

    The function must be importable by its name.  With one worker, or where processes cannot be started, the work is
    done in this process.
    """
    pool = _start(workers) if workers > 1 and os.name == "posix" else []
    if not pool:
        yield from (function(*task) for task in tasks)
        return
    try:
        yield from _distribute(function, iter(tasks), pool)
    finally:
        for worker in pool:
            worker.kill()
            worker.wait()
            for pipe in (worker.stdin, worker.stdout):
                if pipe is not None:
                    with contextlib.suppress(BrokenPipeError):  # a task that it did not take in any more
                        pipe.close()


def _start(workers: int) -> list[subprocess.Popen[bytes]]:
    # -P and -I would lose a PYTHONPATH installation; the package's own folder is found as it was found here.
    package = str(Path(__file__).parents[2])
    code = f"import sys; sys.path.insert(0, {package!r}); from tbperf.readers.workers import _serve; _serve()"
    pool = []
    # Ctrl-C at a terminal reaches all processes; it is for the one that asked to end the others.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        for _ in range(workers):
            pool.append(  # noqa: PERF401 - those that did start are kept where a later one does not
                subprocess.Popen(  # noqa: S603 - this interpreter, this module
                    [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
                )
            )
    except OSError:
        pass
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return pool


def _distribute(
    function: Callable[..., ResultT], tasks: Iterator[tuple[Any, ...]], pool: list[subprocess.Popen[bytes]]
) -> Iterator[ResultT]:
    """Keep each worker busy with one task; a next task lies ready while all work.

    A worker gets a task only after its result was read: neither side can wait for the other's full pipe.
    """
    selector = selectors.DefaultSelector()
    idle = deque(pool)
    done: dict[int, ResultT] = {}
    given = returned = 0
    ready = next(tasks, None)
    working = 0
    while working or ready is not None:
        while idle and ready is not None:
            worker = idle.popleft()
            assert worker.stdin is not None  # noqa: S101 - opened as pipes
            assert worker.stdout is not None  # noqa: S101
            _write(worker.stdin, (given, function, ready))
            selector.register(worker.stdout, selectors.EVENT_READ, worker)
            given, working = given + 1, working + 1
            ready = next(tasks, None)
        for key, _ in selector.select():
            selector.unregister(key.fileobj)
            idle.append(key.data)
            working -= 1
            number, result, error = _read(key.data.stdout)
            if error is not None:
                raise error
            done[number] = result
        while returned in done:
            yield done.pop(returned)
            returned += 1


def _write(pipe: BinaryIO | Any, message: Any) -> None:
    data = pickle.dumps(message, protocol=5)
    try:
        pipe.write(len(data).to_bytes(8, "little"))
        pipe.write(data)
        pipe.flush()
    except BrokenPipeError as error:
        raise _gone() from error


class OtherSideGoneError(TbperfError):
    """A worker has ended before its work, or nobody waits for its results any more."""


def _gone() -> OtherSideGoneError:
    return OtherSideGoneError("a worker process ended early", "was it killed, or is memory short?  --jobs 1 needs less")


def _read(pipe: BinaryIO | Any) -> Any:
    size = pipe.read(8)
    data = pipe.read(int.from_bytes(size, "little")) if len(size) == 8 else b""  # noqa: PLR2004
    if not data:
        raise _gone()
    return pickle.loads(data)  # noqa: S301 - from a process that this module started


def _serve() -> None:
    """Answer tasks until the other side goes."""
    tasks, results = sys.stdin.buffer, sys.stdout.buffer
    sys.stdout = sys.stderr
    try:
        while True:
            number, function, task = _read(tasks)
            try:
                _write(results, (number, function(*task), None))
            except OtherSideGoneError:
                raise
            except Exception as error:  # noqa: BLE001 - it is raised in the process that asked
                _write(results, (number, None, error))
    except OtherSideGoneError:
        os._exit(0)  # without a last attempt to write what is left
