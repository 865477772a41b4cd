"""``tbperf analyze``: read traces, report where the time went."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tbperf.cli.output import (
    deliver,
    jobs_option,
    output_options,
    progress_of_reading,
    read_gates,
    say,
    tell_gates,
    terminal,
    write_text,
)
from tbperf.render.sections import ON_ONE_SCREEN, SECTIONS

if TYPE_CHECKING:
    from collections.abc import Callable

    from tbperf.report import Report


@click.command("analyze")
@click.argument("paths", metavar="PATH...", nargs=-1, required=True, type=click.Path(path_type=Path))
@output_options
@click.option("--details", is_flag=True, help="All tables, for every trace.")
@click.option(
    "--only",
    metavar="SECTION",
    multiple=True,
    type=click.Choice(SECTIONS),
    help=f"Only this table; may be repeated: {', '.join(SECTIONS)}.",
)
@click.option("--device", type=click.IntRange(0), help="Only this GPU.")
@click.option(
    "--stage-from",
    metavar="REGEX",
    help="Ranges whose name has a match are stages, named by its first group or by what matches.",
)
@jobs_option
@click.option(
    "--fail-on",
    metavar="GATE",
    multiple=True,
    help="Exit with code 4 if this holds, such as 'idle>30%', LOADER001 or severity=high; may be repeated.",
)
def command(  # noqa: PLR0913, PLR0917 - one parameter an option
    paths: tuple[Path, ...],
    format_: str,
    out: Path | None,
    html: Path | None,
    top: int,
    details: bool,  # noqa: FBT001
    only: tuple[str, ...],
    device: int | None,
    stage_from: str | None,
    jobs: int,
    fail_on: tuple[str, ...],
) -> int:
    """Report where the time of a recorded run went, and why the GPU idled.

    PATH is a trace of torch.profiler (.json, also compressed), a recording of Nsight Systems (.sqlite, .nsys-rep), a
    run folder of `tbperf record`, a tar or zip of traces, or any folder that holds traces, such as TensorBoard's log
    folder; - is the standard input.
    """
    from tbperf.render import render_json, render_markdown, render_text  # noqa: PLC0415 - only what is asked for
    from tbperf.report import analyze, analyze_and  # noqa: PLC0415

    gates = read_gates(fail_on, compared=False)
    with progress_of_reading() as progress:
        if html is None:
            report = analyze(paths, device=device, stage_from=stage_from, jobs=jobs, progress=progress)
        else:
            ask = functools.partial(
                analyze_and, paths, device=device, stage_from=stage_from, jobs=jobs, progress=progress
            )
            report = _write_page(html, ask)
    if format_ == "json":
        text = render_json(report)
    elif format_ == "markdown":
        text = render_markdown(report, top=top)
    else:
        sections = only or (SECTIONS if details else ON_ONE_SCREEN)
        text = render_text(report, **terminal(out), top=top, sections=sections)
    deliver("report", text, out)
    if not gates:
        return 0
    from tbperf.gates import judge_report  # noqa: PLC0415 - only what is asked for

    return tell_gates(judge_report(gates, report))


def _write_page(page: Path, ask: Callable[[Callable[..., Any]], tuple[Report, tuple[Any, ...]]]) -> Report:
    """Write the HTML report on the way: it shows what only the traces hold, which are let go one after the other."""
    from tbperf.render.html import render_html  # noqa: PLC0415 - only what is asked for
    from tbperf.render.timeline import timeline  # noqa: PLC0415

    report, timelines = ask(timeline)
    write_text(page, render_html(report, timelines))
    say(f"page written to {page}")
    return report
