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
