"""``tbperf compare``: what changed between two runs, why, and whether it is more than noise."""

from __future__ import annotations

from pathlib import Path

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


@click.command("compare")
@click.argument("a", metavar="A", type=click.Path(path_type=Path))
@click.argument("b", metavar="B", type=click.Path(path_type=Path))
@click.option(
    "--against",
    metavar="C",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Another run of what A is: a replica.  May be repeated; tells how far runs differ where nothing was changed.",
)
@click.option(
    "--again",
    metavar="D",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Another run of what B is; may be repeated.",
)
@click.option("--phase", type=click.Choice(["train", "val", "predict"]), help="Compare this phase.  [the main one]")
@click.option("--force", is_flag=True, help="Compare what is not comparable: other hardware, another image size.")
@click.option(
    "--fail-on",
    metavar="GATE",
    multiple=True,
    help="Exit with code 4 if this holds, such as 'step_time>+3%' or LOADER001; may be repeated.",
)
@output_options
@click.option("--details", is_flag=True, help="All rows, also those without a change.")
@jobs_option
def command(  # noqa: PLR0913, PLR0917 - one parameter an option
    a: Path,
    b: Path,
    against: tuple[Path, ...],
    again: tuple[Path, ...],
    phase: str | None,
    force: bool,  # noqa: FBT001
    fail_on: tuple[str, ...],
    format_: str,
    out: Path | None,
    html: Path | None,
    top: int,
    details: bool,  # noqa: FBT001
    jobs: int,
) -> int:
    """Say what changed from run A to run B, why, and whether it is more than noise.

    A and B are recordings (whatever `tbperf analyze` takes) or its reports in JSON, in any mix.
    """
    from tbperf.comparison import compare_reports, read_report  # noqa: PLC0415 - only what is asked for
    from tbperf.render import render_comparison, render_comparison_markdown, render_json  # noqa: PLC0415

    gates = read_gates(fail_on, compared=True)
    with progress_of_reading() as progress:
        first, second = (
            [read_report(path, jobs=jobs, progress=progress) for path in side] for side in ((a, *against), (b, *again))
        )
    found = compare_reports(first, second, phase=phase, force=force)
    if html is not None:
        from tbperf.render.html import render_comparison_html  # noqa: PLC0415 - only what is asked for

        write_text(html, render_comparison_html(found))
        say(f"page written to {html}")
    if format_ == "json":
        text = render_json(found)
    elif format_ == "markdown":
        text = render_comparison_markdown(found, top=top)
    else:
        text = render_comparison(found, **terminal(out), top=top, details=details)
    deliver("comparison", text, out)
    if not gates:
        return 0
    from tbperf.gates import judge_comparison  # noqa: PLC0415 - only what is asked for

    return tell_gates(judge_comparison(gates, found, second))
