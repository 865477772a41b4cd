"""``tbperf history``: figures over many runs, and the run from which on one has shifted."""

from __future__ import annotations

from pathlib import Path

import click

from tbperf.cli.output import deliver, jobs_option, progress_of_reading, say, terminal, write_text


@click.command("history")
@click.argument("runs", metavar="RUN...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--phase", type=click.Choice(["train", "val", "predict"]), help="Of this phase.  [the main one]")
@click.option(
    "--format",
    "format_",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="For people, or one JSON document for machines.",
)
@click.option("--out", type=click.Path(path_type=Path), help="Write the history to this file.")
@click.option("--html", type=click.Path(path_type=Path), help="Write a page with all of it to this file, too.")
@jobs_option
def command(  # noqa: PLR0913, PLR0917 - one parameter an option
    runs: tuple[Path, ...], phase: str | None, format_: str, out: Path | None, html: Path | None, jobs: int
) -> None:
    """Show step time, throughput and causes over many runs, and find the run from which on a figure has shifted.

    RUN is a recording (whatever `tbperf analyze` takes), one of its reports in JSON, or a folder of run folders.  Runs
    are put in the order in which they were recorded.
    """
    from tbperf.comparison import read_report  # noqa: PLC0415 - only what is asked for
    from tbperf.history import history_of  # noqa: PLC0415
    from tbperf.render import render_history, render_json  # noqa: PLC0415

    with progress_of_reading() as progress:
        reports = [read_report(path, jobs=jobs, progress=progress) for path in runs]
    found = history_of(reports, phase=phase)
    if html is not None:
        from tbperf.render.html import render_history_html  # noqa: PLC0415 - only what is asked for

        write_text(html, render_history_html(found))
        say(f"page written to {html}")
    text = render_json(found) if format_ == "json" else render_history(found, **terminal(out))
    deliver("history", text, out)
