"""When the profiler runs: drawn runs of passes, with an optimizer step every so many steps."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tbperf_inside.schedule import Plan, Position, Schedule

TRAIN = Plan(wait=3, warmup=1, active=8)


def recorded(plan, passes, *, queue=0, every=1, first_optimizer_step=0):
    """Run passes of these lengths; returns the recorded steps, window by window."""
    schedule, windows, step, last = Schedule(plan), [], 0, -1
    for index, length in enumerate(passes):
        window = None
        for passed in range(length):
            if window is None:
                window = schedule.decide(
                    Position(
                        step=step,
                        passed=passed,
                        left=length - passed,
                        passes_left=len(passes) - index - 1,
                        queue=queue,
                        optimizer=(last, every),
                    )
                )
            if step >= first_optimizer_step and step - last >= every:
                last = step
            step += 1
            if window is not None and (step == window.end or passed == length - 1):
                windows.append(list(range(window.first, step)))
                schedule.recorded(step - window.first, step)
                window = None
    return windows


def test_a_long_epoch_is_recorded_after_the_steps_that_plot():
    assert recorded(TRAIN, [100]) == [list(range(4, 12))]


def test_a_window_waits_until_the_loaders_queue_is_no_longer_the_full_one_of_the_start():
    assert recorded(TRAIN, [100], queue=32) == [list(range(33, 41))]


def test_a_window_ends_on_an_optimizer_step():
    (window,) = recorded(TRAIN, [100], every=16)
    assert window[-1] % 16 == 15
    assert len(window) == 8


def test_a_window_waits_for_the_first_optimizer_step():
    assert recorded(TRAIN, [100], first_optimizer_step=20) == [list(range(22, 30))]


def test_the_last_window_that_fits_is_taken_even_if_the_queue_is_still_full():
    assert recorded(TRAIN, [30], queue=64) == [list(range(22, 30))]


@pytest.mark.parametrize(
    ("length", "steps"),
    [(1, [0]), (2, [1]), (3, [1, 2]), (4, [1, 2, 3]), (6, [3, 4, 5]), (10, [4, 5, 6, 7, 8, 9])],
)
def test_a_single_short_epoch_still_yields_a_recording(length, steps):
    assert recorded(TRAIN, [length]) == [steps]


def test_a_short_first_epoch_is_left_to_warm_up_when_more_follow():
    assert recorded(TRAIN, [10, 10, 10]) == [list(range(11, 19))]


def test_what_a_short_pass_cuts_off_is_made_up_for_in_the_next():
    assert recorded(TRAIN, [5, 5, 5, 5]) == [[6, 7, 8, 9], [11, 12, 13, 14]]


def test_repeated_windows_wait_for_the_queue_again():
    plan = TRAIN._replace(active=2, repeat=2)
    assert recorded(plan, [100], queue=10) == [[11, 12], [24, 25]]


def test_windows_keep_their_distance():
    plan = Plan(wait=4, warmup=1, active=2, repeat=3, gap=10, settle=False)
    assert recorded(plan, [100]) == [[5, 6], [18, 19], [31, 32]]
    schedule = Schedule(plan._replace(gap=1000))
    schedule.recorded(2, 7)
    assert not schedule.is_near(Position(step=7, passed=7))
    assert schedule.is_near(Position(step=990, passed=990))


def test_an_explicit_wait_overrules_what_the_loader_and_the_optimizer_suggest():
    plan = Plan(wait=5, warmup=2, active=2, settle=False)
    assert recorded(plan, [100], queue=50, every=16) == [[7, 8]]


def test_a_wait_longer_than_an_epoch_reaches_into_a_later_one():
    assert recorded(Plan(wait=25, warmup=1, active=2, settle=False), [10] * 5) == [[26, 27]]


def test_chosen_steps_are_recorded_across_epochs_whatever_the_rest_says():
    assert recorded(TRAIN._replace(steps=(8, 11)), [10, 10]) == [[8, 9], [10, 11]]
    assert recorded(TRAIN._replace(steps=(0, 0)), [10]) == [[0]]
    assert recorded(TRAIN._replace(steps=(50, 60)), [10]) == []


def test_after_some_windows_without_a_trace_no_more_are_tried():
    for plan in (TRAIN, TRAIN._replace(steps=(10, 90))):
        schedule, at = Schedule(plan), Position(step=20, passed=20, left=80)
        for _ in range(3):
            assert schedule.decide(at) is not None
            assert schedule.is_near(at)
            schedule.dropped()
        assert schedule.decide(at) is None
        assert not schedule.is_near(at)


def test_a_window_is_near_until_all_are_recorded_or_long_before_chosen_steps():
    schedule = Schedule(TRAIN)
    assert schedule.is_near(Position(step=0, passed=0))
    schedule.recorded(8, 12)
    assert not schedule.is_near(Position(step=12, passed=12))
    chosen = Schedule(TRAIN._replace(steps=(1000, 1009)))
    near = [step for step in range(1100) if chosen.is_near(Position(step=step, passed=step, queue=32))]
    assert near == list(range(1000 - 1 - 64, 1010))


def test_a_pass_of_unknown_length_is_recorded_from_its_second_step():
    schedule = Schedule(Plan(wait=1, warmup=1, active=5))
    assert schedule.decide(Position(step=0, passed=0)) is None
    assert schedule.decide(Position(step=1, passed=1)) == (1, 2, 7)


@given(
    passes=st.lists(st.integers(1, 40), min_size=1, max_size=5),
    queue=st.integers(0, 40),
    every=st.integers(1, 16),
    active=st.integers(1, 10),
    warmup=st.integers(0, 3),
)
def test_every_run_is_recorded_inside_one_pass_and_never_beyond_its_plan(passes, queue, every, active, warmup):
    windows = recorded(Plan(wait=3, warmup=warmup, active=active), passes, queue=queue, every=every)
    assert windows
    assert all(windows)
    assert sum(map(len, windows)) <= active
    ends = [sum(passes[: index + 1]) for index in range(len(passes))]
    for window in windows:
        assert not any(window[0] < end <= window[-1] for end in ends)
