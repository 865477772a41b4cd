"""Gates: what they say yes to, what they say no to, and what they cannot judge."""

from dataclasses import replace

import pytest

import tbperf
from tbperf.comparison import compare_reports
from tbperf.errors import UsageError
from tbperf.findings import RULES
from tbperf.findings.looked import why_not_looked
from tbperf.gates import judge_comparison, judge_report, parse_gates
from tbperf.report import Unread
from tests.comparison.runs import report
from tests.draw import Timeline


def outcome(gate, of):
    (judged,) = judge_report(parse_gates([gate], compared=False), of)
    return judged.outcome


def change(gate, a, b):
    (judged,) = judge_comparison(parse_gates([gate], compared=True), compare_reports([a], [b]), [b])
    return judged.outcome


@pytest.mark.parametrize(
    ("gate", "expected"),
    [
        ("idle>10%", "failed"),
        ("idle>90%", "passed"),
        ("idle < 90 %", "failed"),
        ("gpu_busy<60%", "passed"),
        ("dataloader>10%", "failed"),
        ("dataloader>10ms", "failed"),
        ("dataloader>1s", "passed"),
        ("allocation>0%", "passed"),
        ("stage.dataload>10%", "failed"),
        ("stage.dataload>500000us", "passed"),
        ("stage.save>0ms", "passed"),
        ("stage.(no stage)>1%", "passed"),
        ("severity>=low", "failed"),
        ("Severity = LOW", "failed"),
        ("loader002", "failed"),
        ("dataloader>.5ms", "failed"),
        ("step_time>1e-3s", "failed"),
        ("step_time>100ms", "failed"),
        ("step_time>=200ms", "passed"),
        ("throughput<100", "failed"),
        ("throughput<10", "passed"),
        ("kernels>3", "failed"),
        ("LOADER002", "failed"),
        ("SYNC001", "passed"),
        ("severity=low", "failed"),
    ],
)
def test_a_gate_fails_by_what_it_says(gate, expected):
    assert outcome(gate, report(1, device=True)) == expected


def test_severity_means_at_least_that():
    high = report(1, device=True, dataload=300.0)

    assert outcome("severity=high", high) == outcome("severity=medium", high) == "failed"


@pytest.mark.parametrize("gate", ["idle>30%", "dataloader>10%", "kernels>5", "exposed_memcpy>1%"])
def test_what_the_recording_lacks_is_not_judged_and_does_not_pass(gate):
    assert outcome(gate, report(1)) == "not judged"


def test_throughput_without_images_is_not_judged():
    assert outcome("throughput<100", report(1, run=False)) == "not judged"


def test_a_change_fails_only_beyond_the_noise():
    a, slower = report(1, device=True), report(2, device=True, loss=25.0)

    assert change("step_time>+3%", a, slower) == "failed"
    assert change("step_time>+30%", a, slower) == "passed"
    assert change("stage.loss>+5ms", a, slower) == "failed"
    assert change("throughput<-3%", a, slower) == "failed"
    assert change("step_time>+3%", slower, a) == "passed"
    assert change("step_time>+0.001%", a, report(3, device=True)) == "passed"


def test_a_change_of_a_share_is_in_points():
    a, b = report(1, device=True), report(2, device=True, dataload=60.0)

    assert change("idle>+2pp", a, b) == "failed"
    assert change("idle>+40pp", a, b) == "passed"


def test_a_change_without_an_interval_is_not_judged():
    assert change("step_time>+3%", report(1, steps=1), report(2, steps=1, loss=60.0)) == "not judged"


def test_in_a_comparison_a_limit_without_a_sign_is_for_the_second_run():
    a, b = report(1, device=True), report(2, device=True, dataload=1.0)

    assert change("dataloader>10%", a, b) == "passed"
    assert change("dataloader>10%", b, a) == "failed"
    assert change("LOADER002", b, a) == "failed"


def test_at_the_same_speed_a_busy_machine_fails_nothing():
    a = report(1, noise=0.15)

    assert change("step_time_same_speed>+3%", a, report(2, noise=0.15, speed=1.3)) == "passed"
    assert change("step_time_same_speed>+3%", a, report(2, noise=0.15, speed=1.3, preprocess=40.0)) == "failed"


@pytest.mark.parametrize(
    ("gate", "says"),
    [
        ("stage.nosuch>5ms", "the recording names no stage.nosuch, but stage.backward, stage.dataload"),
        ("stage.forwrd>5ms", "the recording names no stage.forwrd, but stage.forward"),
        ("stage.my-own stage<5 %", "the recording names no stage.my-own stage, but "),
    ],
)
def test_a_stage_that_is_not_there_is_named_with_those_like_it(gate, says):
    (judged,) = judge_report(parse_gates([gate], compared=False), report(1, device=True))

    assert judged.outcome == "not judged"
    assert judged.why.startswith(says)
    assert "\n" not in judged.why


def test_a_stage_that_is_in_neither_recording_is_named_too():
    a, b = report(1), report(2)
    (judged,) = judge_comparison(parse_gates(["stage.forwrd>+5%"], compared=True), compare_reports([a], [b]), [b])

    assert judged.outcome == "not judged"
    assert "stage.forward" in judged.why


def test_a_stage_of_tbperf_that_never_came_up_took_no_time_where_tbperf_would_have_named_it():
    assert outcome("stage.plot>1ms", report(1)) == "passed"
    assert outcome("stage.plot>1ms", report(1, run=False, phase=None)) == "not judged"


@pytest.mark.parametrize("gate", ["step_time>1ms", "stage.forward>1ms", "dataloader>1ms", "kernels>1", "throughput<1"])
def test_a_figure_of_a_step_needs_steps(gate):
    of = report(1, device=True, marked=False)

    assert outcome(gate, of) == "not judged"
    assert outcome("idle>10%", of) == "failed"
    assert outcome("stage.forward>90%", of) == "passed"


EVERY_SORT = (
    *("idle>30%", "step_time>5ms", "stage.forward>5ms", "dataloader>10%", "kernels>5", "throughput<1"),
    *("SYNC001", "LOADER001", "HW001", "MEM001", "CPU001", "severity=high", "severity=low"),
)


@pytest.mark.parametrize("gate", EVERY_SORT)
@pytest.mark.parametrize(
    "text",
    [
        "[]",
        '{"traceEvents": []}',
        '{"traceEvents": [{"ph": "M", "name": "process_name", "pid": 1, "args": {"name": "python"}}]}',
        '{"traceEvents": [{"ph": "X", "cat": "cpu_op", "name": "aten::add", "pid": 1, "tid": 1, "ts": 1, "dur": 1}]}',
        '{"traceEvents": [{"ph": "X", "cat": "nobody knows", "name": "x", "pid": 1, "tid": 1, "ts": 1, "dur": 1}]}',
    ],
)
def test_what_holds_nothing_passes_no_gate(tmp_path, gate, text):
    path = tmp_path / "t.json"
    path.write_text(text)

    (judged,) = judge_report(parse_gates([gate], compared=False), tbperf.analyze(path))

    assert judged.outcome == "not judged"
    assert judged.why


@pytest.mark.parametrize("gate", ["SYNC001", "COPY003", "LAUNCH001", "KERNEL002", "ALLOC001", "COMM001", "COMPILE001"])
def test_findings_about_the_gpu_are_not_judged_without_its_work(gate):
    assert outcome(gate, report(1)) == "not judged"
    assert outcome(gate, report(1, device=True)) == "passed"


def test_findings_about_memory_and_hardware_need_their_samples():
    of = report(1, device=True)

    assert outcome("MEM001", of) == outcome("HW003", of) == "not judged"


def test_severity_is_not_judged_where_a_gpu_was_used_and_not_recorded(tmp_path):
    """Steps alone would tell of a run on the CPU; calls of the GPU's runtime say that it was none."""
    seen = Timeline().step(1, 0, 100).op("aten::add", 0, 90)
    unseen = Timeline().step(1, 0, 100).op("aten::add", 0, 90).call("cudaLaunchKernel", 5, 9)
    reports = [tbperf.analyze(line.write(tmp_path / f"{at}.json")) for at, line in enumerate((seen, unseen))]

    assert [outcome("severity=high", of) for of in reports] == ["passed", "not judged"]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.code)
def test_a_rule_finds_nothing_where_it_is_said_that_it_could_not_look(rule):
    """Else a gate could call a finding not judged that is there."""
    for of in (report(1), report(1, marked=False), report(1, device=True), report(1, run=False, phase=None)):
        for trace in of.traces:
            if why_not_looked(rule.code, trace) is not None:
                assert not list(rule.find(trace))


def test_a_trace_that_could_not_be_read_leaves_no_gate_passed():
    whole = report(1, device=True)
    partial = replace(whole, unread=(Unread("rank1.json", "the file is empty"),))

    (judged,) = judge_report(parse_gates(["idle>90%"], compared=False), partial)
    assert judged.outcome == "not judged"
    assert judged.why.startswith("1 trace could not be read; in the others, idle is ")
    assert outcome("idle>10%", partial) == "failed"
    assert outcome("SYNC001", partial) == "not judged"
    assert change("step_time>+30%", whole, partial) == "not judged"


def test_each_run_is_judged_and_the_worst_counts():
    """A mean would let a slow run hide behind a fast one."""
    fast, slow = report(1, folder="fast"), report(2, folder="slow", forward=400.0)
    both = replace(fast, traces=(*fast.traces, *slow.traces))

    (judged,) = judge_report(parse_gates(["step_time>400ms"], compared=False), both)
    assert judged.outcome == "failed"
    assert judged.why.startswith("slow: step_time is 5")
    assert outcome("step_time>600ms", both) == "passed"


def test_no_images_is_no_throughput():
    assert outcome("throughput<100", report(1, arguments={"batch": 0})) == "not judged"


@pytest.mark.parametrize(
    ("gate", "compared", "message", "hint"),
    [
        ("idel>30%", False, "unknown metric 'idel'", "did you mean idle?"),
        ("Idle>30%", False, "unknown metric 'Idle'", "did you mean idle?"),
        ("qwerty>30%", False, "unknown metric 'qwerty'", "known metrics: step_time, "),
        ("stage.>5ms", False, "the name of the stage is missing", "stage.NAME, such as stage.dataload"),
        ("stage. > 5 ms", False, "the name of the stage is missing", "stage.NAME"),
        ("stage.>+5%", True, "the name of the stage is missing", "stage.NAME"),
        ("LOADER999", False, "no finding has this code", "did you mean LOADER00"),
        ("NOSUCH1", False, "no finding has this code", "known codes: LOADER001, "),
        ("severity=bad", False, "unknown severity", "known severities: high, medium, low"),
        ("severity=", False, "unknown severity", "known severities: high"),
        ("severity>low", False, "not a gate", "gates look like"),
        ("idle", False, "not a gate", "gates look like idle>30%"),
        ("idle>", False, "not a gate", "gates look like"),
        ("idle=30%", False, "not a gate", "gates look like"),
        ("idle==30%", False, "not a gate", "gates look like"),
        ("idle>nan%", False, "not a gate", "a limit is a number"),
        ("idle>inf%", False, "not a gate", "a limit is a number"),
        ("throughput<1e999", False, "no number is that large", "a figure can reach"),
        ("throughput<1,000", False, "not a gate", "without commas"),
        ("idle>30%,kernels>5", False, "not a gate", "a --fail-on of its own"),
        ("idle>30% kernels>5", False, "not a gate", "a --fail-on of its own"),
        ("idle>30% && kernels>5", False, "not a gate", "a --fail-on of its own"),
        ("idle>30ms", False, "wrong unit", "idle takes %"),
        ("step_time>30%", False, "wrong unit", "step_time takes ms"),
        ("step_time>30", False, "wrong unit", "step_time takes ms"),
        ("throughput<10ms", False, "wrong unit", "throughput takes no unit"),
        ("step_time>+3%", False, "there is no baseline", "tbperf compare BASELINE RUN"),
        ("idle>-3%", False, "there is no baseline", "without a sign the limit is absolute"),
        ("step_time_same_speed>3ms", True, "only a baseline tells", "give a change"),
        ("idle>+3ms", True, "wrong unit", "idle takes pp, %"),
        ("", False, "not a gate", "gates look like"),
        ("stage.a>5ms>6ms\n", False, None, None),
    ],
)
def test_what_is_no_gate_is_a_usage_error_that_says_what_is_one(gate, compared, message, hint):
    if message is None:  # a stage may be called anything
        (read,) = parse_gates([gate], compared=compared)
        assert (read.name, read.limit) == ("stage.a>5ms", 6e6)
        return
    with pytest.raises(UsageError) as refused:
        parse_gates([gate], compared=compared)

    assert refused.value.message == f"--fail-on {gate}: {message}"
    assert hint in refused.value.hint
