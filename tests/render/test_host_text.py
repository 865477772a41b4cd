"""What a run on the CPU reads like in a terminal: one screen, with the answers that the page has, too."""

from dataclasses import replace
from pathlib import Path

import pytest

from tbperf import analyze
from tbperf.analyses import examine
from tbperf.render.text import render_text
from tbperf.report import report_on
from tbperf.trace import Run, StepAccount
from tests.draw import Timeline

SAMPLES = sorted(path.parent for path in (Path(__file__).parents[2] / "sample_traces").rglob("run.json"))


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda path: path.name)
def test_one_screen_says_what_bounds_the_run_and_nothing_of_an_idle_gpu(sample):
    report = analyze(sample)

    text = render_text(report)

    assert "in convolutions" in report.verdict[0]
    assert "idle" not in " ".join(report.verdict)
    assert "What the host does" in text
    assert "no GPU is visible" in " ".join(text.split())
    assert len(text.splitlines()) <= 60


def drawn():
    timeline = Timeline().step(1, 0, 1000).stage("inference", 0, 700).op("aten::conv2d", 0, 600)
    timeline.stage("postprocess", 700, 900).stage("nms", 700, 880).op("torchvision::nms", 710, 870)
    run = Run("folder", ("yolo",), "ended", 0, {}, {"cores": 8, "usable_cores": 4}, {}, {}, {})
    return replace(
        timeline.trace(),
        run=run,
        accounts={1: StepAccount(2, 1_500_000, 900_000, 20_000)},
        recording={"phase": "val", "threads": {"intra_op": 4}},
    )


def test_speed_threads_and_cores_are_told():
    text = " ".join(render_text(report_on([examine(drawn())]), sections=["time", "work", "speed", "threads"]).split())

    assert "CPU · 1 step · 1.00 ms each · 2,000 images/s · 1.5 of 4 cores" in text
    assert "An image takes 0.500 ms: 2,000 images/s, 2 a step." in text
    assert "0.350 ms inference, 0.100 ms postprocess" in text
    assert "torch computes with 4 threads; the process may use 4 of 8 cores; it kept 1.50 busy" in text
    assert "the loop waited 0.020 ms for a core" in text


def test_the_verdict_of_a_validation_that_mostly_suppresses_boxes_says_so():
    timeline = Timeline().step(1, 0, 1000).stage("inference", 0, 300).op("aten::conv2d", 0, 300)
    timeline.stage("nms", 300, 900).op("torchvision::nms", 300, 850)

    verdict = report_on([examine(replace(timeline.trace(), recording={"phase": "val"}))]).verdict

    assert verdict[0] == "A validation step takes 1.00 ms on the CPU: 60 % in NMS, 30 % in convolutions."
