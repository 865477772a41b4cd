"""Calls of the model's modules as ranges: the right ones, in the right order, and nothing left behind."""

import contextlib
import pickle
import threading
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from tbperf_inside.guard import Guard
from tbperf_inside.modules import PREFIX, Compiled, ModuleCalls
from tbperf_inside.stages import Ranges

pytestmark = pytest.mark.record

TINY = Path(__file__).parent / "faults" / "tiny.yaml"


class Seen(Ranges):
    """Remembers which ranges were opened, inside which others."""

    def __init__(self):
        self.opened = []
        self.depth = 0

    def open(self, name):
        self.opened.append("  " * self.depth + name.removeprefix(PREFIX))
        self.depth += 1
        return name

    def close(self, token):
        if token is not None:
            self.depth -= 1


class Pass(NamedTuple):
    """A pass over batches, on the thread of the test."""

    phase: str
    model: object
    ranges: Ranges
    running_on: int | None


class Watch:
    """What watches modules, and what it said."""

    def __init__(self, which="layers", ranges=None):
        self.ranges = ranges or Seen()
        self.notes = []
        self.guard = Guard(lambda _error, _trace: self.calls.end())
        self.calls = ModuleCalls(self.guard, lambda _event, text: self.notes.append(text), which)

    def owner(self, model):
        return Pass("train", model, self.ranges, threading.get_ident())

    @contextlib.contextmanager
    def over(self, model):
        self.calls.begin(self.owner(model))
        try:
            yield self.ranges
        finally:
            self.calls.end()


class Block(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(2, 2)

    def forward(self, x):
        if not x.isfinite().all():
            raise ValueError("theirs")
        return self.linear(x)


class Twice(Block):
    def forward(self, x):
        return super().forward(super().forward(x))


class Net(torch.nn.Module):
    """Two layers of which one inherits from the other, one of them called twice, and a head with a list."""

    def __init__(self):
        super().__init__()
        self.first = Block()
        self.second = Twice()
        self.head = Head()

    def forward(self, x):
        return self.head(self.first(self.second(self.first(x))))


class Head(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.branches = torch.nn.ModuleList([Block(), Block()])
        self.last = torch.nn.Identity()

    def forward(self, x):
        return self.last(sum(branch(x) for branch in self.branches))


HEAD = ["head Head", "  head.branches.0 Block", "  head.branches.1 Block", "  head.last Identity"]


def test_layers_are_shown_with_the_parts_of_the_head_as_often_as_they_are_called():
    watch, net = Watch(), Net()
    with watch.over(net) as seen:
        net(torch.ones(1, 2))
    assert seen.opened == ["first Block", "second Twice", "first Block", *HEAD]
    assert seen.depth == 0


def test_every_module_is_shown_on_demand():
    watch, net = Watch("every"), Net()
    with watch.over(net) as seen:
        net(torch.ones(1, 2))
    assert seen.opened[:3] == ["first Block", "  first.linear Linear", "second Twice"]
    assert seen.opened.count("  second.linear Linear") == 2


def test_ultralytics_layers_have_their_paths_classes_and_parts():
    tasks = pytest.importorskip("ultralytics.nn.tasks")
    model, watch = tasks.DetectionModel(str(TINY), verbose=False).train(), Watch()
    with watch.over(model) as seen:
        model(torch.zeros(1, 3, 32, 32))
    assert seen.opened[:4] == [*(f"model.{index} Conv (backbone)" for index in range(3)), "model.3 Detect (head)"]
    assert sorted(seen.opened[4:]) == [
        "  model.3.cv2.0 Sequential (head)",
        "  model.3.cv2.1 Sequential (head)",
        "  model.3.cv3.0 Sequential (head)",
        "  model.3.cv3.1 Sequential (head)",
    ]


def test_classes_are_what_they_were_and_outside_nothing_is_seen():
    watch, net = Watch("every"), Net()
    kinds = {type(module) for module in net.modules()}
    before = {kind: dict(vars(kind)) for kind in kinds}
    with watch.over(net):
        assert "__call__" in vars(Block)
        # What is saved meanwhile knows nothing of it.
        assert b"tbperf" not in pickle.dumps(net)
    assert {kind: dict(vars(kind)) for kind in kinds} == before
    net(torch.ones(1, 2))
    assert not watch.ranges.opened


def test_other_models_of_the_same_classes_are_not_seen():
    watch, net, other = Watch(), Net(), Net()
    with watch.over(net) as seen:
        other(torch.ones(1, 2))
    assert not seen.opened


def test_calls_on_another_thread_than_the_pass_own_are_not_seen():
    watch, net = Watch(), Net()
    with watch.over(net) as seen:
        other = threading.Thread(target=net, args=(torch.ones(1, 2),))
        other.start()
        other.join()
    assert seen.opened == []


def test_an_exception_of_the_program_passes_through_and_closes_what_was_open():
    watch, net = Watch(), Net()
    with watch.over(net) as seen:
        with pytest.raises(ValueError, match="theirs"):
            net(torch.full((1, 2), torch.nan))
        assert seen.depth == 0
    assert not watch.guard.tripped


@pytest.mark.parametrize("where", ["open", "close"])
def test_a_failure_of_ours_changes_no_result_and_takes_everything_back(where, capsys):
    def fail(_self, _what):
        raise OSError("ours")

    net, inputs = Net(), torch.ones(1, 2)
    expected = net(inputs)
    watch = Watch(ranges=type("Failing", (Seen,), {where: fail})())
    with watch.over(net):
        assert torch.equal(net(inputs), expected)
        assert torch.equal(net(inputs), expected)
        assert "__call__" not in vars(Block)
    assert watch.guard.tripped
    assert capsys.readouterr().err.count("ours") == 1


def test_a_failure_while_classes_are_wrapped_leaves_all_as_they_were(monkeypatch):
    watch, wrapped = Watch(), []
    shown = watch.calls._shown

    def second_fails(call, owner):
        wrapped.append(call)
        if len(wrapped) == 2:
            raise OSError("ours")
        return shown(call, owner)

    monkeypatch.setattr(watch.calls, "_shown", second_fails)
    watch.guard(watch.calls.begin, watch.owner(Net()))
    assert watch.guard.tripped
    assert not [kind for kind in (Block, Twice, Head, torch.nn.Identity) if "__call__" in vars(kind)]


def test_the_model_inside_of_data_parallel_wrappers_is_shown(tmp_path):
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    try:
        net = Net()
        wrapped, watch = torch.nn.parallel.DistributedDataParallel(net), Watch()
        with watch.over(wrapped) as seen:
            wrapped(torch.ones(1, 2))
        assert seen.opened == ["first Block", "second Twice", "first Block", *HEAD]
    finally:
        torch.distributed.destroy_process_group()


def compiled():
    return torch.compile(Net())


def compiled_in_place():
    net = Net()
    net.first.compile()
    return net


def compiled_forward():
    net = Net()
    net.forward = torch.compile(net.forward)
    return net


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (compiled, "it is compiled (torch.compile)"),
        (compiled_in_place, "it is compiled (torch.compile)"),
        (compiled_forward, "it is compiled (torch.compile)"),
        (Compiled, "it is compiled (torch.compile)"),
        (lambda: None, "there is none"),
        (lambda: "model.onnx", "str is no torch module"),
    ],
)
def test_what_cannot_be_shown_is_told_once_and_left_alone(model, reason):
    watch, model = Watch(), model()
    for _ in range(2):
        with watch.over(model):
            assert "__call__" not in vars(Block)
    assert watch.notes == [f"the layers of the model of train are not shown: {reason}"]
    assert not watch.guard.tripped


def test_no_module_is_shown_where_none_is_wanted():
    watch, net = Watch("none"), Net()
    with watch.over(net) as seen:
        net(torch.ones(1, 2))
    assert (seen.opened, watch.notes) == ([], [])
