"""How time, memory and the report grow with the events, for every shape of trace: ten times the events, at most 13.

    scripts/bench scaling [--to FORMAT]… [--small N] [--large N] [SHAPE …]

Each shape of tests/shapes.py is written with N and with ten times N of what it is about, as torch's profiler and as
Nsight Systems would write it, and analyzed in a process of its own: processor time and peak memory are those of that
process.  What grows by more than 13, or takes more than 2 GB, is marked, and ends the run with 1.
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from tests.shapes import DRAWN, STAGE_FROM, WRITTEN, write  # noqa: E402 - the checkout's own

MOST = 13.0
"""Times as much for ten times the events."""
MOST_BYTES = 2 << 30
LONGEST_S = 120
"""A process is ended after so much processor time."""
LARGEST_BYTES = 8 << 30
"""A process gets no more memory than this."""

FORMATS = {
    "text": ("analyze", "--format", "text", "--out", "{out}"),
    "details": ("analyze", "--details", "--out", "{out}"),
    "markdown": ("analyze", "--format", "markdown", "--out", "{out}"),
    "json": ("analyze", "--format", "json", "--out", "{out}"),
    "html": ("analyze", "--html", "{out}", "--format", "text", "--out", "{out}.txt"),
    "xprof": ("export", "--to", "xprof", "--out", "{out}"),
    "torch-tb": ("export", "--to", "torch-tb", "--out", "{out}"),
    "tensorboard": ("export", "--to", "tensorboard", "--out", "{out}"),
    "compare": ("compare", "{again}", "--format", "json", "--out", "{out}"),
    "scrub": ("scrub", "{out}"),
}
"""By what comes out: the command, its input after the first word."""


class Cost(NamedTuple):
    """What one process took."""

    seconds: float
    """Of the processor."""
    bytes: int
    """Memory at its peak."""
    written: int
    """Bytes of what came out."""
    code: int


def measure(source: Path, to: str, out: Path, stage_from: str | None) -> Cost:
    """Run the command on a trace in a process of its own."""
    command, *options = FORMATS[to]
    given = [option.format(out=out, again=source) for option in options]
    given += ["--stage-from", stage_from] if stage_from and command in ("analyze", "compare") else []
    child = os.fork()
    if not child:
        quiet = os.open(os.devnull, os.O_WRONLY)
        os.dup2(quiet, 1)
        os.dup2(quiet, 2)
        resource.setrlimit(resource.RLIMIT_CPU, (LONGEST_S, LONGEST_S))
        resource.setrlimit(resource.RLIMIT_AS, (LARGEST_BYTES, LARGEST_BYTES))
        os.execv(sys.executable, [sys.executable, "-m", "tbperf", command, str(source), *given])  # noqa: S606 - our own
    _, status, used = os.wait4(child, 0)
    written = sum(part.stat().st_size for part in (out.rglob("*") if out.is_dir() else [out]) if part.is_file())
    return Cost(used.ru_utime + used.ru_stime, used.ru_maxrss << 10, written, os.waitstatus_to_exitcode(status))


def _written(shape: str, size: int, recorder: str, folder: Path) -> Path:
    """Write a shape, in a process of its own: what this one once held would count as memory of those it starts."""
    path = folder / f"{shape}-{size}.{'json' if recorder == 'kineto' else 'sqlite'}"
    child = os.fork()
    if not child:
        if recorder == "kineto":
            write(shape, size, path)
        else:
            DRAWN[shape](size).nsys(path)
        os._exit(0)
    os.waitpid(child, 0)
    return path


def compare(shape: str, recorder: str, formats: list[str], sizes: tuple[int, int], folder: Path) -> int:
    """Print a line for each format; return how many grow too fast."""
    sources = [_written(shape, size, recorder, folder) for size in sizes]
    crossed = 0
    for to in formats:
        costs = []
        for source, size in zip(sources, sizes, strict=True):
            out = folder / f"out-{shape}-{size}-{to}"
            costs.append(measure(source, to, out, STAGE_FROM.get(shape)))
        small, large = costs
        time, memory, written = (after / max(1e-9, before) for before, after in zip(small[:3], large[:3], strict=True))
        marks = [
            mark
            for mark, wrong in (
                ("TIME", time > MOST),
                ("MEMORY", memory > MOST or large.bytes > MOST_BYTES),
                ("OUTPUT", written > MOST),
                (f"EXIT {large.code}", large.code != small.code or large.code not in (0, 3)),
            )
            if wrong
        ]
        crossed += bool(marks)
        print(
            f"{shape:<36} {recorder:<6} {to:<11} {small.seconds:7.2f} {large.seconds:8.2f} s ×{time:5.1f}"
            f" {small.bytes / 1e6:7.0f} {large.bytes / 1e6:7.0f} MB ×{memory:4.1f}"
            f" {small.written / 1e3:8.0f} {large.written / 1e3:8.0f} kB ×{written:5.1f}  {' '.join(marks)}",
            flush=True,
        )
    for source in sources:
        source.unlink()
    return crossed


def main() -> int:
    """Measure what is asked for."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("shapes", metavar="SHAPE", nargs="*", help="[all]")
    options.add_argument("--to", action="append", choices=list(FORMATS), help="[text, json, html]")
    options.add_argument("--recorder", choices=("kineto", "nsys"), default="kineto")
    options.add_argument("--small", type=int, default=3_000)
    options.add_argument("--large", type=int, default=30_000)
    given = options.parse_args()
    shapes = given.shapes or [*DRAWN, *(WRITTEN if given.recorder == "kineto" else ())]
    formats = given.to or ["text", "json", "html"]
    crossed = 0
    with tempfile.TemporaryDirectory() as folder:
        for shape in shapes:
            crossed += compare(shape, given.recorder, formats, (given.small, given.large), Path(folder))
    print(f"{crossed} of {len(shapes) * len(formats)} grow too fast")
    return int(crossed > 0)


if __name__ == "__main__":
    sys.exit(main())
