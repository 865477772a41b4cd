"""Rules that no simulated program plants, and those of the CPU: just above their threshold, and just below.

Each case draws a trace in which so much of something lies, and knows the finding's cost in nanoseconds, the share, the
range of the gain and the advice; of what lies just below the threshold nothing may be said.
"""

import dataclasses
from dataclasses import dataclass

import pytest

from tbperf.analyses import examine
from tbperf.findings import diagnose
from tbperf.trace import Gpu
from tbperf.trace.run import Run, StepTimes
from tests.draw import Timeline
from tests.simulate import Fault, Program, simulate

SECOND = 1_000_000_000


def recorded(timeline, phase=None, *, steps=None, outside=None, memory=None, **arguments):
    """Return the report of a drawn trace that lies in a run folder."""
    phases = {name: StepTimes(100, total, None, None, slowdown) for name, (total, slowdown) in (steps or {}).items()}
    run = Run(
        folder="drawn",
        command=(),
        status="ended",
        exit_code=0,
        versions={},
        hardware={"usable_cores": 8},
        arguments={phase: arguments} if phase else {},
        steps=phases,
        outside_ns=outside or {},
    )
    gpus = (Gpu(0, "Drawn GPU", memory, (8, 0), 108),) if memory else ()
    trace = dataclasses.replace(timeline.trace(), run=run, recording={"phase": phase} if phase else {}, gpus=gpus)
    return examine(trace)


def busy():
    """Return a window of 1 ms in which the device always works."""
    return Timeline().op("aten::conv2d", 0, 1000).kernel(0, 1000, call=(0, 5))


def on_the_cpu(**stages):
    """Return a step of 1 ms on the CPU: each stage takes so many µs in operators, the forward pass what is left."""
    timeline, at = Timeline().step(0, 0, 1000), 0
    for name, length in {**stages, "forward": 1000 - sum(stages.values())}.items():
        timeline.stage(name, at, at + length)
        if name != "loss":
            timeline.op("aten::conv2d" if name == "forward" else "aten::sort", at, at + length)
        at += length
    return timeline


def link(rate):
    """Return a window of 1 ms with 100 µs of copies, while the link carries so much."""
    timeline = Timeline().kernel(0, 100).copy("HtoD", 100, 200, memory="pinned", size=2_300_000).kernel(200, 1000)
    timeline.op("aten::to", 0, 1000)
    for at in range(0, 1000, 100):
        timeline.sample(at, "pcie_rx_bytes_per_s", rate, device=0)
    return recorded(timeline)


def cores(percent):
    """Return two steps of 1 ms that wait 200 µs each for a worker that takes 900 for a batch."""
    timeline = Timeline()
    for step in range(2):
        start = 1000 * step
        timeline.step(step, start, start + 1000).stage("dataload", start, start + 200)
        timeline.op("aten::conv2d", start + 200, start + 1000)
        timeline.loaded("fetch", start, start + 900)
        timeline.sample(start + 500, "cpu_percent", percent)
    return recorded(timeline, "train", cache=False)


def migrated(length):
    timeline = Timeline().kernel(0, 500, call=(-20, -15)).copy("HtoD", 500, 500 + length, memory="managed", size=4096)
    return recorded(timeline.kernel(500 + length, 1000, call=(-15, -10)).op("aten::add", 0, 1000))


def reserved(size):
    return recorded(busy().allocation(10, 64, allocated=1000, reserved=size), "train", memory=40_000, batch=16)


def image_by_image(gap):
    timeline = Timeline().op("aten::conv2d", 0, 1000).kernel(0, 350, call=(-10, -5)).call("cudaMemsetAsync", 300, 305)
    end = 350 + gap
    return recorded(timeline.kernel(end, 1000, call=(end - 10, end)), "predict", batch=1)


def throttled(reason, told, samples):
    """Return 1 ms of work in which the clock is 1,000 MHz instead of 2,000 in some of the samples."""
    timeline = busy()
    for number in range(samples):
        timeline.sample(number, "throttle_reasons", reason if number < told else 0, device=0)
        timeline.sample(number, "sm_clock_mhz", 1000 if number < told else 2000, device=0)
    return recorded(timeline)


def loading(share, length):
    """Return a step of which so much waits for a worker whose time one sort of work takes a part of."""
    work, part = share
    timeline = Timeline().step(0, 0, 1000).stage("dataload", 0, length).op("aten::conv2d", length, 1000)
    timeline.loaded("fetch", 0, 500).loaded(work, 0, 500 * part)
    return recorded(timeline, "train", workers=4, cache=False)


def without_update(*stages, batch=16, steps=2):
    timeline = Timeline()
    for step in range(steps):
        timeline.step(step, 100 * step, 100 * step + 100)
        for number, stage in enumerate(stages):
            timeline.stage(stage, 100 * step + 10 * number, 100 * step + 10 * number + 10)
    return recorded(timeline.op("aten::add", 0, 10), "train", batch=batch)


def beside(**ns):
    """Return a step of 1 ms of a run whose training steps take a second, beside what else it spends its time on."""
    validation = {"val": (ns.pop("val"), None)} if "val" in ns else {}
    return recorded(on_the_cpu(), "train", steps={"train": (SECOND, None), **validation}, outside=ns, epochs=100)


@dataclass(frozen=True)
class Case:
    """A finding just above its threshold, what it says, and a trace just below."""

    code: str
    above: object
    below: object
    cost_ns: int
    share: float
    gain: tuple | None
    advice: tuple
    """Argument, from, to of the first advice."""
    severity: str
    name: str = ""


NOTHING = (None, None, None)
CASES = [
    Case("HW001", throttled(0x20, 2, 40), throttled(0x20, 1, 21), 25_000, 0.025, (0, 25_000), NOTHING, "low"),
    Case("HW002", throttled(0x4, 8, 40), throttled(0x4, 7, 40), 100_000, 0.1, (0, 100_000), NOTHING, "medium"),
    Case("HW003", link(22.1e9), link(22.0e9), 100_000, 0.1, (0, 100_000), NOTHING, "medium"),
    # A copy at 23 GB/s shows a link of generation 4: 12 GB/s are not all it carries.
    Case("HW003", link(23e9), link(12e9), 100_000, 0.1, (0, 100_000), NOTHING, "medium", "fast copy"),
    Case("HW004", cores(90.5), cores(89.5), 400_000, 0.2, (400_000, 400_000), NOTHING, "high"),
    Case("COPY005", migrated(21), migrated(19), 21_000, 0.021, (10_500, 21_000), NOTHING, "low"),
    Case("MEM001", reserved(36_100), reserved(36_000), 0, 0, None, ("batch", 16, 8), "info"),
    Case("MEM002", reserved(15_900), reserved(16_000), 0, 0, None, ("batch", 16, -1), "info"),
    Case("PREDICT001", image_by_image(301), image_by_image(299), 301_000, 0.301, ..., ("batch", 1, 16), "high"),
    Case(
        "PREDICT002",
        recorded(on_the_cpu(inference=300, write=301), "predict", batch=1),
        recorded(on_the_cpu(inference=300, write=300), "predict", batch=1),
        301_000,
        0.301,
        (0, 301_000),
        ("save", True, False),
        "high",
    ),
    Case(
        "PREDICT002",
        recorded(on_the_cpu(inference=300, nms=301), "predict", batch=1, conf=0.001),
        recorded(on_the_cpu(inference=302, nms=301), "predict", batch=1, conf=0.001),
        301_000,
        0.301,
        (0, 301_000),
        ("conf", 0.001, 0.25),
        "high",
        "recorded argument",
    ),
    Case(
        "PROFILE001",
        recorded(on_the_cpu(), "train", steps={"train": (SECOND, 1.16)}),
        recorded(on_the_cpu(), "train", steps={"train": (SECOND, 1.14)}),
        137_931,
        0.137_931,
        None,
        NOTHING,
        "info",
    ),
    Case(
        "PROFILE002",
        without_update("forward", "backward"),
        without_update("forward", "backward", "optimizer"),
        0,
        0,
        None,
        ("--active", 2, 4),
        "info",
    ),
    Case(
        "PROFILE002",
        without_update("forward", "backward", batch=64, steps=3),
        without_update("forward", batch=64, steps=3),
        0,
        0,
        None,
        ("--active", 3, 4),
        "info",
        "more than recorded",
    ),
    Case(
        "PROFILE003",
        recorded(on_the_cpu(), "train", epochs=10, close_mosaic=10, mosaic=1.0),
        recorded(on_the_cpu(), "train", epochs=11, close_mosaic=10, mosaic=1.0),
        0,
        0,
        None,
        ("close_mosaic", 10, 0),
        "info",
    ),
    # A quarter of the training time is a fifth of training and validation.
    Case(
        "STAGE001",
        beside(validate=251_000_000),
        beside(validate=249_000_000),
        251_000,
        251 / 1251,
        (125_500, 251_000),
        ("val", None, False),
        "high",
    ),
    Case(
        "STAGE001",
        beside(validate=1_000_000_000, val=2_000_000_000),
        beside(validate=9_000_000, val=100_000_000),
        3_000_000,
        0.75,
        (1_500_000, 3_000_000),
        ("val", None, False),
        "high",
        "three times the training",
    ),
    Case(
        "STAGE002",
        beside(save=112_000_000),
        beside(save=111_000_000),
        112_000,
        112 / 1112,
        (56_000, 112_000),
        ("save", None, False),
        "medium",
        "beside the steps",
    ),
    Case(
        "STAGE002",
        recorded(on_the_cpu(plot=101), "train"),
        recorded(on_the_cpu(plot=99), "train"),
        101_000,
        0.101,
        (50_500, 101_000),
        ("plots", None, False),
        "medium",
        "in the steps",
    ),
    Case(
        "STAGE003",
        recorded(on_the_cpu(nms=101), "val", conf=0.001),
        recorded(on_the_cpu(nms=99), "val", conf=0.001),
        101_000,
        0.101,
        (50_500, 101_000),
        ("conf", 0.001, 0.01),
        "medium",
    ),
    Case(
        "HOST001",
        recorded(on_the_cpu(loss=151), "train"),
        recorded(on_the_cpu(loss=149), "train"),
        151_000,
        0.151,
        (75_500, 151_000),
        NOTHING,
        "high",
    ),
    Case(
        "LOADER001",
        loading(("Mosaic", 0.39), 101),
        loading(("Mosaic", 0.39), 99),
        101_000,
        0.101,
        (50_500, 101_000),
        ("workers", 4, 8),
        "medium",
    ),
    Case(
        "LOADER002",
        recorded(on_the_cpu(fetch=101), "train", workers=0, cache=False),
        recorded(on_the_cpu(fetch=99), "train", workers=0, cache=False),
        101_000,
        0.101,
        (50_500, 101_000),
        ("cache", False, "ram"),
        "medium",
    ),
    Case(
        "LOADER003",
        loading(("Mosaic", 0.41), 101),
        loading(("Mosaic", 0.39), 101),
        101_000,
        0.101,
        (round(101_000 * 0.205), round(101_000 * 0.41)),
        ("mosaic", None, 0.0),
        "low",
    ),
    Case(
        "LOADER004",
        loading(("load_image", 0.56), 101),
        loading(("load_image", 0.54), 101),
        101_000,
        0.101,
        (round(101_000 * 0.28), round(101_000 * 0.56)),
        ("cache", False, "ram"),
        "medium",
    ),
]


def named(case):
    return " ".join(filter(None, (case.code, case.name)))


@pytest.mark.parametrize("case", CASES, ids=named)
def test_what_lies_just_above_its_threshold_is_told(case):
    (found,) = [finding for finding in diagnose([case.above]) if finding.code == case.code]

    advice = found.advice[0]
    assert found.cost_ns == case.cost_ns
    assert found.cost_share == pytest.approx(case.share, abs=1e-6)
    if case.gain is not ...:  # the replay's own
        assert (found.gain and (found.gain.low_ns, found.gain.high_ns)) == case.gain
    assert (advice["argument"], advice["from"], advice["to"]) == case.advice
    assert found.severity == case.severity
    assert found.evidence


@pytest.mark.parametrize("case", CASES, ids=named)
def test_of_what_lies_just_below_nothing_is_said(case):
    assert case.code not in {finding.code for finding in diagnose([case.below])}


@pytest.mark.parametrize("case", CASES, ids=named)
def test_no_cost_or_gain_is_more_than_the_whole(case):
    for finding in diagnose([case.above]):
        assert 0 <= finding.cost_share <= 1
        if finding.gain and finding.cost_ns:
            assert finding.gain.high_ns / finding.cost_ns * finding.cost_share <= 1


def test_every_gpu_that_throttles_is_told():
    timeline = Timeline().op("aten::conv2d", 0, 1000)
    for device in range(2):
        timeline.kernel(0, 1000, device=device)
        timeline.sample(0, "throttle_reasons", 0x20, device=device)

    found = [finding for finding in diagnose([recorded(timeline)]) if finding.code == "HW001"]

    assert [finding.device for finding in found] == [0, 1]


def test_too_few_workers_are_told_with_the_number_that_is_needed():
    """One worker takes 900 µs for the batch of a step that needs 500 by itself."""
    timeline = Timeline()
    for step in range(4):
        start = 900 * step
        timeline.step(step, start, start + 900).stage("dataload", start, start + 400)
        timeline.op("aten::conv2d", start + 400, start + 900)
        timeline.loaded("fetch", start, start + 900)

    (found,) = [finding for finding in diagnose([recorded(timeline, "train", workers=1)]) if finding.cost_ns]

    assert (found.code, found.cost_ns, found.cost_share) == ("LOADER002", 1_600_000, pytest.approx(4 / 9))
    assert found.advice[0] == {
        "action": "load with more worker processes",
        "argument": "workers",
        "from": 1,
        "to": 2,
    }


@pytest.mark.parametrize(
    ("faults", "action"),
    [
        ([Fault("exposed", 40e6)], "overlap the copies (HtoD pinned most of all)"),
        ([Fault("exposed", 60e6), Fault("validation", 8e6)], "copy less (HtoD pinned most of all)"),
    ],
)
def test_a_stream_of_their_own_is_advised_for_copies_that_it_would_hide(faults, action):
    report = examine(simulate(Program(steps=4, ops=16, faults=tuple(faults))).trace())

    (found,) = [finding for finding in diagnose([report]) if finding.code == "COPY002"]

    assert found.advice[0]["action"].startswith(action)
    assert "saved if uploads ran on a stream of their own" in {evidence.name for evidence in found.evidence}


def test_in_a_run_of_few_epochs_validation_and_saving_are_not_judged():
    outside = {"validate": SECOND, "save": SECOND}
    report = recorded(on_the_cpu(), "train", steps={"train": (SECOND, None)}, outside=outside, epochs=2)

    assert not {"STAGE001", "STAGE002"} & {finding.code for finding in diagnose([report])}
