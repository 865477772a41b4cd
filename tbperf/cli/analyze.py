"""``tbperf analyze``: read traces, report where the time went."""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tbperf.errors import TbperfError, UsageError
from tbperf.render.sections import ON_ONE_SCREEN, SECTIONS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from rich.progress import TaskID

    from tbperf.gates import Gate, Judged
    from tbperf.report import Report


@click.command("analyze")
@click.argument("paths", metavar="PATH...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--format",
    "format_",
    type=click.Choice(["text", "json", "markdown"]),
    default="text",
    show_default=True,
    help="For people, one JSON document for machines, or Markdown for pull requests and issues.",
)
@click.option("--out", type=click.Path(path_type=Path), help="Write the report to this file.")
@click.option(
    "--html", type=click.Path(path_type=Path), help="Write a page with charts, tables and a timeline to this file, too."
)
@click.option(
    "--top",
    type=click.IntRange(1),
    default=5,
    show_default=True,
    help="Rows in each table of the text.",
)
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
@click.option(
    "--jobs", type=click.IntRange(0), default=0, help="Processes that read a large trace; by default one a core."
)
@click.option(
    "--fail-on",
    metavar="GATE",
    multiple=True,
    help="End with exit code 4 if this holds, such as 'idle>30%', LOADER001 or severity=high; may be repeated.",
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

    PATH is a trace of torch.profiler (.json or .json.gz), a recording of Nsight Systems (.sqlite, .nsys-rep), a run
    folder of `tbperf record`, a tar of traces, or any folder that holds traces, such as TensorBoard's log folder.
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
        to_terminal = out is None and sys.stdout.isatty()
        width = shutil.get_terminal_size((100, 24)).columns if to_terminal else 100
        color = to_terminal and "NO_COLOR" not in os.environ
        sections = only or (SECTIONS if details else ON_ONE_SCREEN)
        text = render_text(report, width=width, color=color, top=top, sections=sections)
    if out is None:
        click.echo(text, nl=False)
    else:
        write_text(out, text)
        click.echo(f"tbperf  report written to {out}", err=True)
    if not gates:
        return 0
    from tbperf.gates import judge_report  # noqa: PLC0415 - only what is asked for

    return tell_gates(judge_report(gates, report))


def read_gates(texts: Sequence[str], *, compared: bool) -> Sequence[Gate]:
    """Read gates before any work is done for nothing."""
    if not texts:
        return ()
    from tbperf.gates import parse_gates  # noqa: PLC0415 - only what is asked for

    return parse_gates(texts, compared=compared)


def tell_gates(judged: Sequence[Judged]) -> int:
    """Write a line for each gate that did not hold up; return the exit code that they come to."""
    for found in judged:
        if found.outcome != "held":
            click.echo(f"tbperf  gate {found.outcome}: {found.gate}: {found.why}", err=True)
    outcomes = {found.outcome for found in judged}
    return CROSSED_CODE if "crossed" in outcomes else TbperfError.exit_code if "not judged" in outcomes else 0


CROSSED_CODE = 4


def _write_page(page: Path, ask: Callable[[Callable[..., Any]], tuple[Report, tuple[Any, ...]]]) -> Report:
    """Write the HTML report on the way: it shows what only the traces hold, which are let go one after the other."""
    from tbperf.render.html import render_html  # noqa: PLC0415 - only what is asked for
    from tbperf.render.timeline import timeline  # noqa: PLC0415

    report, timelines = ask(timeline)
    write_text(page, render_html(report, timelines))
    click.echo(f"tbperf  page written to {page}", err=True)
    return report


@contextlib.contextmanager
def progress_of_reading() -> Iterator[Callable[[str, int, int], None]]:
    """Show how far reading got, where someone watches and it takes longer than a moment."""
    if not sys.stderr.isatty():
        yield lambda _name, _bytes, _events: None
        return
    from rich.console import Console  # noqa: PLC0415 - only where someone watches
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn  # noqa: PLC0415

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TextColumn("{task.fields[events]:,} events"),
        TimeRemainingColumn(),
    )
    begun = time.monotonic()
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=True) as bar:
        tasks: dict[str, TaskID] = {}

        def tell(name: str, size: int, events: int) -> None:
            if time.monotonic() - begun < _MOMENT_S:
                return
            if bar.disable:
                bar.disable = False
                bar.start()
            if name not in tasks:
                tasks[name] = bar.add_task(Path(name).name, total=_stored_size(name), events=0)
            bar.update(tasks[name], completed=size, events=events)

        yield tell


_MOMENT_S = 1.0


def _stored_size(name: str) -> int | None:
    """Return the size of a file; members of an archive have none of their own."""
    path = Path(name)
    return path.stat().st_size if path.is_file() else None


def write_text(path: Path, text: str) -> None:
    """Write a report; a file that stands there already is replaced only by a whole one."""
    if path.is_dir():
        raise UsageError(f"{path}: a folder stands there", "name a file")
    part = path.with_name(path.name + ".part")
    try:
        part.write_text(text, encoding="utf-8")
        part.replace(path)
    except OSError as error:
        raise TbperfError(
            f"{path}: {(error.strerror or str(error)).lower()}", "name another file with --out"
        ) from error
