"""The report for a terminal: one screen that starts with the verdict and ends with what could not be seen."""

from __future__ import annotations

import io
import math
import re
from collections import Counter
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tbperf.findings.trust import about_left_out, about_profiling
from tbperf.findings.words import CAUSES, WORK, format_bytes, format_ms, format_number, format_share
from tbperf.printable import printable
from tbperf.render.sections import ON_ONE_SCREEN, SECTIONS

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from tbperf.analyses import TraceReport
    from tbperf.analyses.accounting import DeviceTime
    from tbperf.analyses.cores import Cores
    from tbperf.analyses.modules import Module
    from tbperf.findings import Finding
    from tbperf.findings.finding import Gain
    from tbperf.report import Report

_OWNERS = (
    ("kernels", "compute_ns", "█", "green"),
    ("collectives", "exposed_comm_ns", "▓", "magenta"),
    ("copies", "exposed_memcpy_ns", "▒", "yellow"),
    ("memsets", "exposed_memset_ns", "▒", "cyan"),
    ("idle", "idle_ns", "░", "red"),
)
_STAGE_STYLES = ("blue", "green", "magenta", "cyan", "yellow", "red", "bright_blue", "bright_green")
_STAGE_MARKS = "█▓▒░"
_INDENT = 2
_NAME, _WORDS = 24, 24
"""What is left to the first column, and to a last one of words, where room is short."""
_WORTH_A_LINE = 0.005
"""The same on one screen, of stages."""
_SMALL = 0.0005
"""Shares below this are left out of bars and tables, unless they are all there is."""


def render_text(
    report: Report, *, width: int = 100, color: bool = False, top: int = 5, sections: Collection[str] = ON_ONE_SCREEN
) -> str:
    """Lay the report out for a terminal of a width, with so many rows in each table.

    ON_ONE_SCREEN shows the first trace; any other choice of SECTIONS every trace.
    """
    brief = sections is ON_ONE_SCREEN
    page = _ReportPage(width, color=color, top=top, brief=brief)
    for sentence in report.verdict:
        page.line(Text(printable(sentence), "bold"))
    for caution in report.cautions[: _CAUTIONS if brief else None]:
        page.line(Text("! ", "yellow"), Text(printable(caution)))
    if brief and len(report.cautions) > _CAUTIONS:
        page.line(Text("! ", "yellow"), f"and {len(report.cautions) - _CAUTIONS} more (--details)")
    page.line()
    if len(report.traces) > 1 and "ranks" in sections:
        page.overview(report.traces)
        page.ranks(report)
    for number, trace in enumerate(report.traces[: 1 if brief else None]):
        if not brief and len(report.traces) > 1:
            page.line(Text(f"── {_label(trace)}", "bold"))
            page.line()
        page.trace(trace, [name for name in SECTIONS if name in sections and name not in _OF_ALL_TRACES])
        if "findings" in sections:
            page.findings(trace, [f for f in report.findings if f.trace == number])
        if "seen" in sections:
            page.seen(trace)
    if brief:
        page.line(Text("More: --details, --only idle, --format json", "dim"))
    return page.text()


_OF_ALL_TRACES = ("ranks", "findings", "seen")
_CAUTIONS = 3


_DECORATION = re.compile(r"\(anonymous namespace\)::|\bat::native::|\bat::detail::|^void |\bc10::|\bstd::")


def kernel_name(name: str, length: int) -> str:
    """Shorten a C++ kernel name to what tells it apart: no namespaces, no parameter list."""
    name = _DECORATION.sub("", printable(name))
    depth = 0
    for at, char in enumerate(name):
        depth += (char == "<") - (char == ">" and name[at - 1] != "-")
        if char == "(" and depth == 0 and at:
            name = name[:at]
            break
    return name if len(name) <= length else name[: length - 1] + "…"


class Page:
    """Collects lines for a terminal of a width."""

    def __init__(self, width: int, *, color: bool) -> None:
        self._width = max(40, width)
        self._buffer = io.StringIO()
        self._console = Console(
            file=self._buffer,
            width=self._width,
            force_terminal=color,
            no_color=not color,
            color_system="standard" if color else None,
            highlight=False,
            markup=False,
            emoji=False,
            legacy_windows=False,
        )

    def text(self) -> str:
        """Return all lines."""
        lines = (line.rstrip() for line in self._buffer.getvalue().splitlines())
        return "\n".join(lines).rstrip() + "\n"

    def line(self, *parts: Text | str) -> None:
        """Write one paragraph."""
        self._console.print(Text("").join(Text(p) if isinstance(p, str) else p for p in parts), soft_wrap=False)

    def table(self, title: str, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Write a table: a wide first column, figures to the right of it; a last heading of «» takes text."""
        if not rows:
            return
        widths = [max(len(heading), *(len(row[at]) for row in rows)) for at, heading in enumerate(headings, start=1)]
        figures = sum(width + 1 for width, heading in zip(widths, headings, strict=True) if heading)
        first = _INDENT + max(len(title) - _INDENT, *(len(row[0]) for row in rows))
        words = _WORDS if "" in headings else 0
        first = max(_NAME, min(first, self._width - figures - words - 1))
        table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, expand=False, header_style="dim")
        table.add_column(Text(title, "bold not dim"), no_wrap=True, overflow="ellipsis", width=first)
        for heading, width in zip(headings, widths, strict=True):
            if heading:  # a figure is never cut: where room is short, words are
                table.add_column(heading, justify="right", no_wrap=True, width=width)
            else:
                rest = max(1, self._width - first - figures - 1)
                table.add_column("", no_wrap=True, overflow="ellipsis", width=min(width, rest))
        for row in rows:
            cells = [Text(" " * _INDENT + row[0]), *(Text(cell) for cell in row[1:])]
            table.add_row(*cells)
        self._console.print(table)
        self.line()

    def bar(self, parts: Sequence[tuple[str, float, str, str]]) -> None:
        """Draw shares that sum to one as a bar: name, share, mark, style."""
        width = min(self._width, 100)
        bar, done, drawn = Text(), 0.0, 0
        for _, share, mark, style in parts:
            done += share
            cells = round(done * width) - drawn
            bar.append(mark * cells, style)
            drawn += cells
        self.line(bar)


class _ReportPage(Page):
    """Collects the lines of a report."""

    def __init__(self, width: int, *, color: bool, top: int, brief: bool) -> None:
        super().__init__(width, color=color)
        self._brief = brief
        self._top = top

    def overview(self, traces: Sequence[TraceReport]) -> None:
        """One line a trace."""
        rows = []
        for trace in traces:
            device = trace.devices[0] if trace.devices else None
            steps = trace.steps
            rows.append(
                (
                    _label(trace),
                    str(len(steps)) if steps else "–",
                    format_ms(sum(s.dur_ns for s in steps) / len(steps)) if steps else "–",
                    format_share(device.busy_ns / max(1, device.window_ns)) if device else "–",
                    format_share(device.idle_ns / max(1, device.window_ns)) if device else "–",
                    format_bytes(trace.bytes),
                )
            )
        title = f"{len(traces)} traces"
        self.table(title, ("steps", "step", "GPU busy", "idle", "size"), rows)

    def ranks(self, report: Report) -> None:
        """Ranks beside each other, and who waits for whom."""
        rows = [
            (
                f"rank {row.rank}",
                _per_step(row.step_ns),
                _ms(row.dataload_ns),
                _ms(row.exposed_comm_ns),
                _per_step(row.waits_ns),
                _per_step(row.awaited_ns),
                str(row.last_in) if row.last_in is not None else "–",
            )
            for row in report.ranks[: self._top]
        ]
        headings = ("step ms", "data wait", "exposed comm", "waits", "awaited", "came last")
        self.table(f"{len(report.ranks)} ranks", headings, rows)

    def trace(self, trace: TraceReport, sections: Sequence[str]) -> None:
        """Show the chosen sections of one trace."""
        for section in sections:
            getattr(self, "_" + section.replace("-", "_"))(trace)

    def _time(self, trace: TraceReport) -> None:
        for device in trace.devices[:2]:
            self._device(trace, device)
        if not trace.devices:
            self._host(trace)
        self._parts(trace)
        if (profiling := about_profiling(trace)) is not None:
            self.line(profiling)
            self.line()

    def _parts(self, trace: TraceReport) -> None:
        """One line of what `_modules` shows in full."""
        named = [row for row in trace.model_parts if row.part is not None]
        if self._brief and named:
            parts = ", ".join(f"{printable(str(row.part))} {format_share(row.share)}" for row in named)
            self.line(f"The model, by its parts: {parts} of the {'GPU work' if trace.devices else 'operators'}.")
            self.line()

    def _device(self, trace: TraceReport, device: DeviceTime) -> None:
        window = max(1, device.window_ns)
        gpu = next((gpu.name for gpu in trace.gpus if gpu.device == device.device), "") or "GPU"
        gpu = _clip(gpu, 60)
        label = gpu if len(trace.devices) == 1 else f"{gpu} {device.device}"
        facts = [printable(label), f"{format_ms(device.window_ns)} window"]
        if trace.steps:
            facts.append(f"{len(trace.steps)} step{'s' if len(trace.steps) > 1 else ''}")
        if trace.rank is not None:
            facts.append(f"rank {trace.rank}")
        shares = [(name, getattr(device, key) / window, mark, style) for name, key, mark, style in _OWNERS]
        shown = [part for part in shares if part[1] >= _SMALL or part[0] in ("kernels", "idle")]
        legend = Text("   ").join(
            Text.assemble((mark, style), f" {name} {format_share(share)}") for name, share, mark, style in shown
        )
        self.line(Text(" · ".join(facts), "bold"))
        self.line(legend)
        self.bar(shares)
        self.line()

    def _host(self, trace: TraceReport) -> None:
        facts = ["CPU"]
        if trace.steps:
            total = sum(step.dur_ns for step in trace.steps)
            plural = "s" if len(trace.steps) > 1 else ""
            facts += [f"{len(trace.steps)} step{plural}", f"{format_ms(total / len(trace.steps))} each"]
        if trace.speed is not None:
            facts.append(f"{format_number(trace.speed.images_per_s)} images/s")
        if trace.cores is not None and trace.cores.used_cores is not None and trace.cores.usable_cores:
            facts.append(f"{trace.cores.used_cores:.1f} of {trace.cores.usable_cores:g} cores")
        if trace.rank is not None:
            facts.append(f"rank {trace.rank}")
        self.line(Text(" · ".join(facts), "bold"))
        named = any(row.stage for row in trace.stages)
        shown = [row for row in trace.stages if row.share >= _SMALL and named]
        parts = [
            (
                row.stage or "no stage",
                row.share,
                _STAGE_MARKS[i % len(_STAGE_MARKS)],
                "dim" if row.stage is None else _STAGE_STYLES[i % len(_STAGE_STYLES)],
            )
            for i, row in enumerate(shown)
        ]
        if parts:
            legend = [
                Text.assemble((mark, style), f" {printable(name)} {format_share(share)}")
                for name, share, mark, style in parts[: self._top]
            ]
            self.line(Text("   ").join(legend))
            self.bar(parts)
        self.line()

    def _idle(self, trace: TraceReport) -> None:
        windows = {device.device: max(1, device.window_ns) for device in trace.devices}
        rows = [
            (
                _cause(row.cause) + _on(trace, row.device),
                _ms(row.idle_ns),
                _percent(row.idle_ns / windows[row.device]),
                f"{row.gaps:,}",
                format_ms(row.longest_ns),
            )
            for row in trace.idle[: self._top + 1]
        ]
        self.table("Why it idles", ("ms", "%", "gaps", "longest"), rows)

    def _stages(self, trace: TraceReport) -> None:
        if not any(row.stage for row in trace.stages):
            return
        least = _WORTH_A_LINE if self._brief else _SMALL
        shown = [row for row in trace.stages if row.share >= least or row.gpu_ns][: self._top + 4]
        steps = max(1, len(trace.steps))
        per = "ms/step" if trace.steps else "ms"
        if trace.devices:
            rows = [
                (
                    printable(row.stage or "(no stage)"),
                    _ms(row.host_ns / steps),
                    _percent(row.share),
                    _ms((row.gpu_ns or 0) / steps),
                    _ms((row.idle_ns or 0) / steps),
                )
                for row in shown
            ]
            self.table("Stages on the host", (per, "%", "GPU work", "GPU idle"), rows)
            return
        images = trace.speed.images if trace.speed else 0
        cpu_rows = [
            (
                printable(row.stage or "(no stage)"),
                _ms(row.host_ns / steps),
                _percent(row.share),
                _ms(row.most_ns) if row.most_ns is not None else "–",
                *([_ms(row.host_ns / images)] if images else []),
                f"{row.calls:,}",
            )
            for row in shown
        ]
        self.table("Stages", (per, "%", "at most", *(["an image"] if images else []), "calls"), cpu_rows)

    def _work(self, trace: TraceReport) -> None:
        if trace.devices and self._brief:
            return
        steps = max(1, len(trace.steps))
        rows = [
            (WORK[row.work], _ms(row.host_ns / steps), _percent(row.share), _top_stages(row.stage, row.host_ns))
            for row in trace.host_work[: self._top + 1 if self._brief else None]
        ]
        self.table("What the host does", ("ms/step" if trace.steps else "ms", "%", ""), rows)

    def _speed(self, trace: TraceReport) -> None:
        speed = trace.speed
        if speed is None or (self._brief and (trace.devices or not speed.printed_ns)):
            return
        printed = ", ".join(f"{format_ms(ns)} {name}" for name, ns in speed.printed_ns.items())
        self.line(
            f"An image takes {format_ms(speed.image_ns)}: {format_number(speed.images_per_s)} images/s,"
            f" {format_number(speed.batch)} a step."
            + (f" Speed as Ultralytics prints it: {printed}." if printed else "")
        )
        self.line()

    def _kernels(self, trace: TraceReport) -> None:
        rows = [
            (
                kernel_name(row.name, 48) + _on(trace, row.device),
                _ms(row.total_ns),
                _percent(row.share),
                f"{row.calls:,}",
                _top_stages(row.stage, row.total_ns),
            )
            for row in trace.kernels[: self._top]
        ]
        self.table("Where the GPU works", ("ms", "%", "calls", ""), rows)

    def _gaps(self, trace: TraceReport) -> None:
        rows = [
            (
                _cause(row.cause) + _on(trace, row.device),
                _ms(row.dur_ns),
                str(row.step) if row.step is not None else "–",
                printable(row.stage or "–"),
                _clip(printable(row.host or ""), 40),
            )
            for row in trace.gaps[: max(1, self._top - 2)]
        ]
        self.table("Longest gaps", ("ms", "step", "stage", ""), rows)

    def _gap_lengths(self, trace: TraceReport) -> None:
        rows = [
            (
                _lengths(row.from_ns, row.to_ns) + _on(trace, row.device),
                f"{row.gaps:,}",
                _ms(row.idle_ns),
                _percent(row.idle_ns / max(1, sum(d.idle_ns for d in trace.devices if d.device == row.device))),
            )
            for row in trace.gap_lengths
        ]
        self.table("Gaps by length", ("gaps", "ms", "% of idle"), rows)

    def _loader(self, trace: TraceReport) -> None:
        loading = trace.loading
        if loading is None or (self._brief and not self._waits_for_batches(trace)):
            return
        rows = [
            (
                _clip(printable(row.work), 40),
                _ms(row.self_ns),
                _percent(row.share),
                f"{row.calls:,}",
                format_ms(row.mean_ns),
            )
            for row in trace.loader_work[: self._top]
        ]
        hands = "in the program itself" if not loading.workers else f"{loading.workers} workers"
        self.table(f"Loader, {hands}", ("own ms", "%", "calls", "a call"), rows)
        if not loading.workers:
            self.line(f"  A batch takes {format_ms(loading.batch_ns)} to load, which the steps wait for.")
            self.line()
            return
        every = "" if loading.demand_ns is None else f"; the steps would take one every {format_ms(loading.demand_ns)}"
        self.line(
            f"  A batch takes a worker {format_ms(loading.batch_ns)}: one comes every {format_ms(loading.supply_ns)}"
            f"{every}. Workers were busy {format_share(loading.busy_share)} of the time."
        )
        self.line()

    @staticmethod
    def _waits_for_batches(trace: TraceReport) -> bool:
        """Tell whether the loader's table is worth its place on one screen."""
        waiting = sum(row.share for row in trace.stages if row.stage in ("dataload", "fetch"))
        return waiting >= _WORTH_A_TABLE

    def _hardware(self, trace: TraceReport) -> None:
        cores = [row for row in trace.hardware if row.series == "core_percent"]
        shown = [row for row in trace.hardware if row.series != "core_percent"]
        if cores:
            shown.append(max(cores, key=lambda row: row.mean))
        rows = [
            (
                printable(row.series) + ("" if row.device is None else f" {row.device}"),
                *(_quantity(row.series, value) for value in (row.min, row.mean, row.p50, row.max)),
                "–" if row.low_step is None else f"{row.low_step}",
                "–" if row.high_step is None else f"{row.high_step}",
            )
            for row in shown
        ]
        self.table("Hardware", ("min", "mean", "p50", "max", "lowest in step", "highest"), rows)
        told = [
            (f"GPU {row.device}: {printable(row.reason)}", f"{row.samples:,}", _percent(row.share))
            for row in trace.throttling
        ]
        self.table("Reasons for lower clocks", ("samples", "%"), told)

    def _copies_one_by_one(self, trace: TraceReport) -> None:
        rows = [
            (
                f"{row.copy_kind or 'copy'} {row.host_memory or ''}".strip() + _on(trace, row.device),
                _ms(row.dur_ns),
                _ms(row.exposed_ns),
                _ms(row.host_blocked_ns) if row.host_blocked_ns is not None else "–",
                format_bytes(row.bytes) if row.bytes is not None else "–",
                f"{format_bytes(row.bytes_per_s)}/s" if row.bytes_per_s is not None else "–",
                f"{100 * row.of_best:.0f}" if row.of_best is not None else "–",
                " · ".join(printable(part) for part in (row.stage, row.op) if part),
            )
            for row in trace.copies[: self._top]
        ]
        self.table("Dearest copies", ("ms", "exposed", "host ms", "size", "speed", "% of best", ""), rows)

    def _what_if(self, trace: TraceReport) -> None:
        rows = [
            (printable(row.change) + _on(trace, row.device), _ms(row.low_ns), _ms(row.high_ns))
            for row in trace.what_if[: self._top]
        ]
        self.table("What removing a cause would save", ("at least ms", "at most"), rows)

    def _steps(self, trace: TraceReport) -> None:
        if not trace.steps:
            return
        known = [step for step in trace.steps if step.idle_ns is not None]
        slowest = sorted(trace.steps, key=lambda step: -step.dur_ns)[: self._top]
        mean = sum(step.dur_ns for step in trace.steps) / len(trace.steps)
        rows = [("mean", _ms(mean), _ms(sum(s.idle_ns or 0 for s in known) / len(known)) if known else "–")]
        rows += [(f"step {s.step}", _ms(s.dur_ns), _ms(s.idle_ns) if s.idle_ns is not None else "–") for s in slowest]
        self.table("Slowest steps", ("ms", "GPU idle"), rows)

    def _families(self, trace: TraceReport) -> None:
        rows = [
            (
                printable(row.family) + _on(trace, row.device),
                _ms(row.total_ns),
                _percent(row.share),
                f"{row.calls:,}",
                f"{row.tiny_calls:,}",
                _percent(row.tensor_core_ns / row.total_ns) if row.total_ns else "–",
            )
            for row in trace.families[: self._top + 3]
        ]
        self.table("Kernels by family", ("ms", "%", "calls", "< 10 µs", "tensor cores %"), rows)

    def _collectives(self, trace: TraceReport) -> None:
        rows = [
            (
                printable(row.operation) + _on(trace, row.device),
                _ms(row.total_ns),
                _ms(row.exposed_ns),
                f"{row.calls:,}",
                format_bytes(row.bytes) if row.bytes is not None else "–",
                f"{format_bytes(row.bytes_per_s)}/s" if row.bytes_per_s is not None else "–",
            )
            for row in trace.collectives[: self._top]
        ]
        self.table("Collectives", ("ms", "exposed", "calls", "size", "speed"), rows)

    def _launches(self, trace: TraceReport) -> None:
        found = trace.launches
        if found is None:
            return
        rows = [
            (name, *(f"{ns / 1000:,.1f}" for ns in (times.p50, times.p90, times.p99, times.max)))
            for name, times in (("launched → starts", found.latency_ns), ("queued", found.queue_ns))
            if times is not None
        ]
        self.table(f"{found.calls:,} launches, µs", ("p50", "p90", "p99", "max"), rows)
        depth = f"{found.mean_queue_depth:.1f}" if found.mean_queue_depth is not None else "–"
        self.line(
            f"  {found.graph_calls:,} of graphs; {depth} kernels queued on average; {found.starved_kernels:,} kernels"
            f" found the GPU idle, after {format_ms(found.starved_ns)} in all; {found.unmatched_kernels:,} kernels"
            f" without their launch, {found.unmatched_launches:,} launches without their kernel; launching was the"
            f" limit in {found.bound_stretches:,} stretches, {format_ms(found.bound_ns)} in all."
        )
        self.line()

    def _syncs(self, trace: TraceReport) -> None:
        for title, calls in (
            ("Calls that wait for the GPU", trace.syncs),
            ("Allocation calls", trace.allocations),
            ("Loading of modules", trace.module_loads),
        ):
            rows = [
                (
                    _clip(printable(row.api), 40),
                    _ms(row.host_ns),
                    f"{row.calls:,}",
                    _clip(" · ".join(printable(part) for part in (row.stage, row.op) if part), 48),
                )
                for row in calls[: self._top]
            ]
            self.table(title, ("host ms", "calls", ""), rows)

    def _modules(self, trace: TraceReport) -> None:
        """Show the parts of the model, its layers in their order, and what costs most inside of these."""
        steps = max(1, len(trace.steps))
        what = "GPU work" if trace.devices else "time in operators"
        headings = ("ms/step" if trace.steps else "ms", "%", "forward", "backward")

        def figures(total_ns: int, backward_ns: int, share: float) -> tuple[str, ...]:
            return (
                _ms(total_ns / steps),
                _percent(share),
                _ms((total_ns - backward_ns) / steps),
                _ms(backward_ns / steps),
            )

        parts = [
            (printable(row.part or _NO_PART), *figures(row.total_ns, row.backward_ns, row.share))
            for row in trace.model_parts
        ]
        self.table(f"Parts of the model, {what}", headings, parts)
        if not trace.modules:
            return
        layers = [
            (name, *figures(total_ns, backward_ns, share), f"{calls:,}")
            for name, total_ns, backward_ns, share, calls in _layers(trace.modules)
        ]
        last = trace.modules[-1]
        layers.append((_NO_MODULE, _ms(last.total_ns / steps), _percent(last.total_share), "", "", ""))
        self.table(f"Layers of the model, {what}", (*headings, "calls"), layers)
        if any(row.level > _layer_level(trace.modules) for row in trace.modules):
            own = sorted(trace.modules[:-1], key=lambda row: -row.share)[: self._top + 3]
            rows = [
                (_module(row), *figures(row.own_ns, row.own_backward_ns, row.share), f"{row.calls:,}") for row in own
            ]
            self.table(f"Modules without those inside them, {what}", (*headings, "calls"), rows)
        if trace.module_source is not None:
            self.line(Text(f"  {_MODULE_SOURCES[trace.module_source]}", "dim"))
            self.line()

    def _memory(self, trace: TraceReport) -> None:
        rows = [
            (
                f"GPU {row.device}" if row.device >= 0 else "CPU",
                *(
                    format_bytes(size) if size is not None else "–"
                    for size in (row.peak_allocated_bytes, row.peak_reserved_bytes, row.capacity_bytes)
                ),
                f"{row.allocations:,}",
                format_bytes(row.allocated_bytes),
            )
            for row in trace.memory[: self._top]
        ]
        self.table("Memory", ("peak", "reserved", "of", "allocations", "in all"), rows)

    def _copies(self, trace: TraceReport) -> None:
        rows = [
            (
                f"{row.copy_kind or 'copy'} {row.host_memory or ''}".strip() + _on(trace, row.device),
                _ms(row.total_ns),
                _ms(row.exposed_ns),
                f"{row.calls:,}",
                format_bytes(row.bytes) if row.bytes is not None else "–",
                f"{format_bytes(row.bytes_per_s)}/s" if row.bytes_per_s is not None else "–",
            )
            for row in trace.memcpy[: self._top]
        ]
        self.table("Copies", ("ms", "exposed", "calls", "size", "speed"), rows)

    def _nsys(self, trace: TraceReport) -> None:
        """Show what NVIDIA's tools would state, as far as the other tables do not say it."""
        found = trace.nsys
        if found is None:
            return
        projected = [
            (
                _clip(printable(row.name), 48),
                _ms(row.ns.total),
                _ms(row.range_ns),
                f"{row.ranges:,}",
                f"{row.operations:,}",
            )
            for row in found.projections[: self._top]
        ]
        self.table("NVTX ranges on the GPU", ("GPU ms", "host ms", "ranges", "operations"), projected)
        ways = [
            (
                kernel_name(row.kernel, 48) + _on(trace, row.device),
                *(
                    f"{row_ns.mean / 1000:,.1f}" if row_ns else "–"
                    for row_ns in (row.api_ns, row.queue_ns, row.kernel_ns)
                ),
                f"{row.calls:,}",
            )
            for row in found.kernel_execution[: self._top]
        ]
        self.table("From call to kernel, mean µs", ("call", "queued", "kernel", "calls"), ways)
        waits = [
            (_clip(printable(row.name), 48), _ms(row.ns.total), f"{row.calls:,}") for row in found.os_sums[: self._top]
        ]
        self.table("OS runtime calls", ("ms", "calls"), waits)
        hits = [
            (f"{_RULES[rule.rule]} ({rule.rule})", _ms(rule.total_ns), f"{rule.hits:,}")
            for rule in found.rules
            if rule.hits
        ]
        self.table("NVIDIA's expert rules", ("ms", "hits"), hits)

    def _operators(self, trace: TraceReport) -> None:
        if trace.devices and self._brief:
            return
        steps = max(1, len(trace.steps))
        rows = [
            (
                _clip(printable(row.name), 48),
                _ms(row.self_ns / steps),
                _percent(row.share),
                f"{row.calls:,}",
                _top_stages(row.stage, row.self_ns),
            )
            for row in trace.operators[: self._top if self._brief else self._top + 3]
        ]
        self.table("Operators, own time", ("ms/step" if trace.steps else "ms", "%", "calls", ""), rows)
        self._operators_on_the_gpu(trace)

    def _operators_on_the_gpu(self, trace: TraceReport) -> None:
        """Sum device work by the operator that was called, with the work of its backward."""
        whole = max(1, sum(device.kernel_ns for device in trace.devices))
        busy = [row for row in trace.operators if row.gpu_ns or row.backward_gpu_ns]
        busy.sort(key=lambda row: -((row.gpu_ns or 0) + (row.backward_gpu_ns or 0)))
        rows = [
            (
                _clip(printable(row.name), 48),
                _ms(row.gpu_ns or 0),
                _percent((row.gpu_ns or 0) / whole),
                _ms(row.backward_gpu_ns) if row.backward_gpu_ns is not None else "–",
            )
            for row in busy[: self._top + 3]
        ]
        self.table("Operators on the GPU", ("GPU ms", "%", "its backward"), rows)

    def _shapes(self, trace: TraceReport) -> None:
        rows = [
            (
                _clip(printable(row.name), 40),
                _ms(row.self_ns),
                _ms(row.gpu_ns) if row.gpu_ns is not None else "–",
                f"{row.calls:,}",
                _clip(printable(row.shapes), 80),
            )
            for row in trace.operator_shapes[: self._top + 3]
        ]
        self.table("Operators by inputs", ("own ms", "GPU work", "calls", ""), rows)

    def _threads(self, trace: TraceReport) -> None:
        rows = [
            (
                _clip(printable(row.thread), 40) + (" (main)" if row.main else ""),
                _ms(row.busy_ns),
                _percent(row.share),
            )
            for row in trace.threads[: self._top]
        ]
        self.table("Threads in operators", ("ms", "%"), rows)
        at_once = [
            (f"{row.threads} thread{'s' if row.threads != 1 else ''}", _ms(row.host_ns), _percent(row.share))
            for row in trace.threads_at_once[:_MOST_LEVELS]
        ]
        if more := trace.threads_at_once[_MOST_LEVELS:]:
            host_ns, share = sum(row.host_ns for row in more), sum(row.share for row in more)
            at_once.append(("more threads", _ms(host_ns), _percent(share)))
        self.table("Threads at work at once", ("ms", "%"), at_once)
        if trace.cores is not None and (facts := list(_about_cores(trace.cores))):
            self.line(f"  {'; '.join(facts)}.")
            self.line()

    def seen(self, trace: TraceReport) -> None:
        seen = [f"{trace.events:,} events"]
        if trace.linked_share is not None:
            seen.append(f"{_floor(trace.linked_share)} % of GPU work linked to its launch")
        if trace.resolution_ns > 1:
            seen.append(f"times in steps of {trace.resolution_ns / 1000:g} µs")
        named = [row for row in trace.stages if row.stage is not None]
        if named:
            seen.append(f"{_floor(sum(row.share for row in named))} % of the steps named by stage")
        self.line(Text("Seen: ", "bold"), ", ".join(seen) + ".")
        unseen = list(_unseen(trace))
        if unseen:
            self.line(Text("Not seen: ", "bold"), "; ".join(unseen) + ".")
        left_out = [printable(what) for what in about_left_out(trace)]
        if left_out:
            self.line(Text("Left out: ", "bold"), "; ".join(left_out) + ".")
        for note in trace.notes:
            self.line(Text("Note: ", "bold"), printable(note) + ".")

    def findings(self, trace: TraceReport, findings: Sequence[Finding]) -> None:
        """Findings, dearest first, with what they cost and what following them could save."""
        rows = [
            (
                f"{_MARKS[found.severity]} {found.code}  {_clip(printable(found.title), 44)}",
                _ms(found.cost_ns) if found.cost_ns else "–",
                _percent(found.cost_share) if found.cost_ns else "–",
                _range(found.gain) if found.gain else "–",
                _change(found),
            )
            for found in findings[: self._top + 1]
        ]
        if not rows and (trace.devices or trace.steps):
            self.line(Text("Findings: ", "bold"), "nothing above the noise.")
            self.line()
        self.table("Findings", ("cost ms", "%", "could save", ""), rows)
        if hidden := findings[self._top + 1 :]:
            self.line(Text(f"  and {len(hidden)} more: {', '.join(dict.fromkeys(f.code for f in hidden))}", "dim"))
            self.line()


_RULES = {
    "gpu_gaps": "idle for more than 500 ms",
    "gpu_time_util": "used less than half",
    "cuda_memcpy_async": "asynchronous copies of pageable memory",
    "cuda_memcpy_sync": "blocking copies",
    "cuda_memset_sync": "blocking memsets",
    "cuda_api_sync": "calls that wait for the GPU",
}
_WORTH_A_TABLE = 0.10
"""Of the steps: from here on, waiting for batches brings the loader onto the one screen."""


def _about_cores(cores: Cores) -> Iterator[str]:
    """Say what is known of threads and cores."""
    if cores.intra_op_threads is not None:
        yield f"torch computes with {cores.intra_op_threads} thread{'s' if cores.intra_op_threads != 1 else ''}"
    if cores.usable_cores is not None:
        yield f"the process may use {cores.usable_cores:g} of {cores.machine_cores or '?'} cores"
    if cores.used_cores is not None:
        yield f"it kept {cores.used_cores:.2f} busy, its loader workers {cores.loader_cores:.2f}"
    if cores.machine_used_cores is not None:
        yield f"all programs together {cores.machine_used_cores:.2f}"
    if cores.main_queued_ns is not None:
        yield f"the loop waited {format_ms(cores.main_queued_ns)} for a core"


_NO_MODULE = "(in no module)"
_NO_PART = "(in none)"
_MOST_LAYERS = 40
_MOST_LEVELS = 65
_NEARLY_ALL = 0.9
_MODULE_LENGTH = 48
_MODULE_SOURCES = {
    "python": "Modules are told apart by Python calls.",
    "ranges": "Modules are told apart by the ranges of tbperf record.",
    "shapes": "Modules are operators, told apart by the shapes of their weights and their order in the step.",
}


def _layer_level(modules: Sequence[Module]) -> int:
    """Return the outermost level that has several modules, none of them nearly all; the last row is what is in none."""
    levels = Counter(row.level for row in modules[:-1])
    several = sorted(level for level, count in levels.items() if count > 1) or [max(levels, default=0)]
    dearest = {level: max(row.total_share for row in modules[:-1] if row.level == level) for level in several}
    return next((level for level in several if dearest[level] < _NEARLY_ALL), several[0])


def _layers(modules: Sequence[Module]) -> list[tuple[str, int, int, float, int]]:
    """Return the modules of that level in order, with what is inside them, then what is around them.

    Name, total and backward in nanoseconds, share, calls; of very many, the dearest.
    """
    level = _layer_level(modules)
    layers = [row for row in modules[:-1] if row.level == level]
    dearest = sorted(layers, key=lambda row: -row.total_ns)[:_MOST_LAYERS]
    least = dearest[-1].total_ns if len(layers) > _MOST_LAYERS else 0
    shown = [row for row in layers if row.total_ns >= least][:_MOST_LAYERS]
    found = [(_module(row), row.total_ns, row.total_backward_ns, row.total_share, row.calls) for row in shown]
    around = [row for row in modules[:-1] if row.level < level and row.share]
    found += [(f"{_module(row)}, itself", row.own_ns, row.own_backward_ns, row.share, row.calls) for row in around]
    rest = [row for row in layers if row.total_ns < least]
    if rest:
        found.append(
            (
                f"{len(rest):,} others",
                sum(row.total_ns for row in rest),
                sum(row.total_backward_ns for row in rest),
                sum(row.total_share for row in rest),
                sum(row.calls for row in rest),
            )
        )
    return found


def _module(row: Module) -> str:
    """Name a module; of a long path, the end tells more than the start."""
    name = printable(f"{row.path} {row.kind}" if row.kind else row.path or _NO_MODULE)
    return name if len(name) <= _MODULE_LENGTH else "…" + name[1 - _MODULE_LENGTH :]


def _lengths(low: int, high: int | None) -> str:
    """Name a decade of lengths."""
    if high is None:
        return f"from {_short_time(low)} on"
    return f"below {_short_time(high)}" if not low else f"{_short_time(low)} – {_short_time(high)}"


def _short_time(ns: int) -> str:
    return f"{ns // 1000} µs" if ns < 1_000_000 else f"{ns // 1_000_000} ms"  # noqa: PLR2004 - a millisecond


def _quantity(series: str, value: float) -> str:
    if series.endswith("bytes_per_s"):
        return f"{format_bytes(value)}/s"
    if series.endswith("bytes"):
        return format_bytes(value)
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}"  # noqa: PLR2004 - three digits


_MARKS = {"high": "●", "medium": "◐", "low": "○", "info": "·"}


def _range(gain: Gain) -> str:
    return f"{_ms(gain.low_ns)} – {_ms(gain.high_ns)}" if gain.reaches_low else f"≤ {_ms(gain.high_ns)}"


def _change(found: Finding) -> str:
    """Show the first argument to change, where there is one, else the action."""
    for advice in found.advice:
        if advice["argument"] is not None and advice["to"] is not None:
            before = "" if advice["from"] is None else f" {advice['from']}"
            return f"{advice['argument']}{before} → {advice['to']}"
    return _clip(found.advice[0]["action"], 40) if found.advice else ""


def _per_step(ns: int | None) -> str:
    return _ms(ns) if ns is not None else "–"


def _unseen(trace: TraceReport) -> Iterator[str]:
    if trace.truncated:
        yield "the end of the file (it is cut short; the figures hold for what is there)"
    for reason, count in trace.dropped.items():
        yield f"{count:,} event{'s' if count > 1 else ''} dropped ({reason.replace('_', ' ')})"
    yield from dict.fromkeys(printable(skipped.reason) for skipped in trace.skipped)


def _label(trace: TraceReport) -> str:
    phase = _clip(printable(trace.phase or ""), 40)
    parts = [phase, f"rank {trace.rank}" if trace.rank is not None else ""]
    return " ".join(filter(None, parts)) or _clip(printable(trace.path.rpartition("/")[2]), 40)


def _on(trace: TraceReport, device: int) -> str:
    return f"  GPU {device}" if len(trace.devices) > 1 else ""


def _cause(cause: str) -> str:
    return CAUSES.get(cause, cause)


def _ms(ns: float) -> str:
    return f"{ns / 1e6:,.{1 if ns >= 10e6 else 2}f}"  # noqa: PLR2004 - ten milliseconds


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"


def _top_stages(stage: object, total: int) -> str:
    """Name the stages that make up most of a row."""
    if not isinstance(stage, dict) or not total:
        return ""
    named = [name for name, ns in stage.items() if ns >= total / 10 and name != "unnamed"]
    return ", ".join(printable(name) for name in named[:3])


def _floor(share: float) -> str:
    """Show a percentage with one decimal, rounded down: 99.96 is not 100."""
    return f"{math.floor(1000 * share + 1e-6) / 10:.1f}"


def _clip(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"
