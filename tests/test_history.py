"""Runs over time, and where a figure shifted."""

import pytest

from tbperf.errors import UsageError
from tbperf.history import history_of
from tbperf.render import render_history
from tests.comparison.runs import report

DAY_NS = 86_400 * 10**9


def runs(count, *, shift_at=None, noise=0.02, device=False, **changed):
    """So many runs a day apart; from ``shift_at`` on, stages are changed."""
    return [
        report(
            seed,
            started=1_700_000_000 * 10**9 + seed * DAY_NS,
            logged=40,
            noise=noise,
            device=device,
            **(changed if shift_at is not None and seed >= shift_at else {}),
        )
        for seed in range(count)
    ]


def test_runs_stand_in_the_order_of_their_recording():
    found = history_of(runs(5)[::-1])

    assert [run.name for run in found.runs] == [f"run-{n}" for n in range(5)]
    assert found.runs[0].figures["step_time"] == pytest.approx(155e6, rel=0.02)
    assert found.runs[0].figures["throughput"] == pytest.approx(8 / 0.155, rel=0.02)
    assert found.runs[0].stages["loss"] == pytest.approx(15e6, rel=0.02)


@pytest.mark.parametrize("count", [4, 8, 30])
def test_nothing_shifts_where_nothing_was_changed(count):
    found = history_of(runs(count))

    assert not found.shifts
    assert "no figure shifted" in found.verdict[0]


@pytest.mark.parametrize("at", [2, 5, 8])
def test_the_run_from_which_on_a_stage_is_slower_is_found(at):
    found = history_of(runs(10, shift_at=at, loss=25.0))

    first = found.shifts[0]
    assert (first.name, first.at) == ("stage.loss", at)
    assert (first.before, first.after) == (pytest.approx(15e6, rel=0.1), pytest.approx(25e6, rel=0.1))
    assert f"From run-{at} on, run {at + 1} of 10" in found.verdict[0]
    assert "the loss rose from 15.0 ms" in found.verdict[0]


def test_with_a_device_the_cause_is_named():
    found = history_of(runs(8, shift_at=4, device=True, dataload=50.0))

    assert {"cause.dataloader", "stage.dataload", "step_time", "idle"} <= {shift.name for shift in found.shifts}
    assert {shift.at for shift in found.shifts if shift.name in ("cause.dataloader", "step_time")} == {4}


def test_one_slow_run_is_no_shift():
    reports = runs(9)
    reports[4] = report(4, started=1_700_000_000 * 10**9 + 4 * DAY_NS, logged=40, noise=0.02, loss=60.0)

    assert not history_of(reports).shifts


def test_a_busy_machine_is_no_shift_of_a_stage():
    found = history_of(runs(10, shift_at=5, noise=0.2, speed=1.5))

    assert not [shift for shift in found.shifts if shift.name.startswith("stage.")]


def test_what_was_set_differently_stands_at_its_run():
    found = history_of(runs(8, shift_at=4, dataload=1.0, arguments={"workers": 4}))

    (changed,) = found.runs[4].changed
    assert (changed.name, changed.a, changed.b) == ("workers", "8", "4")
    assert "Set differently from that run on: workers 8 → 4." in found.verdict
    assert "workers" in render_history(found)


def test_few_runs_are_shown_without_looking_for_shifts():
    found = history_of(runs(2))

    assert len(found.runs) == 2
    assert any("too few" in caution for caution in found.cautions)
    assert "shifted" not in found.verdict[0]


def test_runs_that_do_not_tell_when_stand_last():
    found = history_of([report(9, run=False, phase=None), *[report(n, phase=None) for n in range(3)]])

    assert any("do not tell when" in caution for caution in found.cautions)


def test_runs_without_a_phase_in_common_are_refused():
    with pytest.raises(UsageError, match="the runs have no phase in common"):
        history_of([report(1), report(2, phase="val")])
    with pytest.raises(UsageError, match="not every run has the phase val"):
        history_of([report(1), report(2)], phase="val")


def test_every_run_has_its_line():
    text = render_history(history_of(runs(12, shift_at=6, loss=40.0)), width=80)

    assert all(f"run-{n} " in text for n in range(12))
    assert text.count("shifts here") == len({6})
    assert max(map(len, text.splitlines())) <= 80
