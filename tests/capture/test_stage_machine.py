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


def machine(outside=None):
    clock, ranges = Clock(), Drawn()
    counted = [] if outside is None else outside
    return StageMachine(ranges, lambda *stage: counted.append(stage), clock, clock), clock, ranges


def test_leaves_of_a_step_sum_to_its_duration_and_repeat_under_one_name():
    stages, clock, _ = machine()
    clock.now = 100
    stages.begin_step("step", "dataload")
    for clock.now, leaf in ((110, "loop"), (115, "forward"), (145, "loop")):
        stages.leaf(leaf)
    clock.now = 150
    assert stages.end_step() == (100, 50, {"dataload": 10, "loop": 10, "forward": 30})


def test_a_nested_stage_is_not_counted_again_in_the_stage_around_it():
    stages, clock, _ = machine()
    stages.begin_step("step", "optimizer")
    clock.now = 10
    depth = stages.open("ema")
    clock.now = 14
    stages.close_to(depth)
    clock.now = 20
    assert stages.end_step() == (0, 20, {"ema": 4, "optimizer": 16})


def test_a_leaf_closes_what_is_still_open_inside_the_last_one():
    stages, _, ranges = machine()
    stages.begin_step("step", "forward")
    depth = stages.open("nms")
    stages.leaf("loss")
    stages.close_to(depth + 1)
    assert ranges.text == "step(forward(nms()nms )forward loss("


def test_closing_everything_drops_an_unfinished_step_and_keeps_the_ranges_balanced():
    stages, _, ranges = machine()
    stages.open("validate")
    stages.begin_step("step", "inference")
    stages.open("nms")
    stages.close_all()
    assert stages.depth == 0
    assert not stages.in_step
    assert stages.leaf_name is None
    assert stages.end_step() is None
    assert ranges.text == "validate(step(inference(nms()nms )inference )step )validate "


def test_closing_a_stage_ends_a_step_that_an_exception_left_open_inside_it():
    stages, _, ranges = machine()
    depth = stages.open("validate")
    stages.begin_step("step", "inference")
    stages.close_to(depth)
    assert not stages.in_step
    assert ranges.text == "validate(step(inference()inference )step )validate "


def test_a_step_can_end_where_its_last_stage_began():
    stages, clock, _ = machine()
    stages.begin_step("step", "inference")
    clock.now = 10
    stages.leaf("consumer")
    clock.now = 500
    assert stages.end_step(before_leaf=True) == (0, 10, {"inference": 10, "consumer": 0})


def test_stages_outside_of_steps_are_counted():
    outside = []
    stages, clock, _ = machine(outside)
    outer = stages.open("validate")
    clock.now += 5
    inner = stages.open("load_model")
    clock.now += 3
    stages.close_to(inner)
    stages.close_to(outer)
    assert outside == [("load_model", 3), ("validate", 5)]


def test_outside_of_a_step_a_leaf_is_nothing():
    stages, _, ranges = machine()
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


actions = st.sampled_from(["begin", "end", "leaf", "open", "close", "close all", "tick"])


@given(st.lists(actions, max_size=60))
def test_whatever_the_order_ranges_nest_and_stages_sum_to_their_step(order):
    stages, clock, ranges = machine()
    depths = []
    for action in order:
        clock.now += 1
        if action == "begin":
            stages.begin_step("step", "dataload")
        elif action == "close all":
            stages.close_all()
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
