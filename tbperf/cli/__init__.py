"""The command line: one file a command, which parses, makes one library call, prints, and sets the exit code."""

from __future__ import annotations

import importlib
import sys
from typing import NoReturn

import click

from tbperf import __version__
from tbperf.errors import TbperfError

COMMANDS = (
    "record",
    "analyze",
    "compare",
    "history",
    "open",
    "tensorboard",
    "export",
    "scrub",
    "monitor",
    "doctor",
    "demo",
)
"""Shown in this order; each is ``command`` in the module of its name, imported only when it is used."""


class _Commands(click.Group):
    def list_commands(self, _context: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, _context: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"tbperf.cli.{name}").command
        return command


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="tbperf")
def cli() -> None:
    """Find out where a YOLO run on PyTorch loses its time, why the GPU idles, and what to change."""


def main() -> NoReturn:
    """Run the command line; every error that a user can cause ends in two lines and its exit code."""
    try:
        code = cli.main(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except click.Abort:
        code = 130
    except TbperfError as error:
        print_error(error)
        code = error.exit_code
    sys.exit(code if isinstance(code, int) else 0)


def print_error(error: TbperfError) -> None:
    """Write ``tbperf: what: why`` and the hint to standard error."""
    click.echo(f"tbperf: {error.message}", err=True)
    if error.hint:
        click.echo(f"hint: {error.hint}", err=True)
