"""What changed between two runs, why, and whether it is more than noise."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tbperf.comparison import compare_reports
from tbperf.errors import UsageError
from tests.comparison.runs import report

ROOT = Path(__file__).parents[2]


def compare(a, b, **choices):
    return compare_reports([a], [b], **choices)


def figure(found, name):
    return next(row for row in found.figures if row.name == name)


def test_two_recordings_of_the_same_differ_by_noise_alone():
    found = compare(report(1), report(2))

    rows = (*found.figures, *found.stages, *found.work)
    assert len(rows) > 12
    assert {row.change for row in rows} == {"noise"}
    assert found.named_stage is None
    assert "no difference beyond the noise" in found.verdict[0]


def test_the_stage_that_became_slower_is_named_with_its_times():
    found = compare(report(1), report(2, loss=30.0))

    assert found.named_stage == "loss"
    assert [row.name for row in found.stages if row.change != "noise"] == ["loss"]
    assert found.verdict[0].startswith("A training step takes 170.0 ms against 154.9 ms: +9.5 % at the same speed")
    assert found.verdict[0].endswith("; the loss rose from 15.0 ms to 29.9 ms.")
    loss = found.stages[0]
    assert loss.low < 15e6 < loss.high
    assert loss.low > 0


def test_the_cause_is_named_where_there_is_a_device():
    found = compare(report(1, device=True), report(2, device=True, dataload=1.0))

    assert (found.named_cause, found.named_stage) == ("dataloader", "dataload")
    assert figure(found, "step_time").change == "less"
    assert "A training step takes 12" in found.verdict[0]
    assert "waiting for a batch fell from 28" in found.verdict[0]
    assert figure(found, "idle").change == "less"


def test_intervals_hold_the_difference_and_are_the_same_every_time():
    a, b = report(1, device=True), report(2, device=True, dataload=1.0)
    first, again = compare(a, b), compare(a, b)

    step = figure(first, "step_time")
    assert step.low <= step.difference <= step.high < 0
    assert step.low <= -29e6 <= step.high
    assert first == again


def test_intervals_do_not_depend_on_the_process(tmp_path):
    """Sets of names come in another order in every process."""
    code = (
        "from tests.comparison.runs import report; from tbperf.comparison import compare_reports as compare;"
        "found = compare([report(1, device=True)], [report(2, device=True, loss=20.0)]);"
        "print([(row.name, row.low, row.high) for row in (*found.figures, *found.device_parts, *found.device_work)])"
    )

    said = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }

    assert len(said) == 1


def test_a_machine_that_is_slower_all_over_is_no_change_of_a_stage():
    found = compare(report(1, noise=0.15), report(2, noise=0.15, speed=1.3))

    assert found.alike == pytest.approx(1.3, abs=0.1)
    assert {row.change for row in (*found.figures, *found.stages)} == {"noise"}
    assert any("slower or busier machine" in sentence for sentence in found.verdict)


def test_a_slowed_stage_is_found_on_a_slower_machine():
    found = compare(report(1, noise=0.15), report(2, noise=0.15, speed=1.3, preprocess=40.0))

    assert found.named_stage == "preprocess"
    assert figure(found, "step_time_same_speed").difference < figure(found, "step_time").difference


def test_what_is_slower_all_over_on_a_quiet_machine_is_a_change():
    found = compare(report(1, device=True, noise=0.001), report(2, device=True, noise=0.001, speed=1.3))

    assert found.alike == 1
    assert figure(found, "step_time").change == "more"


def test_unprofiled_steps_are_preferred_where_both_sides_have_them():
    logged, not_logged = report(1, logged=100), report(2)

    assert compare(logged, report(2, logged=100)).source == "log"
    assert compare(logged, not_logged).source == "profile"
    assert compare(logged, report(2, logged=3)).source == "profile"
    assert compare(logged, report(2, logged=100)).a.steps == 100


def test_more_steps_make_the_interval_narrower():
    few, many = (compare(report(1, noise=0.1, logged=n), report(2, noise=0.1, logged=n)) for n in (10, 200))

    widths = [row.high - row.low for row in (few.stages[0], many.stages[0])]
    assert few.stages[0].change == many.stages[0].change == "noise"
    assert widths[0] > widths[1]


def test_one_step_says_nothing_about_noise():
    found = compare(report(1, steps=1), report(2, steps=1, loss=60.0))

    assert {row.change for row in (*found.figures, *found.stages)} == {"unknown"}
    assert figure(found, "step_time").low is None
    assert "nothing tells how much of that is noise" in found.verdict[0]
    assert any("A has 1 step: too few" in caution for caution in found.cautions)


def test_few_steps_are_said_to_be_few():
    found = compare(report(1, steps=5), report(2, steps=5))

    assert any("A has 5 steps: too few" in caution for caution in found.cautions)


def test_traces_without_steps_are_compared_as_a_whole():
    found = compare(report(1, marked=False), report(2, marked=False, loss=60.0))

    assert found.per == "window"
    assert found.verdict[0].startswith("The window takes")
    assert {row.change for row in found.stages} == {"unknown"}
    assert any("A marks no steps" in caution for caution in found.cautions)
    with pytest.raises(UsageError, match="steps: window against profile"):
        compare(report(1, marked=False), report(2))


def test_replicas_tell_how_far_runs_differ():
    """A step that differs by 10 % between replicas of A differs by 10 % for no reason."""
    alone = compare(report(1, device=True), report(2, device=True, speed=1.1))
    replicas = [report(seed, device=True, speed=speed) for seed, speed in ((1, 1.0), (3, 1.1), (4, 0.95), (5, 1.08))]
    among = compare_reports(replicas, [report(2, device=True, speed=1.1)])

    assert figure(alone, "step_time").change == "more"
    assert figure(among, "step_time").change == "noise"
    assert len(among.a.runs) == 4


def test_equal_replicas_make_surer():
    def width(a, b):
        row = figure(compare_reports(a, b), "step_time")
        return row.high - row.low

    one = width([report(1, device=True)], [report(2, device=True)])
    four = width([report(n, device=True) for n in (1, 3, 5, 7)], [report(n, device=True) for n in (2, 4, 6, 8)])

    assert four < one


def test_work_is_matched_by_name_and_place():
    found = compare(report(1, device=True), report(2, device=True, nms=20.0))

    new = {(row.sort, row.name): row for row in found.work if row.change == "added"}
    assert ("kernel", "nms_kernel") in new
    assert new["operator", "aten::nms"].stage == "nms"
    assert new["operator", "aten::nms"].a_ns is None
    back = compare(report(1, device=True, nms=20.0), report(2, device=True))
    assert {row.name for row in back.work if row.change == "gone"} >= {"nms_kernel", "aten::nms"}
    slower = compare(report(1, device=True), report(2, device=True, loss=40.0))
    assert {(row.name, row.change) for row in slower.work if row.change != "noise"} >= {("loss_kernel", "more")}


@pytest.mark.parametrize(
    ("other", "says"),
    [
        ({"gpu": "V100", "device": True}, "gpu: H100 against V100"),
        ({"device": False}, "device: the GPU against no GPU work"),
        ({"device": True, "hardware": {"cpu": "Xeon"}}, "cpu: EPYC against Xeon"),
        ({"device": True, "arguments": {"imgsz": 320}}, "imgsz: 640 against 320"),
        ({"device": True, "phase": "val"}, "phase: train against val"),
        ({"device": True, "profiler": {"with_stack": True}}, "with_stack=False against with_stack=True"),
    ],
    ids=["gpu", "device", "cpu", "imgsz", "phase", "profiler"],
)
def test_what_is_not_comparable_is_refused_unless_forced(other, says):
    a, b = report(1, device=True), report(2, **other)

    with pytest.raises(UsageError, match="not comparable") as refused:
        compare(a, b)
    forced = compare(a, b, force=True)

    assert says in refused.value.message
    assert "--force" in refused.value.hint
    assert any(says in caution for caution in forced.cautions)


def test_replicas_that_do_not_fit_are_refused_too():
    with pytest.raises(UsageError, match="imgsz"):
        compare_reports([report(1), report(3, arguments={"imgsz": 320})], [report(2)])


def test_clocks_and_throttling_are_warned_of():
    a = report(1, device=True, sampled={"sm_clock_mhz": 1980.0, "power_watts": 400.0})
    b = report(2, device=True, sampled={"sm_clock_mhz": 1410.0}, throttled="temperature")

    found = compare(a, b)

    assert [(row.series, row.a, row.b) for row in found.hardware] == [("sm_clock_mhz", 1980.0, 1410.0)]
    assert any(c.startswith("throttled: no against temperature") for c in found.cautions)
    assert any(c.startswith("clock of the GPU: 1980 MHz against 1410 MHz") for c in found.cautions)
    assert not compare(a, report(3, device=True, throttled="idle")).cautions


def test_profiler_options_do_not_matter_where_unprofiled_steps_are_compared():
    found = compare(report(1, logged=50), report(2, logged=50, profiler={"with_stack": True}))

    assert any("with_stack" in caution for caution in found.cautions)


def test_another_batch_is_compared_by_image():
    found = compare(report(1), report(2, speed=2.0, arguments={"batch": 16}))

    assert found.per == "image"
    step = figure(found, "step_time")
    assert (step.a, step.b) == (pytest.approx(155e6 / 8, rel=0.02), pytest.approx(310e6 / 16, rel=0.02))
    assert step.change == "noise"
    assert found.verdict[0].startswith("An image takes")
    rate = figure(found, "throughput")
    assert rate.a == pytest.approx(rate.b, rel=0.02)


def test_what_was_set_differently_is_named():
    found = compare(report(1, arguments={"workers": 0}), report(2, dataload=1.0))

    assert [(one.kind, one.name, one.a, one.b) for one in found.settings] == [("argument", "workers", "0", "8")]
    assert found.verdict[-1] == "workers 0 → 8; same hardware, versions, profiler options."


def test_without_a_run_folder_nothing_is_claimed_to_be_the_same():
    found = compare(report(1, run=False), report(2, run=False))

    assert not found.settings
    assert not any("same" in sentence for sentence in found.verdict)


def test_where_results_go_is_no_setting():
    a = report(1, arguments={"project": "/a", "save_dir": "/a/x", "data": "/a/coco.yaml"})
    b = report(2, arguments={"project": "/b", "save_dir": "/b/x", "data": "/b/coco.yaml"})

    assert not compare(a, b).settings


def test_the_phase_can_be_chosen_and_must_be_there():
    train, val = report(1), report(1, phase="val")
    both = replace(train, traces=(*train.traces, *val.traces))

    assert compare(both, both).phase == "train"
    assert compare(both, both, phase="val").phase == "val"
    assert compare(both, val).phase == "val"
    with pytest.raises(UsageError, match="--phase predict: A has none"):
        compare(both, both, phase="predict")


def test_an_empty_report_is_refused():
    with pytest.raises(UsageError, match="A holds no trace"):
        compare(replace(report(1), traces=()), report(2))


def test_the_same_recording_twice_is_noted():
    found = compare(report(1), report(1))

    assert "A and B are the same recording" in found.cautions
    assert {row.difference for row in found.stages} == {0}
