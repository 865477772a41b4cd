"""Which named phase of the program was on at each moment.

The recorder names stages by ranges called ``tbperf/<stage>``.  Traces of other recorders are read by the annotations
that torch itself leaves; what those do not tell stays without a stage.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from tbperf.intervals import NOTHING, Spans, Tiling, Tilings
from tbperf.trace.tables import NONE

if TYPE_CHECKING:
    from collections.abc import Callable

    from tbperf.intervals import Ns
    from tbperf.trace.tables import Strings, Table

PREFIX = "tbperf/"

_CAPTURED = "tbperf/window"
"""What the recorder opens around all that Nsight Systems is to capture: no stage."""
MODULE_PREFIX = PREFIX + "module:"
"""Ranges of calls of the model's modules: no stages."""
LOADER_PREFIX = "loader/"
"""Ranges of loader workers: other processes, whose work is not the program's own."""

MOST_STAGES = 200
"""Tables by stage hold no more: of a trace that names more, the dearest and those that mean something to an analysis
stand by themselves, and the others are one."""
LONGEST_STAGE = 120
"""Characters of a stage's name; a longer one is cut."""
LONGEST_SEARCHED = 1000
"""Characters of a name in which a pattern of the user's is looked for."""

STAGES = (
    *("setup", "load_model", "warmup", "dataload", "fetch", "preprocess", "forward", "loss", "backward"),
    *("optimizer", "ema", "inference", "postprocess", "nms", "metrics", "track", "write", "consumer"),
    *("log", "callbacks", "loop", "validate", "final_eval", "save", "plot", "export"),
)
"""Stages that the recorder of this project names; docs/recording.md says what each is."""

_MODULE = re.compile(rf"\A{MODULE_PREFIX}(?P<path>\S+)(?: (?P<kind>[^()]+?))?(?: \((?P<part>[^()]+)\))?$")
_STEP = re.compile(r"\AProfilerStep#([0-9]{1,15})$")
"""Numbers of more digits are none that a program counts to; every reader of JSON keeps these as they are."""

_ANNOTATIONS = tuple(
    (re.compile(rf"\A(?:{pattern})"), stage)
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

BACKWARD_OP = re.compile(r"\A(?:autograd::engine::evaluate_function|torch::autograd::|\w+Backward\d*$)")


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
        match = search(name[:LONGEST_SEARCHED])
        return ((match[1] if match.re.groups else match[0]) or None) if match else None

    return stage_of


class Staging(NamedTuple):
    """When each stage was on."""

    tiling: Tiling
    """The stage of each moment, as labels into `names`."""
    names: tuple[str, ...]
    of_range: Ns
    """Stage of each row of the ranges table, `NOTHING` for what is none."""
    others: tuple[int, int] | None = None
    """Stages that the last one stands for, and their time; None where each stands for itself."""


def tile_stages(
    ranges: Table, ops: Table, strings: Strings, main_thread: int, stage_of: Callable[[str], str | None]
) -> Staging:
    """Tell the stage of each moment.

    On each thread the innermost open stage counts.  The main thread decides; other threads fill what it leaves open,
    so that work which they launch (backward runs in autograd's own threads) finds its stage.
    """
    names: dict[str, int] = {}

    def code(name: str) -> int:
        stage = stage_of(name)
        return NONE if stage is None else names.setdefault(stage[:LONGEST_STAGE], len(names))

    of_range = strings.labelled(code, ranges["name"])
    staged = np.flatnonzero(of_range != NONE)
    opened = Tilings.innermost(ranges["thread"][staged], ranges["start_ns"][staged], ranges.end_ns[staged])
    threads = int(ranges["thread"].max(initial=-1)) + 1
    # The main thread comes first.
    turn = np.where(np.arange(threads) == main_thread, 0, np.arange(threads) + 1)
    lines = opened.relabelled(of_range[staged]).renumbered(turn)
    if "backward" not in names:
        backward = _backward(ops, strings, main_thread)
        if len(backward):
            label = names.setdefault("backward", len(names))
            lines = _with_line(lines, threads + 1, backward, label)
    return _of_the_dearest(Staging(lines.stacked(), tuple(names), of_range))


def _backward(ops: Table, strings: Strings, main_thread: int) -> Spans:
    """Return the time that autograd's own threads spend in backward operators."""
    elsewhere = ops["thread"] != main_thread
    backward = (strings.labelled(lambda name: bool(BACKWARD_OP.match(name)), ops["name"]) > 0) & elsewhere
    return Spans.merged(ops["start_ns"][backward], ops.end_ns[backward])


def _with_line(lines: Tilings, number: int, spans: Spans, label: int) -> Tilings:
    """Add a line behind the others."""
    return Tilings(
        np.r_[lines.lane, np.full(len(spans), number)],
        np.r_[lines.start, spans.start],
        np.r_[lines.end, spans.end],
        np.r_[lines.label, np.full(len(spans), label)],
    )


def _of_the_dearest(found: Staging) -> Staging:
    """Make all stages beyond the most that tables hold into one, but for those that mean something."""
    if len(found.names) <= MOST_STAGES:
        return found
    total = found.tiling.total_ns_by_label(len(found.names))
    known = np.array([name in STAGES for name in found.names])
    dearest_first = np.lexsort((-total, ~known))
    kept = np.sort(dearest_first[:MOST_STAGES])
    left = len(found.names) - MOST_STAGES
    number_of = np.full(len(found.names) + 1, MOST_STAGES, np.int64)
    number_of[kept] = np.arange(MOST_STAGES)
    number_of[NOTHING] = NOTHING
    tiling = found.tiling.relabelled(number_of).joined()
    names = [*(found.names[label] for label in kept.tolist()), f"{left:,} other stages"]
    others = left, int(total.sum() - total[kept].sum())
    return Staging(tiling, tuple(names), number_of[found.of_range], others)
