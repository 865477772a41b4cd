"""What must hold of every report, whatever was read: it is rendered in every form, and held against itself."""

from __future__ import annotations

import contextlib
import functools
import json
import math
import re
from typing import IO, TYPE_CHECKING, Any, get_args

import jsonschema
import msgspec
from rich.table import Table

from tbperf.analyses import Rows, examine
from tbperf.analyses.ranks import hold_against_each_other, time_collectives
from tbperf.render import render_json, render_markdown, render_text
from tbperf.render import text as page
from tbperf.render.html import render_html
from tbperf.render.schema import json_schema
from tbperf.render.sections import SECTIONS
from tbperf.render.timeline import timeline
from tbperf.report import Report, report_on

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.text import Text

    from tbperf.trace import Trace

_SUMS = ("compute_ns", "exposed_comm_ns", "exposed_memcpy_ns", "exposed_memset_ns", "idle_ns")
_MOMENTS = re.compile(r"unix_ns$|^start_ns$|_start_ns$|^from_ns$")
"""Points in time, which lie before the origin where loader workers do."""
_LONGEST_NS = 100 * 365 * 86_400 * 10**9
"""A century of work: threads and devices may each have been at work for days."""
_ROUNDING = 1e-9
_SIGNED = frozenset(("low_ns", "high_ns", "gain"))


def check(traces: Sequence[Trace], *, thoroughly: bool = False) -> None:
    """Report on traces in every form; raises AssertionError where a report contradicts itself.

    Thoroughly means: the JSON is held against the JSON Schema, and rich lays out the text, in both lengths.  Both take
    longer than all the rest; without them the JSON is held against the classes that the schema is made of, and the
    text's own code runs as ever, but for the laying out.
    """
    examined = [examine(trace) for trace in traces]
    ranks = hold_against_each_other([(r, time_collectives(t)) for r, t in zip(examined, traces, strict=True)])
    report = report_on(examined, ranks)
    _check_sums(report)
    document = render_json(report)
    msgspec.json.decode(document, type=Report, dec_hook=_rows)
    if thoroughly:
        _validator().validate(json.loads(document))
    for place, value in _numbers(msgspec.to_builtins(report), ""):
        _check_number(place, value)
    with contextlib.nullcontext() if thoroughly else without_layout():
        texts = [render_text(report, sections=SECTIONS), *([render_text(report)] if thoroughly else [])]
    for text in (*texts, render_markdown(report)):
        _check_text(text)
    _check_page(render_html(report, [timeline(trace) for trace in traces]))


class _Unlaid:
    """Takes what is to be printed as it is."""

    def __init__(self, file: IO[str], **_options: Any) -> None:
        self._file = file

    def print(self, what: Text | Table, **_options: Any) -> None:
        cells = [cell for column in what.columns for cell in column.cells] if isinstance(what, Table) else [what]
        self._file.write("\n".join(map(str, cells)) + "\n")


@contextlib.contextmanager
def without_layout() -> Iterator[None]:
    """Let texts be written without laying them out: what tbperf itself does stays."""
    laid_out = page.Console
    page.Console = _Unlaid  # type: ignore[assignment,misc]
    try:
        yield
    finally:
        page.Console = laid_out  # type: ignore[misc]


def _check_sums(report: Report) -> None:
    for trace in report.traces:
        for device in trace.devices:
            parts = [getattr(device, name) for name in _SUMS]
            assert sum(parts) == device.window_ns, f"device {device.device}: {parts} are not {device.window_ns}"
            assert min(parts) >= 0, f"device {device.device}: {parts}"
            causes = [cause.idle_ns for cause in trace.idle if cause.device == device.device]
            assert sum(causes) == device.idle_ns, f"idle of device {device.device}: {causes} are not {device.idle_ns}"


def _numbers(value: Any, place: str) -> Iterator[tuple[str, int | float]]:
    if isinstance(value, dict):
        for name, entry in value.items():
            yield from _numbers(entry, f"{place}.{name}")
    elif isinstance(value, (list, tuple)):
        for entry in value:
            yield from _numbers(entry, place)
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        yield place, value


def _check_number(place: str, value: float) -> None:
    name = place.rpartition(".")[2]
    assert math.isfinite(value), f"{place} is {value}"
    if ".run." in place or _MOMENTS.search(name):
        return
    if name.endswith("_ns"):
        assert name in _SIGNED or value >= 0, f"{place} is {value}"
        assert value < _LONGEST_NS, f"{place} is {value}: absurd"
    if name.endswith("share"):
        assert value >= -_ROUNDING, f"{place} is {value}"
    if name in ("bytes", "calls", "count", "events", "kernels"):
        assert value >= 0, f"{place} is {value}"


def _check_text(text: str) -> None:
    odd = {char for char in text if not char.isprintable() and char not in "\n\u200b"}
    assert not odd, f"the text holds {odd}"
    assert "nan" not in re.findall(r"[^\W_]+", text), "the text holds nan"


def _check_page(page: str) -> None:
    assert page.count("<script") == _scripts(), "the page holds a script that is not its own"


@functools.cache
def _scripts() -> int:
    return render_html(report_on([])).count("<script")


@functools.cache
def _validator() -> Any:
    return jsonschema.Draft202012Validator(json_schema())


def _rows(of: Any, value: Any) -> Any:
    row: Any = get_args(of)[0]
    rows: list[Any] = msgspec.convert(value, list[row], dec_hook=_rows)
    return Rows(rows)
