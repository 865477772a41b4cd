"""``tbperf doctor``: what can be recorded here."""

from __future__ import annotations

import shutil
import sys

import click

from tbperf.capture.doctor import Check, examine_machine

_INDENT = 4


@click.command("doctor", short_help="Say what can be recorded on this machine, and what would help.")
@click.option("--python", metavar="PATH", help="The Python that runs Ultralytics.  [that of tbperf]")
@click.pass_context
def command(context: click.Context, /, python: str | None) -> None:
    """Look what can be recorded here: stages, operators, GPU work, hardware, NVTX, Nsight, TensorBoard.

    The exit code is 1 where YOLO's stages or torch's operators cannot be recorded: nothing works without them.
    """
    checks = examine_machine(python or sys.executable)
    for line in lines(checks, shutil.get_terminal_size((100, 24)).columns):
        sys.stdout.write(f"{line}\n")
    context.exit(0 if all(check.works for check in checks if check.what in _NEEDED) else 1)


_NEEDED = ("stages of YOLO", "operators")


def lines(checks: list[Check], width: int) -> list[str]:
    """Lay out one check a paragraph: works or not, what was found, what would help."""
    found = []
    for check in checks:
        found += _wrapped(f"{'ok' if check.works else 'no':2}  {check.what}: {check.found}", width)
        if check.remedy:
            found += _wrapped(f"{' ' * _INDENT}→ {check.remedy}", width)
    return found


def _wrapped(text: str, width: int) -> list[str]:
    return click.wrap_text(text, max(40, width), subsequent_indent=" " * _INDENT).splitlines()
