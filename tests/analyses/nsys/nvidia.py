"""NVIDIA's own answers, and the exports that they answer about."""

import csv
import subprocess
import sys
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path

from tbperf.readers import find_traces, read_trace

SHARED = Path(__file__).parents[4] / "shared"
NSYS = SHARED / "nsys"
VERSIONS = ("2022.4", "2023.4")


def synthetic(folder, *arguments):
    """Write an export in the genuine schema; return its path."""
    path = folder / "synthetic.sqlite"
    script = NSYS / "make_synthetic.py"
    subprocess.run([sys.executable, script, path, *arguments], check=True, stdout=subprocess.DEVNULL)
    return path


def traces_of(path):
    """Return the trace of each process."""
    return [read_trace(source) for source in find_traces(path)]


def table(version, name):
    """Return the rows of one of NVIDIA's reports."""
    lines = (NSYS / f"reference-{version}" / f"{name}.csv").read_text().splitlines()
    rows = csv.DictReader(line for line in lines if line.strip())
    return [{key: "" if value == "None" else value for key, value in row.items()} for row in rows]


def begin(trace):
    """Return the trace's origin on the recorder's clock, which NVIDIA's times are on."""
    return trace.origin_unix_ns - 1_700_000_000_000_000_000


def pid(trace):
    return trace.threads[0].pid


def spread(row, unit="ns", prefix=""):
    """Return NVIDIA's figures of a row, as they are printed."""
    return tuple(row[f"{prefix}{what} ({unit})"] for what in ("Avg", "Med", "Min", "Max", "StdDev"))


def printed(figures):
    """Print our figures as NVIDIA does."""
    tenths = [f"{_half_up(value, '0.1')}" for value in (figures.mean, figures.median, figures.stddev)]
    return tenths[0], tenths[1], str(figures.min), str(figures.max), tenths[2]


def _half_up(value, digits):
    return Decimal(value).quantize(Decimal(digits), ROUND_HALF_UP)


def printed_megabytes(figures):
    values = (figures.mean, figures.median, figures.min, figures.max, figures.stddev)
    return tuple(f"{value / 1e6:.3f}" for value in values)


OPERATIONS = {
    "HtoD": "memcpy HtoD",
    "DtoH": "memcpy DtoH",
    "DtoD": "memcpy DtoD",
    "Host-to-Device": "memcpy HtoD",
    "Device-to-Host": "memcpy DtoH",
    "Device-to-Device": "memcpy DtoD",
}


def operation(text):
    """Translate ``[CUDA memcpy Host-to-Device]``."""
    name = text.strip("[]").removeprefix("CUDA ")
    return OPERATIONS.get(name.removeprefix("memcpy "), name)
