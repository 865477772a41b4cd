"""``tbperf export``: write traces in the formats of other viewers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from tbperf.cli.output import jobs_option, progress_of_reading, say
from tbperf.errors import UsageError

if TYPE_CHECKING:
    from tbperf.tensorboard.exports import Exported

TARGETS = ("xprof", "torch-tb", "tensorboard")


@click.command("export", short_help="Write traces for TensorBoard's profiler tabs and dashboards.")
@click.argument("path", type=click.Path(path_type=Path))
@click.option(
    "--to",
    "targets",
    type=click.Choice(TARGETS),
    multiple=True,
    required=True,
    help="xprof: the Profile tab; torch-tb: the old tab of torch-tb-profiler; tensorboard: the Scalars and Text"
    " dashboards.  May be repeated.",
)
@click.option(
    "--out", type=click.Path(path_type=Path), help="Folder to write to.  [the folder of the run, or of the trace]"
)
@jobs_option
def command(path: Path, targets: tuple[str, ...], out: Path | None, jobs: int) -> None:
    """Write the traces of PATH so that other viewers read them.

    PATH is a trace, a run folder of `tbperf record`, an archive of traces, or any folder that holds traces.  Nothing
    that stands there already is replaced.

    \b
    Example:
      tbperf export --to xprof runs/tbperf/2026-11-24-0930
      tensorboard --logdir runs
    """  # noqa: D301 - \b keeps click from joining the lines
    from tbperf.tensorboard.exports import export  # noqa: PLC0415 - only what is asked for

    if out is not None and out.is_file():
        raise UsageError(f"{out}: is a file", "name a folder with --out")
    with progress_of_reading() as progress:
        done = export(path, list(dict.fromkeys(targets)), out, jobs=jobs, progress=progress)
    for line in lines_about(done):
        say(line)
    folder = out or (path if path.is_dir() else path.parent)
    say(f"next: tensorboard --logdir {folder}")


def lines_about(done: Exported) -> list[str]:
    """Say what an export did."""
    return [
        *(f"note: {note}" for note in done.notes),
        *(f"written: {file}" for file in done.written),
        *(f"kept: {file} (exported before)" for file in done.kept),
    ]
