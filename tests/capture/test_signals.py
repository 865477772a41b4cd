"""Signals reach the command as if nothing stood between: each once, and its end is our end."""

import contextlib
import os
import pty
import select
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

COUNTS = """
import signal, sys, time
caught = []
for number in {numbers}:
    signal.signal(number, lambda number, _frame: caught.append(int(number)))
print("ready", flush=True)
while len(caught) < {expected}:
    time.sleep(0.01)
time.sleep(0.2)  # one more would come by now
print(sorted(caught), flush=True)
"""

EACH = [
    *(signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2),
    *(signal.SIGWINCH, signal.SIGALRM, signal.SIGCONT, signal.SIGXCPU, signal.SIGRTMIN + 3),
]


@pytest.fixture
def started(plain_environment, tmp_path):
    """Return a function that records a program in a session of its own, and waits until it says that it is ready."""
    running = []

    def start(*words, before=()):
        recorder = [sys.executable, "-m", "tbperf", "record", "--out", str(tmp_path / "run"), "--"]
        process = subprocess.Popen(
            [*before, *recorder, *words],
            env=plain_environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        running.append(process)
        assert process.stdout.readline() == b"ready\n"
        return process

    yield start
    for process in running:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def counting(numbers, expected):
    return [sys.executable, "-c", COUNTS.format(numbers=list(map(int, numbers)), expected=expected)]


@pytest.mark.parametrize("send", [os.kill, os.killpg], ids=["to us alone", "to the whole group"])
def test_every_signal_arrives_once(started, send):
    process = started(*counting(EACH, len(EACH)))
    for number in EACH:
        send(process.pid, number)
    output, _ = process.communicate(timeout=60)
    assert (process.returncode, output) == (0, f"{sorted(map(int, EACH))}\n".encode())


def test_the_same_signal_twice_arrives_twice(started):
    """Many programs end gently at the first and at once at the second."""
    process = started(*counting([signal.SIGINT], 2))
    for send in (os.kill, os.killpg):
        send(process.pid, signal.SIGINT)
        time.sleep(0.3)  # without a pause, two are one for any program
    output, _ = process.communicate(timeout=60)
    assert output == b"[2, 2]\n"


def test_timeout_s_two_signals_arrive_as_one(started):
    """It signals its command, and then the group that both are in."""
    process = started(*counting([signal.SIGTERM], 1), before=["timeout", "-s", "TERM", "4"])
    output, _ = process.communicate(timeout=60)
    assert (process.returncode, output) == (124, b"[15]\n")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL, signal.SIGSEGV, signal.SIGRTMIN + 1])
def test_a_command_that_a_signal_ends_ends_us_in_the_same_way(run_tbperf, tmp_path, number):
    """A shell breaks off a loop for it, and says what happened."""
    result = run_tbperf("record", "--out", tmp_path / "run", "--", "sh", "-c", f"kill -{int(number)} $$")
    assert result.returncode == -number


def test_what_is_ignored_stays_ignored(plain_environment, tmp_path):
    """As by ``nohup``; and what only Python ignores is not, in what it starts."""
    look = ["grep", "-E", "^Sig(Ign|Blk|Cgt):", "/proc/self/status"]
    recorder = [sys.executable, "-m", "tbperf", "record", "--out", str(tmp_path / "run"), "--"]

    def ignoring():
        for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGUSR2, signal.SIGCHLD):
            signal.signal(number, signal.SIG_IGN)

    alone, recorded = (
        subprocess.run(
            [*before, *look], env=plain_environment, preexec_fn=ignoring, capture_output=True, check=True, text=True
        ).stdout
        for before in ([], recorder)
    )
    assert recorded == alone


def test_an_exit_code_is_seen_where_children_are_ignored(plain_environment, tmp_path):
    """With SIGCHLD ignored, the system forgets how children ended."""
    command = [sys.executable, "-m", "tbperf", "record", "--out", str(tmp_path / "run"), "--", "sh", "-c", "exit 7"]
    done = subprocess.run(
        command,
        env=plain_environment,
        preexec_fn=lambda: signal.signal(signal.SIGCHLD, signal.SIG_IGN),
        capture_output=True,
        check=False,
    )
    assert done.returncode == 7


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_while_the_recording_is_finished_does_not_change_the_exit_code(plain_environment, tmp_path, number):
    """A FIFO in the place of a trace makes finishing take as long as this test likes."""
    run = tmp_path / "run"
    code = f"import os; os.mkfifo({str(run / 'trace' / 'h_1.5.pt.trace.json')!r}); os._exit(7)"
    command = [sys.executable, "-m", "tbperf", "record", "--out", str(run), "--", sys.executable, "-c", code]
    with subprocess.Popen(command, env=plain_environment, stderr=subprocess.PIPE, text=True) as process:
        fifo = run / "trace" / "h_1.5.pt.trace.json"
        while not fifo.exists() or Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text():
            time.sleep(0.05)
        time.sleep(0.5)
        process.send_signal(number)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 7
    assert "interrupted after the command had ended" in said
    assert "Traceback" not in said


def test_nothing_is_left_behind_where_the_recorder_is_killed(started):
    process = started("sh", "-c", "echo ready; sleep 60")
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    assert len(children) == 2  # the command, and what tells signals to the group from signals to us
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    (command,) = [pid for pid in children if b"echo ready" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    (witness,) = set(children) - {command}
    deadline = time.monotonic() + 30
    while Path(f"/proc/{witness}").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert Path(f"/proc/{command}").exists()
    assert not Path(f"/proc/{witness}").exists()


class Terminal:
    """An interactive bash on a terminal of its own, as a user sits in front of it."""

    def __init__(self, environment, cwd):
        self.pid, self._file = pty.fork()
        if not self.pid:
            os.chdir(cwd)
            bash = ["bash", "--norc", "--noprofile", "-i"]
            os.execve("/bin/bash", bash, environment | {"PS1": "", "TERM": "dumb"})  # noqa: S606
        self.seen = ""

    def type(self, text):
        os.write(self._file, text.encode())

    def wait_for(self, text):
        """Read until a line is this text; lines that were typed are echoed, and are none of those."""
        deadline = time.monotonic() + 60
        while text not in self.seen.replace("\r", "").splitlines():
            assert time.monotonic() < deadline, self.seen
            if select.select([self._file], [], [], 1)[0]:
                self.seen += os.read(self._file, 4096).decode()

    def close(self):
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self._file)


@pytest.fixture
def terminal(plain_environment, tmp_path):
    shell = Terminal(plain_environment, tmp_path)
    yield shell
    shell.close()


def recorded(*words):
    return shlex.join([sys.executable, "-m", "tbperf", "record", "--out", "run", "--", *words])


def test_the_command_owns_the_terminal(terminal):
    code = "import os; print(*(os.isatty(n) for n in range(3)), os.tcgetpgrp(0) == os.getpgrp())"
    terminal.type(recorded(sys.executable, "-c", code) + "\n")
    terminal.wait_for("True True True True")


def test_ctrl_z_and_fg_stop_and_continue_the_command(terminal):
    terminal.type(recorded("sh", "-c", "echo ready; sleep 1; read line; echo got $line; exit 3") + "\n")
    terminal.wait_for("ready")
    terminal.type("\x1a")
    terminal.type("jobs | grep -c Stopped | sed s/^/stopped:/\n")
    terminal.wait_for("stopped:1")
    terminal.type("fg\n")
    terminal.type("words\n")
    terminal.wait_for("got words")
    terminal.type("echo code:$?\n")
    terminal.wait_for("code:3")


def test_a_command_that_stops_itself_gives_the_terminal_back(terminal):
    terminal.type(recorded("sh", "-c", "echo ready; kill -STOP $$; echo again") + "\n")
    terminal.wait_for("ready")
    terminal.type("jobs | grep -c Stopped | sed s/^/stopped:/\n")
    terminal.wait_for("stopped:1")
    terminal.type("fg\n")
    terminal.wait_for("again")


def test_ctrl_c_breaks_off_a_loop_of_the_shell(terminal):
    terminal.type(f"for i in 1 2 3; do {recorded('sh', '-c', 'echo ready; sleep 60')}; done; echo not reached\n")
    terminal.wait_for("ready")
    terminal.type("\x03")
    terminal.type("echo code:$?\n")
    terminal.wait_for("code:130")
    assert terminal.seen.replace("\r", "").splitlines().count("ready") == 1
