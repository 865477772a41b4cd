"""Gates: what they say yes to, what they say no to, and what they cannot judge."""

import pytest

from tbperf.comparison import compare_reports
from tbperf.errors import UsageError
from tbperf.gates import judge_comparison, judge_report, parse_gates
from tests.comparison.runs import report


def outcome(gate, of):
    (judged,) = judge_report(parse_gates([gate], compared=False), of)
    return judged.outcome


def change(gate, a, b):
    (judged,) = judge_comparison(parse_gates([gate], compared=True), compare_reports([a], [b]), [b])
    return judged.outcome


@pytest.mark.parametrize(
    ("gate", "expected"),
    [
        ("idle>10%", "crossed"),
        ("idle>90%", "held"),
        ("idle < 90 %", "crossed"),
        ("gpu_busy<60%", "held"),
        ("dataloader>10%", "crossed"),
        ("dataloader>10ms", "crossed"),
        ("dataloader>1s", "held"),
        ("allocation>0%", "held"),
        ("stage.dataload>10%", "crossed"),
        ("stage.dataload>500000us", "held"),
        ("stage.unheard_of>0%", "held"),
        ("step_time>100ms", "crossed"),
        ("step_time>=200ms", "held"),
        ("throughput<100", "crossed"),
        ("throughput<10", "held"),
        ("kernels>3", "crossed"),
        ("LOADER002", "crossed"),
        ("SYNC001", "held"),
        ("severity=low", "crossed"),
    ],
)
def test_a_gate_is_crossed_by_what_it_says(gate, expected):
    assert outcome(gate, report(1, device=True)) == expected


def test_severity_means_at_least_that():
    high = report(1, device=True, dataload=300.0)

    assert outcome("severity=high", high) == outcome("severity=medium", high) == "crossed"


@pytest.mark.parametrize("gate", ["idle>30%", "dataloader>10%", "kernels>5", "exposed_memcpy>1%"])
def test_what_the_recording_lacks_is_not_judged_and_does_not_pass(gate):
    assert outcome(gate, report(1)) == "not judged"


def test_throughput_without_images_is_not_judged():
    assert outcome("throughput<100", report(1, run=False)) == "not judged"


def test_a_change_crosses_only_beyond_the_noise():
    a, slower = report(1, device=True), report(2, device=True, loss=25.0)

    assert change("step_time>+3%", a, slower) == "crossed"
    assert change("step_time>+30%", a, slower) == "held"
    assert change("stage.loss>+5ms", a, slower) == "crossed"
    assert change("throughput<-3%", a, slower) == "crossed"
    assert change("step_time>+3%", slower, a) == "held"
    assert change("step_time>+0.001%", a, report(3, device=True)) == "held"


def test_a_change_of_a_share_is_in_points():
    a, b = report(1, device=True), report(2, device=True, dataload=60.0)

    assert change("idle>+2pp", a, b) == "crossed"
    assert change("idle>+40pp", a, b) == "held"


def test_a_change_without_an_interval_is_not_judged():
    assert change("step_time>+3%", report(1, steps=1), report(2, steps=1, loss=60.0)) == "not judged"


def test_in_a_comparison_a_limit_without_a_sign_is_for_the_second_run():
    a, b = report(1, device=True), report(2, device=True, dataload=1.0)

    assert change("dataloader>10%", a, b) == "held"
    assert change("dataloader>10%", b, a) == "crossed"
    assert change("LOADER002", b, a) == "crossed"


def test_at_the_same_speed_a_busy_machine_crosses_nothing():
    a = report(1, noise=0.15)

    assert change("step_time_same_speed>+3%", a, report(2, noise=0.15, speed=1.3)) == "held"
    assert change("step_time_same_speed>+3%", a, report(2, noise=0.15, speed=1.3, preprocess=40.0)) == "crossed"


@pytest.mark.parametrize(
    ("gate", "compared", "says"),
    [
        ("idel>30%", False, "known are step_time, "),
        ("LOADER999", False, "known are LOADER001, "),
        ("severity=bad", False, "known are high, medium, low"),
        ("idle", False, "gates look like idle>30%"),
        ("idle>", False, "gates look like"),
        ("idle>30ms", False, "idle takes %"),
        ("step_time>30%", False, "step_time takes ms"),
        ("step_time>30", False, "step_time takes ms"),
        ("throughput<10ms", False, "throughput takes no unit"),
        ("step_time>+3%", False, "tbperf compare BASELINE RUN"),
        ("step_time_same_speed>3ms", True, "give a change"),
        ("idle>+3ms", True, "idle takes pp, %"),
        ("", False, "gates look like"),
    ],
)
def test_what_is_no_gate_is_a_usage_error_that_says_what_is_one(gate, compared, says):
    with pytest.raises(UsageError) as refused:
        parse_gates([gate], compared=compared)

    assert refused.value.message.startswith(f"--fail-on {gate}: ")
    assert says in refused.value.hint
