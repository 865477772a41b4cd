"""Intervals hold what they promise to, on series whose truth is known."""

import numpy as np
import pytest

from tbperf.comparison.noise import INTERVAL, REPETITIONS, Series, interval, mean_of, resample, unrest_of

RNG = np.random.default_rng(7)


def series(values):
    values = np.asarray(values, float)
    return (Series(np.ones(values.size), {"step": values}),)


def remembering(count, keeps):
    """Noise of standard deviation 1 that keeps some of what it was."""
    found = [RNG.standard_normal()]
    for _ in range(count - 1):
        found.append(keeps * found[-1] + np.sqrt(1 - keeps**2) * RNG.standard_normal())
    return np.array(found)


@pytest.mark.parametrize(("count", "keeps"), [(8, 0.0), (30, 0.0), (30, 0.5), (200, 0.6)])
def test_the_true_mean_lies_in_the_interval_about_as_often_as_it_should(count, keeps):
    held = 0
    for trial in range(200):
        values = 100 + 5 * remembering(count, keeps)
        moved = resample(series(values), "step", np.random.default_rng(trial))["step"]
        low, high = interval(values.mean() + moved)
        held += low <= 100 <= high

    assert held / 200 >= INTERVAL - 0.04


def test_repetitions_scatter_like_the_mean():
    values = 100 + 5 * RNG.standard_normal(100)

    moved = resample(series(values), "step", RNG)["step"]

    assert moved.shape == (REPETITIONS,)
    assert abs(moved.mean()) < 0.1
    assert 0.4 < moved.std() < 0.8


def test_a_single_step_does_not_move():
    assert not resample(series([5.0]), "step", RNG)["step"].any()


def test_rows_weigh_as_many_steps_as_they_stand_for():
    one = (Series(np.array([3.0, 1.0]), {"step": np.array([10.0, 50.0])}),)

    assert mean_of(one, "step") == 20


def test_a_column_that_a_process_lacks_counts_as_nothing_there():
    two = (
        Series(np.ones(2), {"step": np.array([10.0, 10.0]), "stage.nms": np.array([4.0, 4.0])}),
        Series(np.ones(2), {"step": np.array([10.0, 10.0])}),
    )

    assert mean_of(two, "stage.nms") == 2
    assert "stage.nms" in resample(two, "step", RNG)


def test_slow_drift_is_told_from_noise():
    noise = 100 + 2 * RNG.standard_normal(256)
    drifting = noise + np.linspace(-10, 10, 256)

    assert unrest_of(series(noise), "step").slow < 0.01
    assert unrest_of(series(drifting), "step").slow > 0.04
    assert unrest_of(series(noise), "step").scatter == pytest.approx(0.02, rel=0.2)
