"""Which named phase of the program was on at each moment.

The recorder names stages by ranges called ``tbperf/<stage>``.  Traces of other recorders are read by the annotations
that torch itself leaves; what those do not tell stays without a stage.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from tbperf.intervals import NOTHING, Spans, Tiling
from tbperf.trace.tables import NONE

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from tbperf.intervals import Ns
    from tbperf.trace.tables import Strings, Table

PREFIX = "tbperf/"

_CAPTURED = "tbperf/window"
"""What the recorder opens around all that Nsight Systems is to capture: no stage."""
MODULE_PREFIX = PREFIX + "module:"
"""Ranges of calls of the model's modules: no stages."""
LOADER_PREFIX = "loader/"
"""Ranges of loader workers: other processes, whose work is not the program's own."""

_MODULE = re.compile(rf"{MODULE_PREFIX}(?P<path>\S+)(?: (?P<kind>[^()]+?))?(?: \((?P<part>[^()]+)\))?$")
STAGES = (
    *(
        "setup",
        "load_model",
        "warmup",
        "dataload",
        "fetch",
        "preprocess",
        "forward",
        "loss",
        "backward",
        "optimizer",
        "ema",
    ),
    *("inference", "postprocess", "nms", "metrics", "track", "write", "consumer", "log", "callbacks", "loop"),
    *("validate", "final_eval", "save", "plot", "export"),
)
"""Stages that the recorder of this project names; docs/recording.md says what each is."""

_STEP = re.compile(r"ProfilerStep#(\d+)$")

_ANNOTATIONS = tuple(
    (re.compile(pattern), stage)
    for pattern, stage in (
        (r"enumerate\(DataLoader\)#", "dataload"),
        (r"Optimizer\.(step|zero_grad)#", "optimizer"),
        (r"(DistributedDataParallel|FullyShardedDataParallel|FSDP)\S*\.forward", "forward"),
        (r"\W*forward\W*$", "forward"),
        (r"\W*backward\W*$", "backward"),
        (r"\W*loss\W*$", "loss"),
        (r"\W*(optimizer|zero_grad)\W*$", "optimizer"),
        (r"\W*(data_?load(ing|er)?|load_batch|wait_for_(training_)?batch)\W*$", "dataload"),
        (r"\W*(validation|validate|evaluate)\W*$", "validate"),
    )
)
"""Annotations of torch and of common training loops."""

BACKWARD_OP = re.compile(r"autograd::engine::evaluate_function|torch::autograd::|\w+Backward\d*$")


def step_number(name: str) -> int:
    """Return n of ``ProfilerStep#n``, `NONE` for any other name."""
    match = _STEP.match(name)
    return int(match[1]) if match else NONE


def own_stage(name: str) -> str | None:
    """Return the stage of a range that the recorder of this project wrote."""
    if not name.startswith(PREFIX) or name == _CAPTURED or name.startswith(MODULE_PREFIX):
        return None
    return name[len(PREFIX) :]


class ModuleName(NamedTuple):
    """What is known of a module of the model."""

    path: str
    kind: str | None = None
    """Its class."""
    part: str | None = None
    """What it belongs to: backbone, neck or head."""
    separator: str = "."
    """Between the names of a path."""


def module_name(name: str) -> ModuleName | None:
    """Return the module whose call is shown by a range that the recorder of this project wrote."""
    match = _MODULE.match(name)
    return ModuleName(match["path"], match["kind"], match["part"]) if match else None


def loader_work(name: str) -> bool:
    """Tell whether a range is the work of a loader worker."""
    return name.startswith(LOADER_PREFIX)


def annotated_stage(name: str) -> str | None:
    """Return the stage that another recorder's annotation stands for."""
    return next((stage for pattern, stage in _ANNOTATIONS if pattern.match(name)), None)


def matched_stage(pattern: str) -> Callable[[str], str | None]:
    """Return what gives the stage of a range by a pattern: its first group or, without one, what matches."""
    search = re.compile(pattern).search

    def stage_of(name: str) -> str | None:
        match = search(name)
        return ((match[1] if match.re.groups else match[0]) or None) if match else None

    return stage_of


def tile_stages(
    ranges: Table, ops: Table, strings: Strings, main_thread: int, stage_of: Callable[[str], str | None]
) -> tuple[Tiling, tuple[str, ...]]:
    """Return the stage of each moment, as labels into the names that are returned with it.

    On each thread the innermost open stage counts.  The main thread decides; other threads fill what it leaves open,
    so that work which they launch (backward runs in autograd's own threads) finds its stage.
    """
    names: dict[str, int] = {}

    def code(name: str) -> int:
        stage = stage_of(name)
        return NONE if stage is None else names.setdefault(stage, len(names))

    label = strings.labelled(code, ranges["name"])
    threads = sorted(set(ranges["thread"].tolist()), key=lambda thread: thread != main_thread)
    layers = [_innermost_stage(ranges, label, (ranges["thread"] == thread) & (label >= 0)) for thread in threads]
    if "backward" not in names:
        layers.append(_backward(ops, strings, names, main_thread))
    return _stacked(layers, len(names)), tuple(names)


def _innermost_stage(ranges: Table, label: Ns, staged: npt.NDArray[np.bool_]) -> Tiling:
    return Tiling.innermost(ranges["start_ns"][staged], ranges.end_ns[staged]).relabelled(label[staged])


def _backward(ops: Table, strings: Strings, names: dict[str, int], main_thread: int) -> Tiling:
    """Tile the time that autograd's own threads spend in backward operators."""
    elsewhere = ops["thread"] != main_thread
    backward = (strings.labelled(lambda name: bool(BACKWARD_OP.match(name)), ops["name"]) > 0) & elsewhere
    if not backward.any():
        return Tiling.first_of([])
    rows = ops.rows(backward)
    spans = Spans.merged(rows["start_ns"], rows.end_ns)
    return Tiling.first_of([(names.setdefault("backward", len(names)), spans)])


def _stacked(layers: list[Tiling], labels: int) -> Tiling:
    """Let earlier layers decide and later ones fill what they leave open."""
    parts, taken = [], Spans.empty()
    for layer in layers:
        if not layer.start.size:
            continue
        whole = layer.spans()
        parts.append(layer.within(whole - taken))
        taken = taken | whole
    if not parts:
        return Tiling.first_of([])
    start = np.concatenate([part.start for part in parts])
    order = np.argsort(start)
    label = np.concatenate([part.label for part in parts])[order]
    if label.size and not (NOTHING < label.min() <= label.max() < labels):
        raise AssertionError("a stage without a name")
    return Tiling(start[order], np.concatenate([part.end for part in parts])[order], label)
