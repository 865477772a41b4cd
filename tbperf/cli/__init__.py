"""The command line: one file a command, which parses, makes one library call, prints, and sets the exit code."""

from __future__ import annotations

import importlib
import os
import sys
from typing import NoReturn

import click
from click.shell_completion import shell_complete

from tbperf import __version__
from tbperf.cli.interrupts import INTERRUPTED_CODE, Interrupts
from tbperf.cli.streams import open_streams
from tbperf.errors import TbperfError
from tbperf.printable import printable

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
    open_streams()
    interrupts = Interrupts()
    try:
        code = _exit_code(interrupts)
    except KeyboardInterrupt:
        code = INTERRUPTED_CODE
    interrupts.end_with(code)
    sys.exit(code)


def _exit_code(interrupts: Interrupts) -> int:
    try:
        code = _run(sys.argv[1:])
        sys.stdout.flush()
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except TbperfError as error:
        if error.message:
            print_error(error)
        return error.exit_code
    except Exception as error:
        if interrupts.arrived:  # a library made something else of it
            return INTERRUPTED_CODE
        if not isinstance(error, (OSError, MemoryError)):
            raise
        print_error(TbperfError(_about(error)))
        return TbperfError.exit_code
    return code


def _run(arguments: list[str]) -> int:
    """Do what `click.Command.main` does, which takes a worker that ended early for a user who wants to stop."""
    completion = os.environ.get("_TBPERF_COMPLETE")
    if completion:
        return shell_complete(cli, {}, _NAME, "_TBPERF_COMPLETE", completion)
    try:
        with cli.make_context(_NAME, arguments) as context:
            result = cli.invoke(context)
    except click.exceptions.Exit as end:
        return end.exit_code
    except click.Abort:
        return INTERRUPTED_CODE
    return result if isinstance(result, int) else 0


_NAME = "tbperf"


def _about(error: OSError | MemoryError) -> str:
    """Return what and why of an error that nobody expected there."""
    if isinstance(error, MemoryError):
        return "memory is too short for this"
    what = f"{error.filename}: " if error.filename else ""
    return f"{what}{(error.strerror or str(error) or type(error).__name__).lower()}"


def print_error(error: TbperfError) -> None:
    """Write ``tbperf: what: why`` and the hint to standard error."""
    sys.stderr.write(f"tbperf: {printable(error.message)}\n")
    if error.hint:
        sys.stderr.write(f"hint: {printable(error.hint)}\n")
