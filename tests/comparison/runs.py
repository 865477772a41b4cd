"""Runs drawn for comparisons: stages, a device, and step logs of run folders."""

import json
from dataclasses import replace

import numpy as np

from tbperf.analyses import Rows, examine
from tbperf.analyses.hardware import HardwareSeries, Throttling
from tbperf.report import report_on
from tbperf.trace import Gpu, LoggedSteps, Run
from tests.draw import Timeline

STAGES = {"dataload": 30.0, "preprocess": 10.0, "forward": 40.0, "loss": 15.0, "backward": 60.0}
ARGUMENTS = {"batch": 8, "imgsz": 640, "workers": 8}


def report(  # a report with what one asks for, steps of 155 ms in all
    seed=0,
    *,
    steps=16,
    marked=True,
    noise=0.01,
    speed=1.0,
    device=False,
    phase="train",
    gpu="H100",
    logged=0,
    run=True,
    arguments=(),
    hardware=(),
    profiler=(),
    sampled=None,
    throttled="",
    folder=None,
    started=None,
    **changed,
):
    """Return the report of a run; ``changed`` gives stages another length, in milliseconds."""
    rng = np.random.default_rng(seed)
    folder = folder or f"run-{seed}"
    stages = STAGES | changed
    timeline, at = Timeline(), 0.0
    for step in range(steps):
        begun = at
        for stage, ms in stages.items():
            us = 1000 * ms * speed * (1 + noise * rng.standard_normal())
            timeline.stage(stage, at, at + us).op(f"aten::{stage}", at, at + 0.9 * us)
            if device and stage != "dataload":
                timeline.kernel(at + 10, at + 0.9 * us, name=f"{stage}_kernel", call=(at + 1, at + 5))
            at += us
        if marked:
            timeline.step(step, begun, at)
    trace = examine(timeline.trace())
    about = Run(
        folder=folder,
        command=("yolo", "train"),
        status="ended",
        exit_code=0,
        versions={"torch": "2.9.0"},
        hardware={"cpu": "EPYC", "usable_cores": 8, **dict(hardware)},
        arguments={phase: ARGUMENTS | dict(arguments)} if phase else {},
        steps={},
        outside_ns={},
        profiler={"with_stack": False} | dict(profiler),
        started_unix_ns=started,
    )
    if sampled:
        rows = [HardwareSeries(name, 0, 9, value, value, value, value, None, None) for name, value in sampled.items()]
        trace = replace(trace, hardware=Rows(rows))
    if throttled:
        trace = replace(trace, throttling=Rows([Throttling(0, throttled, 5, 0.5, 0, 1)]))
    trace = replace(trace, path=f"{folder}/t.json", phase=phase, run=about if run else None)
    if device:
        trace = replace(trace, gpus=(Gpu(0, gpu, 80 << 30),))
    log = _log(rng, folder, phase, stages, logged, noise, speed, dict(arguments).get("batch", 8))
    return report_on([trace], logged_steps=log)


def _log(rng, folder, phase, stages, steps, noise, speed, batch):
    if not steps:
        return []
    columns = {
        name: tuple(int(1e6 * ms * speed * (1 + noise * rng.standard_normal())) for _ in range(steps))
        for name, ms in stages.items()
    }
    durations = tuple(map(sum, zip(*columns.values(), strict=True)))
    return [LoggedSteps(folder, phase, "17", 1, steps, durations, tuple([float(batch)] * steps), columns)]


def write_log(path, durations, *, stages=(), phase="train", profiler="off", images=8, first=0):
    """Write a step log as the recorder does."""
    rows = [
        {
            "phase": phase,
            "step": first + number,
            "unix_ns": 0,
            "dur_ns": dur,
            "stages": dict(stages),
            "images": images,
            "queue": None,
            "profiler": profiler,
            "recorder_ns": 0,
        }
        for number, dur in enumerate(durations)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
