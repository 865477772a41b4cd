"""Ctrl-C ends a command at any moment: exit code 130, one line at most, nothing half-written or left running."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cli.test_analyze import LOADER_BOUND

AT_A_CALL = """
import os, signal, sys
at, told = int(sys.argv[1]), sys.argv[2]
del sys.argv[1:3]
seen = 0

def count(_frame, event, _argument):
    global seen
    seen += 1
    if seen == at:
        sys.setprofile(None)
        os.killpg(os.getpgrp(), signal.SIGINT)  # a terminal sends it to all

from tbperf.__main__ import main
sys.setprofile(count)
try:
    main()
finally:
    sys.setprofile(None)
    with open(told, "w") as file:
        file.write(str(seen))
"""
"""Interrupts itself at a call of a function, counted from the start."""

MOMENTS = 12
_FIRST = 50
"""Calls until we have been asked what is to be done at Ctrl-C; before, Python answers."""


def write_traces(folder):
    """Write traces that are large enough to be read by other processes, for the spaces behind them."""
    for rank in range(4):
        path = LOADER_BOUND.write(folder / f"host_1_rank{rank}.17.pt.trace.json")
        path.write_text(path.read_text() + " " * (2 << 20))


@pytest.fixture
def analyze(tmp_path):
    """Return a function that analyzes two traces in two processes, and interrupts that at a call."""
    traces = tmp_path / "traces"
    traces.mkdir()
    write_traces(traces)
    words = ["analyze", traces, "--jobs", "2", "--out", tmp_path / "text", "--html", tmp_path / "page.html"]

    def run(at):
        process = subprocess.Popen(
            [sys.executable, "-c", AT_A_CALL, str(at), tmp_path / "calls", *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        _, said = process.communicate()
        return process.pid, process.returncode, said

    return run


def processes_of(group):
    """Return what still runs in a process group."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, of = stat.read_text().rpartition(")")[2].split()[:3]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(of) == group and state != "Z":
            found.append(stat.parent.name)
    return found


def test_an_analysis_can_be_interrupted_at_any_moment(analyze, tmp_path):
    _, code, _ = analyze(0)
    assert code == 0
    calls = int((tmp_path / "calls").read_text())
    outputs = {name: (tmp_path / name).read_text() for name in ("text", "page.html")}
    for moment in range(MOMENTS):
        at = _FIRST + (calls - _FIRST) * moment // MOMENTS
        for name in outputs:
            (tmp_path / name).write_text("before")
        group, code, said = analyze(at)
        lines = [line for line in said.splitlines() if " written to " not in line]
        assert (code, len(lines)) == (130, 0), (at, said)
        for name, whole in outputs.items():
            assert (tmp_path / name).read_text() in ("before", whole), (at, name)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["calls", "page.html", "text", "traces"], at
        deadline = time.monotonic() + 30
        while processes_of(group) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not processes_of(group), at


@pytest.mark.parametrize("where", ["__del__", "a callback"])
def test_an_interrupt_where_python_cannot_raise_is_not_lost(where):
    code = (
        "import os, signal, time, weakref\n"
        "from tbperf.cli.interrupts import Interrupts\n"
        "Interrupts()\n"
        "def interrupt(*_): os.kill(os.getpid(), signal.SIGINT); time.sleep(0)\n"
        "class Object:\n"
        f"    {'__del__ = interrupt' if where == '__del__' else 'pass'}\n"
        "one = Object()\n"
        f"{'' if where == '__del__' else 'watch = weakref.ref(one, interrupt)'}\n"
        "try:\n    del one\n    time.sleep(30)\n    print('lost')\n"
        "except KeyboardInterrupt:\n    print('raised')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("raised\n", "")


def test_an_interrupt_that_is_ignored_stays_ignored(tmp_path):
    """As of a command that a script starts in the background."""
    code = (
        "import os, signal, sys\n"
        "from tbperf.cli import main\n"
        "os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.argv[1:] = ['--version']\n"
        "main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_worker_that_is_killed_is_said_to_have_ended(tmp_path):
    """As where memory is short."""
    write_traces(tmp_path)
    code = (
        "import os, sys\n"
        "from tbperf.readers import workers\n"
        "start = workers._start\n"
        "def killed(number):\n"
        "    pool = start(number)\n"
        "    for worker in pool:\n        worker.kill(); worker.wait()\n"
        "    return pool\n"
        "workers._start = killed\n"
        "from tbperf.cli import main\n"
        "main()\n"
    )
    command = [sys.executable, "-c", code, "analyze", str(tmp_path), "--jobs", "2"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    what, hint = done.stderr.splitlines()
    assert (done.returncode, what) == (1, "tbperf: a worker process ended early")
    assert hint.startswith("hint: ")
