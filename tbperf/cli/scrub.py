"""``tbperf scrub``: copy a recording without what is private in it."""

from __future__ import annotations

from pathlib import Path

import click

from tbperf.cli.output import say


@click.command("scrub", short_help="Copy a trace without paths, environments and other private matter.")
@click.argument("source", metavar="IN", type=click.Path(path_type=Path))
@click.argument("target", metavar="OUT", type=click.Path(path_type=Path))
def command(source: Path, target: Path) -> None:
    """Copy the trace IN to the new file OUT, fit to be given to others, and say what was left out.

    IN is a trace of torch.profiler (.json, .json.gz) or an SQLite export of Nsight Systems.  The copy holds neither
    environment variables nor what the program wrote, no names of hosts and users, no paths, and nothing of other
    processes.  Names of kernels, operators, ranges and threads stay: look whether they tell more than they should.
    """
    from tbperf.scrub import scrub  # noqa: PLC0415 - only what is asked for

    removed = scrub(source, target)
    for line in removed.lines():
        say(f"left out · {line}")
    say(f"written to {target}")
