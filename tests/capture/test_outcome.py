"""What run.json says, from journals and step logs as processes leave them."""

import json

import pytest

from tbperf.capture.outcome import read_outcome


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "journal").mkdir()
    (tmp_path / "trace").mkdir()
    return tmp_path


def journal(folder, *events):
    lines = [json.dumps({"pid": 1, "unix_ns": number, **event}) for number, event in enumerate(events)]
    (folder / "journal" / "1.jsonl").write_text("\n".join(lines) + "\n")


def log(folder, optimizer_every=1):
    rows = []
    for step in range(20):
        stages = {"forward": 10} | ({"optimizer": 1} if step % optimizer_every == optimizer_every - 1 else {})
        row = {"phase": "train", "step": step, "dur_ns": 11, "stages": stages, "profiler": "off", "recorder_ns": 0}
        rows.append(json.dumps(row))
    (folder / "steps.1.jsonl").write_text("\n".join(rows) + "\n")


def window(first, steps=4, phase="train"):
    return {
        "event": "window",
        "phase": phase,
        "first_step": first,
        "steps": steps,
        "planned_steps": steps,
        "warmup_steps": 1,
        "file": "",
    }


def arguments(**values):
    return {"event": "arguments", "phase": "train", "rank": None, "device": "cpu", "arguments": values}


def test_a_window_without_an_optimizer_step_is_noted(folder):
    log(folder, optimizer_every=16)
    journal(folder, window(2))
    assert read_outcome(folder, [])["notes"] == [
        "no step from 2 to 5 moved the weights: what the optimizer costs is not recorded"
    ]


def test_a_window_over_steps_that_plot_is_noted(folder):
    log(folder)
    journal(folder, arguments(plots=True), window(1), window(3), window(0, phase="val"))
    (note,) = read_outcome(folder, [])["notes"]
    assert note.startswith("step 1 draws the images")


def test_a_good_window_needs_no_note(folder):
    log(folder, optimizer_every=4)
    journal(folder, arguments(plots=True), window(4))
    assert read_outcome(folder, [])["notes"] == []


def test_what_a_version_lacks_is_noted_once(folder):
    missing = {"event": "missing", "what": "engine.trainer.BaseTrainer.run_callbacks"}
    journal(folder, missing, missing, window(4))
    (note,) = read_outcome(folder, [])["notes"]
    assert note == "not found in this version, and not recorded: engine.trainer.BaseTrainer.run_callbacks"


def slowdown_of(folder, rows):
    lines = [
        {"phase": "train", "step": step, "dur_ns": dur, "stages": stages, "profiler": state, "recorder_ns": 0}
        for step, (dur, stages, state) in enumerate(rows)
    ]
    (folder / "steps.1.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    journal(folder)
    return read_outcome(folder, [])["steps"]["train"]["slowdown"]


LIGHT, HEAVY = {"forward": 1}, {"forward": 1, "optimizer": 1}


def test_a_profiled_step_is_compared_with_others_of_its_kind(folder):
    """The window lies where each step moves the weights, most other steps do not."""
    rows = [(150, HEAVY, "off")] * 7 + [(165, HEAVY, "active")] * 4 + [(100, LIGHT, "off")] * 50
    assert slowdown_of(folder, rows) == pytest.approx(1.1)


def test_a_profiled_step_is_compared_with_those_next_to_it(folder):
    """The run gets faster and faster."""
    rows = [(1000 - step, LIGHT, "active" if 300 <= step < 308 else "off") for step in range(600)]
    assert slowdown_of(folder, rows) == pytest.approx(1, abs=0.02)


def test_what_profiling_costs_is_unknown_where_no_step_is_like_the_profiled_ones(folder):
    rows = [(150, HEAVY, "active")] * 8 + [(100, LIGHT, "off")] * 50
    assert slowdown_of(folder, rows) is None
    assert slowdown_of(folder, [(100, LIGHT, "active")] * 8 + [(100, LIGHT, "beside")] * 50) is None
