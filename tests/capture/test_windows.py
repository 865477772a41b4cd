"""Windows end before they take more than they may; a stand-in captures, so that sizes can be chosen."""

import threading

import pytest
from tbperf_inside import windows
from tbperf_inside.captures import Capture
from tbperf_inside.schedule import Plan, Position
from tbperf_inside.windows import Windows


class Flag:
    up = False

    def raise_(self):
        self.up = True

    def lower(self):
        self.up = False

    rest = lower


class Calls:
    """Whether calls of modules are shown."""

    shown = False

    def begin(self, owner):
        assert owner.ranges.recorded
        self.shown = True

    def end(self):
        self.shown = False


class Shown:
    recorded = False


class Pass:
    """A pass over batches that runs on some thread, or waits for its caller."""

    model = None

    def __init__(self, phase="train"):
        self.phase = phase
        self.ranges = Shown()
        self.running_on = 1


class Written(Capture):
    """Writes files of a given size; what is ``elsewhere`` cannot be ended here."""

    def __init__(self, folder, size):
        self.folder = folder
        self.size = size
        self.aborted = 0
        self.elsewhere = False
        self.hindrance = None

    @property
    def ends_here(self):
        return not self.elsewhere

    def prepare(self, _phase):
        return self.hindrance

    def start(self, _about):
        self.on = True

    def stop(self):
        assert self.ends_here
        self.on = False
        path = self.folder / "trace"
        path.write_bytes(bytes(self.size))
        return str(path)

    def abort(self):
        self.on = False
        self.aborted += 1


class Run:
    """Windows with what stands for their surroundings."""

    def __init__(self, folder, plan, size=10, max_bytes=1000):
        self.told, self.flag, self.calls, self.capture = [], Flag(), Calls(), Written(folder, size)
        self.windows = Windows(
            {"train": plan, "predict": plan},
            self.capture,
            lambda event, **fields: self.told.append((event, fields)),
            self.flag,
            self.calls,
            max_bytes,
        )

    @property
    def notes(self):
        return [fields["text"] for event, fields in self.told if event == "note"]

    def step(self, owner, step, left=None):
        """Do a step; returns the state in it."""
        self.windows.before_step(owner, Position(step=step, passed=step, left=left), {})
        state = self.windows.state(owner)
        assert owner.ranges.recorded == (state == "active")
        self.windows.after_step(owner, step)
        return state


@pytest.fixture
def run(tmp_path):
    """Run steps; returns the states in each, and what was told."""

    def run(size, max_bytes, plan, steps=20):
        drawn, owner, states = Run(tmp_path, plan, size, max_bytes), Pass(), []
        for step in range(steps):
            drawn.windows.before_step(owner, Position(step=step, passed=step, left=steps - step), {})
            states.append(drawn.windows.state(owner))
            assert drawn.flag.up == (states[-1] != "off")
            assert drawn.calls.shown == (states[-1] == "active")
            drawn.windows.after_step(owner, step)
        return states, drawn.told

    return run


PLAN = Plan(wait=2, warmup=1, active=3, repeat=3, settle=False)


def test_windows_follow_each_other_while_there_is_room(run):
    states, told = run(10, 1000, PLAN)
    assert states.count("active") == 9
    assert [event for event, _ in told] == ["window"] * 3


def test_no_window_begins_beyond_the_limit(run):
    states, told = run(600, 1000, PLAN)
    assert states.count("active") == 6
    assert [event for event, _ in told] == ["window", "window", "note"]
    assert told[-1][1]["text"] == "no further window was opened: the limit of 1,000 bytes (--max-bytes) was reached"


def test_a_window_ends_early_when_the_process_grows_too_much(run, monkeypatch):
    sizes = iter(range(0, 10_000, 400))
    monkeypatch.setattr(windows, "_resident_bytes", lambda: next(sizes))
    states, told = run(10, 1000, PLAN._replace(active=8, repeat=1))
    # What was cut off is made up for by another window.
    assert states[2:9] == ["warmup", *["active"] * 3, "warmup", *["active"] * 2]
    assert told[1][1]["steps"] == 3
    assert told[0][1]["text"] == (
        "the window of train ended 5 steps early: the limit of 1,000 bytes (--max-bytes) was reached"
    )


def test_the_memory_of_a_process_is_known():
    assert 1 << 20 < windows._resident_bytes() < 1 << 40


def test_steps_of_another_pass_are_no_steps_of_the_window(tmp_path):
    drawn, first, second = Run(tmp_path, PLAN._replace(repeat=1)), Pass("predict"), Pass("predict")
    states = [(drawn.step(first, step), drawn.step(second, step + 1)) for step in range(2, 12, 2)]
    assert states == [
        ("warmup", "beside"),
        ("active", "beside"),
        ("active", "warmup"),
        ("beside", "active"),
        ("off", "off"),
    ]
    assert [fields["steps"] for event, fields in drawn.told if event == "window"] == [2, 1]


def test_a_window_whose_results_nobody_asks_for_makes_room_for_those_of_others(tmp_path):
    drawn, kept, other = Run(tmp_path, PLAN._replace(repeat=1)), Pass("predict"), Pass("predict")
    assert [drawn.step(kept, step) for step in (2, 3)] == ["warmup", "active"]
    kept.running_on = None
    states = [drawn.step(other, step) for step in range(4, 13)]
    assert states == ["beside"] * 4 + ["warmup", *["active"] * 3, "off"]
    assert drawn.capture.aborted == 1
    assert drawn.notes == [
        "a window of predict was dropped: its results were not asked for, while other passes went on"
    ]


def test_a_slow_pass_on_another_thread_keeps_its_window(tmp_path):
    drawn, slow, quick = Run(tmp_path, PLAN), Pass("predict"), Pass("predict")
    drawn.windows.before_step(slow, Position(step=2, passed=2), {})
    assert [drawn.step(quick, step) for step in range(3, 33)] == ["beside"] * 30
    assert not drawn.capture.aborted


def test_the_programs_own_profiler_ends_a_window_and_the_next_one_is_tried_a_few_times(tmp_path):
    drawn, owner = Run(tmp_path, PLAN), Pass()
    for step in range(2, 20):
        drawn.windows.before_step(owner, Position(step=step, passed=step, left=100), {})
        drawn.windows.give_way("profiler")
        assert drawn.windows.state(owner) == "off"
        assert not owner.ranges.recorded
        assert not drawn.flag.up
    assert drawn.capture.aborted == 3
    assert drawn.notes == ["a window of train was dropped: the program's own profiler began in it"]


def test_while_something_else_profiles_no_window_opens_and_one_note_says_so(tmp_path):
    drawn, owner = Run(tmp_path, PLAN), Pass()
    drawn.capture.hindrance = "the program's own profiler ran in train"
    assert {drawn.step(owner, step, 100) for step in range(2, 20)} == {"off"}
    assert drawn.notes == ["the program's own profiler ran in train: tbperf opened no window there"]
    drawn.capture.hindrance = None
    assert [drawn.step(owner, step, 100) for step in (20, 21)] == ["warmup", "active"]


def test_a_window_that_cannot_end_where_its_pass_goes_on_is_never_exported(tmp_path):
    drawn, owner = Run(tmp_path, PLAN), Pass("predict")
    drawn.step(owner, 2)
    drawn.step(owner, 3)
    drawn.capture.elsewhere = True
    drawn.windows.close(owner, 4)
    assert drawn.capture.aborted == 1
    assert [event for event, _ in drawn.told] == ["note"]


def test_a_profiler_on_another_thread_waits_until_the_pass_is_between_two_stages(tmp_path):
    drawn, owner = Run(tmp_path, PLAN), Pass("predict")
    drawn.step(owner, 2)
    drawn.windows.before_step(owner, Position(step=3, passed=3), {})
    owner.running_on = threading.get_ident()
    program = threading.Thread(target=drawn.windows.give_way, args=("profiler",))
    program.start()
    while program.is_alive():
        drawn.windows.pass_by(owner)
    assert drawn.capture.aborted == 1
    assert drawn.windows.state(owner) == "off"
    drawn.windows.pass_by(owner)
    assert drawn.capture.aborted == 1


def test_a_profiler_does_not_wait_for_a_pass_that_never_comes_by(tmp_path):
    drawn, owner = Run(tmp_path, PLAN), Pass("predict")
    drawn.step(owner, 2)
    drawn.windows.give_way("profiler")
    assert drawn.capture.aborted == 1
