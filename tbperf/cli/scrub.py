"""``tbperf scrub``: copy a recording without what is private in it."""

from __future__ import annotations

from pathlib import Path

import click

from tbperf.cli.output import say


@click.command("scrub", short_help="Copy a recording with paths, environment variables and other private data removed.")
@click.argument("source", metavar="IN", type=click.Path(path_type=Path))
@click.argument("target", metavar="OUT", type=click.Path(path_type=Path))
def command(source: Path, target: Path) -> None:
    """Copy the recording IN to the new file or folder OUT, safe to share, and say what was left out.

    IN is a trace of torch.profiler (.json, also compressed), an SQLite export of Nsight Systems, or a folder with
    traces, such as a run folder of `tbperf record`.  The copy holds what is on a list (docs/scrub.md) and nothing else:
    times, sizes, and names made of public words.  Other names, of your own ranges, files, kernels and machines, become
    pseudonyms (anon7), the same everywhere in the copy.  `tbperf analyze OUT` gives the figures of IN.
    """
    from tbperf.scrub import scrub  # noqa: PLC0415 - only what is asked for

    removed = scrub(source, target)
    for line in removed.lines():
        say(line)
    say(f"written to {target}")
