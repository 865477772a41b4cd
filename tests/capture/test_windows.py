"""Windows end before they take more than they may; a stand-in captures, so that sizes can be chosen."""

import pytest
from tbperf_inside import windows
from tbperf_inside.windows import Capture, Plan, Position, Windows


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

    def begin(self, phase, model):
        assert phase == "train"
        assert model is not None
        self.shown = True

    def end(self):
        self.shown = False


class Written(Capture):
    """Writes files of a given size."""

    def __init__(self, folder, size):
        self.folder = folder
        self.size = size
        self.aborted = False

    def prepare(self, _phase):
        return True

    def start(self, _about):
        self.on = True

    def stop(self):
        self.on = False
        path = self.folder / "trace"
        path.write_bytes(bytes(self.size))
        return str(path)

    def abort(self):
        self.aborted = True


@pytest.fixture
def run(tmp_path):
    """Run steps; returns the states before each, and what was told."""

    def run(size, max_bytes, plan, steps=20):
        told, states, flag, calls = [], [], Flag(), Calls()
        opened = Windows(
            {"train": plan},
            Written(tmp_path, size),
            lambda event, **fields: told.append((event, fields)),
            flag,
            calls,
            max_bytes,
        )
        for step in range(steps):
            opened.before_step("train", Position(step=step, passed=step, left=steps - step), {}, step)
            states.append(opened.state)
            assert flag.up == (opened.state != "off")
            assert calls.shown == (opened.state == "active")
            opened.after_step("train", step)
        return states, told

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
    assert told[0] == (
        "note",
        {"text": "the window of train ended 5 steps early: the limit of 1,000 bytes (--max-bytes) was reached"},
    )


def test_the_memory_of_a_process_is_known():
    assert 1 << 20 < windows._resident_bytes() < 1 << 40
