"""The stage machine, with a drawn clock: each call that looks at the time sees the next number."""

from hypothesis import given
from hypothesis import strategies as st
from tbperf_inside.stages import Ranges, StageMachine


class Clock:
    def __init__(self):
        self.now = 0

    def __call__(self):
        return self.now


class Drawn(Ranges):
    """Ranges as brackets in a text, which shows at a glance whether they nest."""

    def __init__(self):
        self.text = ""

    def open(self, name):
        name = name.removeprefix("tbperf/")
        self.text += f"{name}("
        return name

    def close(self, token):
        self.text += f"){token} "


def machine():
    clock, ranges = Clock(), Drawn()
    return StageMachine(ranges, clock, clock), clock, ranges


def test_leaves_of_a_step_sum_to_its_duration_and_repeat_under_one_name():
    stages, clock, _ = machine()
    stages.enter_frame()
    clock.now = 100
    stages.begin_step("step", "dataload")
    for clock.now, leaf in ((110, "loop"), (115, "forward"), (145, "loop")):
        stages.leaf(leaf)
    clock.now = 150
    assert stages.end_step() == (100, 50, {"dataload": 10, "loop": 10, "forward": 30})


def test_a_nested_stage_is_not_counted_again_in_the_stage_around_it():
    stages, clock, _ = machine()
    stages.enter_frame()
    stages.begin_step("step", "optimizer")
    clock.now = 10
    depth = stages.open("ema")
    clock.now = 14
    stages.close_to(depth)
    clock.now = 20
    assert stages.end_step() == (0, 20, {"ema": 4, "optimizer": 16})


def test_a_leaf_closes_what_is_still_open_inside_the_last_one():
    stages, _, ranges = machine()
    stages.enter_frame()
    stages.begin_step("step", "forward")
    depth = stages.open("nms")
    stages.leaf("loss")
    stages.close_to(depth + 1)
    assert ranges.text == "step(forward(nms()nms )forward loss("


def test_a_pass_inside_a_callback_of_another_leaves_the_others_stages_alone():
    stages, clock, ranges = machine()
    stages.enter_frame()
    stages.begin_step("outer", "callbacks")
    inner = stages.enter_frame()
    stages.begin_step("inner", "inference")
    clock.now = 7
    stages.end_step()
    stages.leave_frame(inner)
    clock.now = 9
    assert stages.end_step() == (0, 9, {"callbacks": 9})
    assert ranges.text == "outer(callbacks(inner(inference()inference )inner )callbacks )outer "


def test_leaving_a_pass_drops_its_unfinished_step_and_the_passes_inside_it():
    stages, _, ranges = machine()
    outer = stages.enter_frame()
    stages.begin_step("outer", "consumer")
    stages.enter_frame()
    stages.begin_step("inner", "inference")
    stages.leave_frame(outer)
    assert stages.frame is None
    assert stages.depth == 0
    assert stages.end_step() is None
    assert ranges.text == "outer(consumer(inner(inference()inference )inner )consumer )outer "


def test_closing_a_stage_ends_a_pass_that_an_exception_left_open_inside_it():
    stages, _, ranges = machine()
    depth = stages.open("validate")
    stages.enter_frame()
    stages.begin_step("step", "inference")
    stages.close_to(depth)
    assert stages.frame is None
    assert ranges.text == "validate(step(inference()inference )step )validate "


def test_stages_outside_of_steps_are_counted():
    stages, clock, _ = machine()
    for _ in range(2):
        outer = stages.open("validate")
        clock.now += 5
        inner = stages.open("load_model")
        clock.now += 3
        stages.close_to(inner)
        stages.close_to(outer)
    assert stages.outside == {"validate": (2, 10), "load_model": (2, 6)}


def test_outside_of_a_step_a_leaf_is_nothing():
    stages, _, ranges = machine()
    stages.enter_frame()
    stages.leaf("forward")
    assert ranges.text == ""


def assert_balanced(text):
    opened = []
    for word in text.replace("(", "( ").replace(")", " )").split():
        if word.endswith("("):
            opened.append(word[:-1])
        else:
            assert opened.pop() == word[1:]
    assert opened == []


actions = st.sampled_from(["enter", "leave", "begin", "end", "leaf", "open", "close", "tick"])


@given(st.lists(actions, max_size=60))
def test_whatever_the_order_ranges_nest_and_stages_sum_to_their_step(order):
    stages, clock, ranges = machine()
    frames, depths = [], []
    for action in order:
        clock.now += 1
        if action == "enter":
            frames.append(stages.enter_frame())
        elif action == "leave" and frames:
            stages.leave_frame(frames.pop())
        elif action == "begin" and stages.frame:
            stages.begin_step("step", "dataload")
        elif action == "end":
            times = stages.end_step()
            assert times is None or sum(times.stages.values()) == times.dur_ns
        elif action == "leaf":
            stages.leaf("forward")
        elif action == "open":
            depths.append(stages.open("nested"))
        elif action == "close" and depths:
            stages.close_to(depths.pop())
    stages.close_all()
    assert_balanced(ranges.text)
