"""A short run of `scripts/bench truth`: each fault once, against what the simulation knows."""

import pytest

from tests.truth import PLANTS, TURNS, Score, run_trial


@pytest.fixture(scope="module")
def score():
    score = Score()
    for seed in range(len(TURNS)):
        run_trial(seed, score)
    return score


def test_idle_time_has_the_causes_that_the_simulation_knows(score):
    assert not score.unexact


def test_what_was_planted_is_found_and_nothing_else(score):
    assert not score.examples
    assert sum(score.right.values()) >= len(PLANTS) // 2


def test_healthy_programs_get_no_findings(score):
    assert score.silent == score.healthy > 0


def test_gains_hold_what_a_repair_saves(score):
    inside = [gain.low - 0.01 <= gain.truth <= gain.high + 0.01 for gain in score.gains]

    assert sum(inside) >= 0.85 * len(inside)
