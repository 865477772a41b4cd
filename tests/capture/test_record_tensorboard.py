"""``tbperf record --tensorboard``: exports when the run has ended, without touching its exit code."""

import pytest

SETTINGS = {
    "model": "yolov8n.yaml",
    "data": "data/data.yaml",
    "epochs": 1,
    "imgsz": 64,
    "batch": 4,
    "workers": 0,
    "plots": False,
    "val": False,
    "device": "cpu",
    "close_mosaic": 0,
}


@pytest.mark.record
def test_a_recording_comes_with_what_tensorboard_shows(run_tbperf, workplace, environment):
    pytest.importorskip("tensorboard", reason="no TensorBoard (pip install 'tbperf[tensorboard]')")
    folder = workplace / "run-tensorboard"
    settings = [f"{name}={value}" for name, value in SETTINGS.items()]
    training = ["yolo", "train", *settings, f"project={workplace / 'with-tensorboard'}"]
    result = run_tbperf("record", "--tensorboard", "--out", folder, "--", *training)

    assert result.returncode == 0, result.stderr
    assert list(folder.glob("plugins/profile/train/*.xplane.pb"))
    assert list(folder.glob("tbperf/train/events.out.tfevents.*"))
    assert f"next: tbperf tensorboard {folder}" in result.stderr


def test_an_export_that_fails_is_a_note(tmp_path):
    """The exit code stays that of the command, whatever comes of it."""
    from tbperf.cli.record import _export_for_tensorboard

    (line,) = _export_for_tensorboard(tmp_path)

    assert line.startswith("note: nothing written for TensorBoard: ")
