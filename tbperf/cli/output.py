"""What the commands that report have in common: options, progress, where the text goes, gates."""

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

from tbperf.cli.streams import ESCAPED
from tbperf.errors import TbperfError
from tbperf.outputs import write_output
from tbperf.printable import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from rich.progress import TaskID

    from tbperf.gates import Gate, Judged

_OUTPUT_OPTIONS = (
    click.option(
        "--format",
        "format_",
        type=click.Choice(["text", "json", "markdown"]),
        default="text",
        show_default=True,
        help="For people, one JSON document for machines, or Markdown for pull requests and issues.",
    ),
    click.option("--out", type=click.Path(path_type=Path), help="Write the text to this file."),
    click.option(
        "--html",
        type=click.Path(path_type=Path),
        help="Write a page with charts and tables, and of a report the timeline, to this file, too.",
    ),
    click.option("--top", type=click.IntRange(1), default=5, show_default=True, help="Rows in each table of the text."),
)


def output_options(command: Callable[..., int]) -> Callable[..., int]:
    """Add the options that say how a report is written: --format, --out, --html, --top."""
    return functools.reduce(lambda decorated, option: option(decorated), reversed(_OUTPUT_OPTIONS), command)


jobs_option = click.option(
    "--jobs", type=click.IntRange(0), default=0, help="Processes that read a large trace; by default one a core."
)


def terminal(out: Path | None) -> dict[str, Any]:
    """Return the width and color that text should have which goes to a file, or to whatever stdout is."""
    to_terminal = out is None and sys.stdout.isatty()
    width = shutil.get_terminal_size((100, 24)).columns if to_terminal else 100
    return {"width": width, "color": to_terminal and "NO_COLOR" not in os.environ}


def deliver(what: str, text: str, out: Path | None) -> None:
    """Write a text to stdout, or to a file and say so."""
    if out is None:
        sys.stdout.write(text)
    else:
        write_text(out, text)
        say(f"{what} written to {out}")


def say(line: str) -> None:
    """Write a line about what is done to standard error."""
    sys.stderr.write(f"tbperf  {printable(line)}\n")


def read_gates(texts: Sequence[str], *, compared: bool) -> Sequence[Gate]:
    """Read gates before any work is done for nothing."""
    if not texts:
        return ()
    from tbperf.gates import parse_gates  # noqa: PLC0415 - only what is asked for

    return parse_gates(texts, compared=compared)


def tell_gates(judged: Sequence[Judged]) -> int:
    """Write a line for each gate that did not pass; return the exit code that they come to."""
    for found in judged:
        if found.outcome != "passed":
            say(f"gate {found.outcome}: {found.gate}: {found.why}")
    outcomes = {found.outcome for found in judged}
    return FAILED_CODE if "failed" in outcomes else TbperfError.exit_code if "not judged" in outcomes else 0


FAILED_CODE = 4


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
    """Write a report to where the user wants it."""
    write_output(path, text.encode("utf-8", ESCAPED))
