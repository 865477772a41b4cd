"""What is found in runs on the CPU: drawn ones, with the cores and threads of their run folder."""

from dataclasses import replace

import pytest

from tbperf.analyses import examine
from tbperf.report import report_on
from tbperf.trace import Run, RunProcess, StepAccount
from tests.draw import Timeline

GPU = {"index": 0, "name": "NVIDIA RTX 4090", "memory_bytes": 1}


def training(*, threads=1, usable=4, load=25.0, cpu_ns=100_000, queued_ns=0, convolving=80, **about):
    """Return the report on two steps of 100 µs of a training on a machine of four cores."""
    timeline = Timeline()
    accounts = {}
    for number, start in enumerate((0, 100)):
        timeline.step(number, start, start + 100).stage("forward", start, start + 100)
        timeline.op("aten::conv2d", start, start + convolving)
        timeline.sample(start + 50, "cpu_percent", load)
        accounts[number] = StepAccount(8, cpu_ns, cpu_ns, queued_ns)
    for worker in range(about.get("workers", 0)):
        timeline.loaded("fetch", 0, 200, worker=worker)
    run = Run(
        folder="folder",
        command=("yolo", "train"),
        status="ended",
        exit_code=0,
        versions={"torch": "2.9.0", "cuda": about.get("cuda")},
        hardware={"cores": 4, "usable_cores": usable, "gpus": about.get("gpus", [])},
        arguments={"train": {"device": about.get("device"), "workers": about.get("workers", 0)}},
        steps={},
        outside_ns={},
        processes=(RunProcess(1, "train", None, "cpu"),),
    )
    recording = {"phase": "train", "pid": 1, "threads": {"intra_op": threads, "usable_cores": usable}}
    return report_on([examine(replace(timeline.trace(), run=run, recording=recording, accounts=accounts))])


def found(report):
    return {finding.code: finding for finding in report.findings}


def test_idle_cores_beside_one_thread_are_named_with_an_upper_limit():
    finding = found(training())["CPU001"]

    (advice,) = finding.advice
    assert (advice["argument"], advice["from"], advice["to"]) == ("torch.set_num_threads", 1, 4)
    assert finding.cost_ns == 160_000
    assert (finding.gain.low_ns, finding.gain.high_ns) == (0, 120_000)


@pytest.mark.parametrize(
    "about",
    [
        {"threads": 3},
        {"load": 95.0},
        {"cpu_ns": 390_000},
        {"convolving": 30},
        {"usable": 1},
        {"threads": None},
    ],
    ids=["enough threads", "no core free", "all cores used", "little to split", "one core", "not known"],
)
def test_nothing_is_said_of_threads_where_more_would_not_help(about):
    assert "CPU001" not in found(training(**about))


def test_more_threads_than_cores_that_wait_for_each_other():
    finding = found(training(threads=8, usable=2, load=50.0, cpu_ns=190_000, queued_ns=40_000))["CPU002"]

    assert (finding.advice[0]["argument"], finding.advice[0]["to"]) == ("torch.set_num_threads", 2)
    assert finding.cost_ns == finding.gain.high_ns == 80_000


def test_workers_that_take_the_cores_of_the_computation():
    finding = found(training(threads=3, workers=3, load=100.0, cpu_ns=150_000, queued_ns=40_000))["CPU002"]

    assert (finding.advice[0]["argument"], finding.advice[0]["from"], finding.advice[0]["to"]) == ("workers", 3, 1)


def test_workers_that_mostly_wait_are_no_crowd():
    """Their number says nothing: two threads and what the workers really do fit on four cores."""
    codes = found(training(threads=2, workers=1, load=80.0, cpu_ns=100_000, queued_ns=40_000))

    assert "CPU002" not in codes
    assert "CPU003" in codes


def test_threads_that_never_wait_for_a_core_are_not_too_many():
    assert not {"CPU002", "CPU003"} & found(training(threads=8, usable=2, queued_ns=1_000)).keys()


def test_other_programs_are_blamed_only_where_they_use_cores():
    assert "CPU003" in found(training(threads=4, load=100.0, cpu_ns=150_000, queued_ns=40_000))
    assert "CPU003" not in found(training(threads=4, load=40.0, cpu_ns=150_000, queued_ns=40_000))


@pytest.mark.parametrize(
    ("about", "words"),
    [
        ({"device": "cpu", "cuda": "12.8"}, "compute on the GPU"),
        ({"cuda": None}, "install a PyTorch that is built for CUDA"),
        ({"cuda": "12.8"}, "tbperf doctor"),
    ],
)
def test_a_gpu_that_torch_does_not_use(about, words):
    report = training(gpus=[GPU], **about)

    finding = found(report)["CPU004"]
    assert words in finding.advice[0]["action"]
    assert finding.gain is None
    assert "NVIDIA RTX 4090" in " ".join(report.verdict)
    assert any("though the machine has a GPU" in skipped.reason for skipped in report.skipped)


def test_a_machine_without_a_gpu_lacks_nothing():
    report = training()

    assert "CPU004" not in found(report)
    assert (
        report.verdict[0]
        == "A training step of 8 images takes 0.100 ms on the CPU: 80 % in convolutions, 20 % in Python code."
    )
    assert report.verdict[1] == "It keeps 1.0 of 4 cores busy, torch computing with 1 thread."
    assert not any("idle" in sentence for sentence in report.verdict)


def test_launches_that_the_recorder_could_not_follow_leave_the_host_s_view():
    timeline = Timeline().step(1, 0, 100).step(2, 100, 200).stage("forward", 0, 200)
    for start in (0, 100):
        timeline.op("aten::conv2d", start, start + 20).call("cudaLaunchKernel", start + 5, start + 10)
        timeline.call("cudaStreamSynchronize", start + 30, start + 90)

    verdict = report_on([examine(timeline.trace())]).verdict

    assert verdict[0].startswith("A step takes 0.100 ms on the host: 60 % in waiting for the GPU, 20 % in Python code")
    assert verdict[1].startswith("The recording failed: kernel launches: 2, but no GPU activity")


def test_what_warms_up_stands_behind_what_does_not():
    def prediction(number, *, warming):
        timeline = Timeline().step(number, 0, 100).stage("inference", 0, 100).op("aten::conv2d", 0, 9)
        timeline.op("aten::conv2d", 9 if not warming else 91, 99)
        if warming:
            timeline.stage("warmup", 10, 90)
        return examine(replace(timeline.trace(), path=str(number), recording={"phase": "predict"}))

    report = report_on([prediction(0, warming=True), prediction(1, warming=False)])

    assert [trace.path for trace in report.traces] == ["1", "0"]
    assert "HOST001" not in found(report)
