"""Sessions of torch's profiler: they end where they can, are never exported when they are gone, and go second.

Each case runs in a process of its own, forked from one that has imported torch: what goes wrong here ends a process
without a word.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

BOOTSTRAP = Path(__file__).parents[2] / "tbperf" / "capture" / "bootstrap"

FORKS = """
import json, os, sys
sys.path.append(sys.argv[1])
import torch
import torch._inductor.config  # torch.profiler imports it: once is enough
from torch.profiler import ProfilerActivity, profile
for line in sys.stdin:
    folder, code = json.loads(line)
    child = os.fork()
    if not child:
        for number, name in ((1, "out"), (2, "err")):
            os.dup2(os.open(os.path.join(folder, name), os.O_WRONLY | os.O_CREAT), number)
        sys.argv[1:] = [folder]
        exec(code, {"__name__": "__main__"})
        sys.exit()
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""

START = """
import sys, threading
import torch
from torch.profiler import ProfilerActivity, profile
from tbperf_inside import captures
from tbperf_inside.captures import TorchCapture, TraceFiles
from tbperf_inside.guard import Guard
from tbperf_inside.imports import ImportHooks
from tbperf_inside.profilers import ProgramsProfilers
from tbperf_inside.ranges import PassRanges, ProfilerRanges

if {one_thread}:
    captures._all_threads_config = lambda: None  # as in older versions of torch
guard = Guard(lambda error, trace: print("FAILED", error, trace))
programs = ProgramsProfilers(guard)
programs.register(ImportHooks(guard))
ranges = ProfilerRanges()
ranges.connect()
capture = TorchCapture({{}}, ranges, TraceFiles(sys.argv[1], "1"), programs)
capture._used = {used}
shown = PassRanges(ranges)

def record():
    assert capture.prepare("predict") is None
    capture.start({{}})
    shown.recorded = True
    return shown.open("tbperf/inference")

def on_a_thread(work):
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()

def own_events():
    with profile(activities=[ProfilerActivity.CPU]) as own:
        torch.ones(2) + 1
    return sorted({{event.name for event in own.events()}})

ALONE = own_events() if {used} else None
"""


@pytest.fixture(scope="module")
def forks():
    environment = {**os.environ, "KINETO_LOG_LEVEL": "5"}
    command = [sys.executable, "-c", FORKS, str(BOOTSTRAP)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe, text=True) as process:
        yield process
        process.stdin.close()


@pytest.fixture
def run(tmp_path, forks):
    (tmp_path / "trace").mkdir()

    def run(program, *, one_thread, used=True):
        code = START.format(one_thread=one_thread, used=used) + program
        print(json.dumps([str(tmp_path), code]), file=forks.stdin, flush=True)
        status = int(forks.stdout.readline())
        said = (tmp_path / "err").read_text()
        assert (status, (tmp_path / "out").read_text()) == (0, "done\n"), said
        return said

    return run


def about_kineto(said):
    return [line for line in said.splitlines() if "USDT" not in line]


@pytest.mark.parametrize("one_thread", [False, True], ids=["all threads", "one thread"])
def test_a_session_ends_on_its_thread_with_a_trace_and_without_a_word(run, tmp_path, one_thread):
    said = run(
        """
shown.close(record())
assert capture.ends_here
assert capture.stop()
print("done")
""",
        one_thread=one_thread,
    )
    assert said.count("\n") == said.count("USDT") == 2  # of the program's own session
    (trace,) = (tmp_path / "trace").iterdir()
    assert b"tbperf/inference" in trace.read_bytes()


def test_a_session_of_all_threads_ends_anywhere_also_when_its_thread_is_gone(run, tmp_path):
    said = run(
        """
on_a_thread(record)
assert capture.ends_here
on_a_thread(lambda: capture.stop())
assert own_events() == ALONE
print("done")
""",
        one_thread=False,
    )
    assert about_kineto(said) == []
    assert len(list((tmp_path / "trace").iterdir())) == 1


def test_a_session_of_a_thread_that_lives_is_left_behind_and_ends_when_that_thread_comes_by(run, tmp_path):
    run(
        """
go, gone, again = threading.Event(), threading.Event(), threading.Event()

def first():
    record()
    go.set()
    gone.wait()
    torch.ones(2) + 1
    capture.tidy()
    assert own_events() == ALONE, own_events()

thread = threading.Thread(target=first)
thread.start()
go.wait()
assert not capture.ends_here
capture.abort()
assert own_events() == ALONE
gone.set()
thread.join()
assert capture.prepare("predict") is None
capture.start({})
assert capture.stop()
assert own_events() == ALONE
print("done")
""",
        one_thread=True,
    )
    assert len(list((tmp_path / "trace").iterdir())) == 1


def test_a_session_whose_thread_is_gone_is_never_exported(run, tmp_path):
    run(
        """
on_a_thread(record)
assert not capture.ends_here
capture.abort()
capture.tidy()
assert own_events() == ALONE
print("done")
""",
        one_thread=True,
    )
    assert list((tmp_path / "trace").iterdir()) == []


@pytest.mark.parametrize(
    "own",
    [
        "profile(activities=[ProfilerActivity.CPU])",
        "torch.autograd.profiler.emit_itt()",
    ],
)
@pytest.mark.parametrize("where", ["here", "on another thread"])
@pytest.mark.parametrize("one_thread", [False, True], ids=["all threads", "one thread"])
def test_what_the_program_runs_itself_is_told_before_it_begins_and_sees_only_its_own(run, own, where, one_thread):
    run(
        f"""
ended = []

def give_way(what):
    ended.append(what)
    capture.abort()

def program():
    with {own} as own:
        assert programs.running
        torch.ones(2) + 1
        shown.close(token)
    assert not programs.running
    if hasattr(own, "events"):
        events = own.events() if hasattr(own, "profiler") else own.function_events
        assert not [event.name for event in events if "tbperf" in event.name]

programs.when_one_begins(give_way)
token = record()
on_a_thread(program) if {where != "here"} else program()
capture.tidy()
assert set(ended) == {{"profiler"}}
assert own_events() == ALONE
assert not programs.running
print("done")
""",
        one_thread=one_thread,
    )


def test_execution_traces_and_a_profiler_that_warms_up_count_as_the_programs_own(run):
    run(
        """
import os, tempfile
from torch.profiler import ExecutionTraceObserver
observer = ExecutionTraceObserver().register_callback(os.path.join(tempfile.mkdtemp(), "x.json"))
observer.start()
assert "operators" in capture.prepare("train")
observer.stop()
assert programs.running is None
waiting = profile(activities=[ProfilerActivity.CPU])
waiting.prepare_trace()
assert "profiler" in capture.prepare("train")
waiting.start_trace()
waiting.stop_trace()
shown.close(record())
assert capture.stop()
os.environ["KINETO_USE_DAEMON"] = "1"
assert "on demand" in capture.prepare("train")
print("done")
""",
        one_thread=False,
    )


def test_on_another_thread_the_first_window_waits_for_the_main_one_so_that_kineto_does_not_complain(run, tmp_path):
    said = run(
        """
tried = []

def elsewhere():
    hindrance = capture.prepare("predict")
    tried.append(hindrance)
    if hindrance is None:
        capture.start({})
        assert capture.stop()

while None not in tried:
    on_a_thread(elsewhere)
assert tried[0] == "" and len(tried) < 5, tried
print("done")
""",
        one_thread=False,
        used=False,
    )
    assert said == ""
    assert len(list((tmp_path / "trace").iterdir())) == 1
