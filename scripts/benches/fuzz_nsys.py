"""Damage Nsight Systems exports at random and analyze them: nothing but the typed error may come out.

    scripts/bench fuzz_nsys [--count N] [--seed N] [FILE …]

Bytes are changed anywhere in the file, values are replaced by such as cannot be (null, words, huge and broken numbers),
and tables lose columns. Seeds are a drawn export and any files named. An input that raises anything else is kept as
fuzz-<seed>-<number>.sqlite in the current folder.
"""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import fuzz

from tbperf.errors import TraceFormatError
from tbperf.readers import find_traces, read_trace

if TYPE_CHECKING:
    import random

ROOT = Path(__file__).parents[2]
VALUES = (
    None,
    0,
    -1,
    1,
    2**31,
    2**53,
    2**62,
    2**63 - 1,
    -(2**63),
    1.5,
    1e308,
    float("inf"),
    "words",
    b"\xff\x00",
    "",
    "1",
)


def drawn(path: Path) -> Path:
    """Write an export with a row or two in every table, in small pages."""
    sys.path.insert(0, str(ROOT))
    from tests.draw import Timeline
    from tests.draw_nsys import _PROCESS, TABLES, Export

    run = Timeline().step(1, 0, 100).stage("dataload", 0, 40).stage("forward", 40, 100).op("aten::add", 41, 44)
    run.copy("HtoD", 41, 45, memory="pageable", call=(40, 41)).memset(46, 47, call=(45, 46)).os("poll", 3, 9)
    run.kernel(50, 90, name="gemm", call=(46, 47)).kernel(60, 95, device=1).overhead("Buffer Flush", 91, 95)
    run.nsys(path)
    with contextlib.closing(Export(path)) as export:
        export._made = {name for (name,) in export.database.execute("SELECT name FROM sqlite_master")}  # noqa: SLF001
        for table in TABLES.keys() - {"StringIds"}:
            texts = {part.split()[0]: "t" for part in TABLES[table].split(",") if "TEXT NOT NULL" in part}
            owner = {part.split()[0]: _PROCESS for part in TABLES[table].split(",") if "global" in part}
            export.add(table, **texts, **owner)
        export.database.commit()
        export.database.execute("PRAGMA page_size=512")
        export.database.execute("VACUUM")
    return path


def with_other_bytes(path: Path, rng: random.Random) -> None:
    """Change, move, blank or cut bytes."""
    data = bytearray(path.read_bytes())
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        at = rng.randrange(len(data)) if data else 0
        length = min(len(data) - at, 1 + int(rng.expovariate(1 / 20)))
        change = rng.randrange(5)
        if change == 0:
            data[at : at + length] = rng.randbytes(length)
        elif change == 1:
            data[at : at + length] = bytes(length)
        elif change == 2:  # noqa: PLR2004
            other = rng.randrange(len(data)) if data else 0
            data[at : at + length] = data[other : other + length]
        elif change == 3 and data:  # noqa: PLR2004
            data[at] ^= 1 << rng.randrange(8)
        elif rng.random() < 0.1:  # noqa: PLR2004
            del data[at:]
    path.write_bytes(bytes(data))


def with_other_values(path: Path, rng: random.Random) -> None:
    """Replace values by such as cannot be, and drop columns."""
    with contextlib.closing(sqlite3.connect(path)) as database:
        names = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for _ in range(rng.choice((1, 1, 2, 5))):
            table = rng.choice(names)
            column = rng.choice([name for _, name, *_ in database.execute(f"PRAGMA table_info({table})")])
            with contextlib.suppress(sqlite3.Error):
                if rng.random() < 0.1:  # noqa: PLR2004
                    database.execute(f"ALTER TABLE {table} DROP COLUMN {column}")
                else:
                    where = "" if rng.random() < 0.3 else " WHERE rowid % 2 = 0"  # noqa: PLR2004
                    database.execute(f"UPDATE {table} SET {column} = ?{where}", [rng.choice(VALUES)])  # noqa: S608
        database.commit()


def run(count: int, seed: int, paths: list[Path]) -> int:
    """Analyze so many damaged exports; return how many raised what they must not."""
    with tempfile.TemporaryDirectory() as folder:
        start_from = [drawn(Path(folder, "seed.sqlite")), *paths]
        path = Path(folder, "fuzzed.sqlite")

        def draw(rng: random.Random) -> bytes:
            shutil.copyfile(rng.choice(start_from), path)
            (with_other_bytes if rng.random() < 0.5 else with_other_values)(path, rng)  # noqa: PLR2004
            return path.read_bytes()

        def analyze(data: bytes) -> str:
            path.write_bytes(data)
            try:
                traces = [read_trace(source) for source in find_traces(path)]
            except TraceFormatError:
                return "refused"
            fuzz.report(traces)
            return "read with losses" if any(trace.dropped for trace in traces) else "read"

        return fuzz.campaign(count, seed, draw, analyze, ".sqlite")


if __name__ == "__main__":
    fuzz.main(__doc__, run, 10_000)
