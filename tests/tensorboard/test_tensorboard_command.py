"""``tbperf tensorboard`` and ``tbperf export`` as a user meets them."""

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from tbperf.cli import cli
from tbperf.tensorboard.exports import TARGETS
from tests.draw import Timeline
from tests.tensorboard.serving import Served

RUN = Path(__file__).parents[2] / "sample_traces" / "tbperf" / "0.1.0" / "yolov8n-train-cpu"
NAME = "2026-11-24-0930"


@contextlib.contextmanager
def started(*arguments, folder):
    """Run the command until it names its address."""
    pytest.importorskip("tensorboard", reason="no TensorBoard (pip install 'tbperf[tensorboard]')")
    child = subprocess.Popen(
        [sys.executable, "-m", "tbperf", "tensorboard", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    said = []
    try:
        for line in child.stderr:
            said.append(line)
            found = re.match(r"tbperf  (http://127\.0\.0\.1:\d+/) ", line)
            if found:
                break
        else:
            pytest.fail("".join(said))
        yield child, Served(found[1]), said
    finally:
        if child.poll() is None:
            child.terminate()
        child.communicate(timeout=30)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The folder of someone who trains with Ultralytics: its training curves, and a run that was recorded."""
    from torch.utils.tensorboard import SummaryWriter  # what Ultralytics writes with

    folder = tmp_path_factory.mktemp("home")
    with SummaryWriter(str(folder / "runs" / "detect" / "train")) as writer:
        writer.add_scalar("metrics/mAP50(B)", 0.5, 1)
    shutil.copytree(RUN, folder / "runs" / "tbperf" / NAME)
    return folder


@pytest.fixture(scope="module")
def served(runs):
    with started(folder=runs) as (child, served, said):
        yield child, served, said


def test_training_curves_and_performance_stand_side_by_side(served):
    _, board, _ = served
    mine = f"tbperf/{NAME}/tbperf/train"
    tags = board.eventually("data/plugin/scalars/tags", lambda found: {"detect/train", mine} <= found.keys())

    assert "metrics/mAP50(B)" in tags["detect/train"]
    assert {"tbperf/step_time_ms", "tbperf/images_per_second", "tbperf/data_wait_ms"} <= tags[mine].keys()


def test_the_text_dashboard_has_the_report(served):
    _, board, _ = served
    mine = f"tbperf/{NAME}/tbperf/train"
    board.eventually("data/plugin/text/tags", lambda found: mine in found)
    (page,) = board.json("data/plugin/text/text", run=mine, tag="tbperf/report")

    assert "A training step of 8 images takes" in page["text"]


def test_the_profile_tab_has_the_windows_of_the_run(served):
    pytest.importorskip("xprof", reason="no Profile tab (pip install 'tbperf[tensorboard]')")
    _, board, _ = served

    assert f"tbperf/{NAME}/train" in board.json("data/plugin/profile/runs")


def test_what_is_there_already_is_not_prepared_again(served, runs):
    _, _, said = served
    files = {file: file.stat().st_mtime_ns for file in (runs / "runs").rglob("*.xplane.pb")}
    result = CliRunner().invoke(cli, ["export", "--to", "xprof", str(runs / "runs")], standalone_mode=False)

    assert "tbperf  prepared 6 exports in runs\n" in said
    assert result.exit_code == 0
    assert "written" not in result.stderr
    assert {file: file.stat().st_mtime_ns for file in (runs / "runs").rglob("*.xplane.pb")} == files


def test_another_one_finds_a_free_port_and_ends_with_its_parent(served, runs):
    """However that dies: the kernel sees to it."""
    _, board, _ = served
    with started("runs", folder=runs) as (child, other, _):
        assert other.address != board.address
        child.kill()
        child.wait(10)
        port = int(other.address.rpartition(":")[2].strip("/"))
        _eventually(lambda: not _listens(port))


def test_a_signal_ends_it_and_is_no_failure(served):
    child, board, _ = served
    port = int(board.address.rpartition(":")[2].strip("/"))
    child.send_signal(signal.SIGINT)

    assert child.wait(30) == 0
    assert not _listens(port)


def test_a_trace_is_shown_without_a_file_beside_it(tmp_path):
    trace = Timeline().step(1, 0, 100).op("aten::add", 10, 60).kernel(20, 30).write(tmp_path / "mine.pt.trace.json")
    with started(str(trace), folder=tmp_path) as (child, board, _):
        board.eventually("data/plugin/scalars/tags", lambda found: "tbperf/mine" in found)
        assert os.listdir(tmp_path) == ["mine.pt.trace.json"]  # noqa: PTH208
        child.terminate()
        assert child.wait(30) == 0


def test_a_port_that_is_taken_gives_one_line(tmp_path):
    Timeline().op("aten::add", 0, 10).write(tmp_path / "a.pt.trace.json")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        command = [sys.executable, "-m", "tbperf", "tensorboard", tmp_path, "--port", str(taken.getsockname()[1])]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)

    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith("tbperf: port ")


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["tensorboard", "nowhere"], 2, "nowhere: no such file or folder"),
        (["export", "--to", "xprof", "nowhere"], 3, "no such file"),
        (["export", "nowhere"], 2, "--to"),
    ],
)
def test_wrong_paths_give_one_line(tmp_path, arguments, code, said):
    done = subprocess.run(
        [sys.executable, "-m", "tbperf", *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )

    assert done.returncode == code
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_the_command_offers_every_export_there_is():
    from tbperf.cli import export

    assert export.TARGETS == TARGETS


def _listens(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _eventually(accepts, seconds=30):
    until = time.monotonic() + seconds
    while not accepts():
        assert time.monotonic() < until
        time.sleep(0.1)
