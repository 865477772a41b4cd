"""``tbperf open``: show a report in the browser."""

from __future__ import annotations

import tempfile
import webbrowser
from pathlib import Path

import click

from tbperf.cli.output import progress_of_reading, say, write_text
from tbperf.errors import TbperfError, TraceFormatError


@click.command("open")
@click.argument("report", metavar="REPORT", type=click.Path(path_type=Path))
def command(report: Path) -> None:
    """Show a report in the browser.

    REPORT is an HTML report of `tbperf analyze --html`, a JSON report, or anything that `tbperf analyze` reads: then a
    report is made of it in the folder for temporary files.
    """
    page = _page(report)
    say(f"{page}")
    if not webbrowser.open(page.resolve().as_uri()):
        raise TbperfError(f"{page}: no browser can be started here", "open the file by hand")


def _page(report: Path) -> Path:
    head = _head(report)
    if head.lstrip()[:9].lower() == b"<!doctype":
        if _GENERATOR not in head:
            raise TraceFormatError(f"{report}: not a report of tbperf", "`tbperf analyze … --html FILE` writes some")
        return report
    from tbperf.render.html import render_html, render_html_of_json  # noqa: PLC0415 - only where a report is to be made
    from tbperf.render.timeline import timeline  # noqa: PLC0415
    from tbperf.report import SCHEMA, analyze_and  # noqa: PLC0415

    if f'"{SCHEMA}"'.encode() in _tail(report):
        text = render_html_of_json(report.read_bytes())
    else:
        with progress_of_reading() as progress:
            text = render_html(*analyze_and(report, timeline, progress=progress))
    page = Path(tempfile.mkdtemp(prefix="tbperf-")) / f"{report.resolve().name}.html"
    write_text(page, text)
    return page


_GENERATOR = b'<meta name="generator" content="tbperf'
_ENOUGH = 4096


def _head(report: Path) -> bytes:
    """Return the first bytes of a file; nothing of a folder or a pipe."""
    return _part(report, 0)


def _tail(report: Path) -> bytes:
    """Return the last bytes of a file, where a JSON report names its schema; nothing of a folder or a pipe."""
    return _part(report, -_ENOUGH)


def _part(report: Path, begin: int) -> bytes:
    if str(report) == "-" or (report.exists() and not report.is_file()):
        return b""  # what is read from a pipe to look at it is gone
    try:
        with report.open("rb") as file:
            file.seek(max(0, report.stat().st_size + begin) if begin < 0 else begin)
            return file.read(_ENOUGH)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise TraceFormatError(f"{report}: {reason}", "name a report or a trace") from error
