"""Damage traces at random and analyze them: nothing but the typed error may come out.

    scripts/bench fuzz [--count N] [--seed N] [FILE …]

Seeds are the project's own broken and whole samples, cut to a few dozen events, and any files named. An input that
raises anything else is kept as fuzz-<seed>-<number>.json in the current folder.
"""

from __future__ import annotations

import argparse
import gc
import gzip
import io
import json
import random
import sys
import time
import traceback
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from invariants import without_layout

from tbperf.analyses import examine
from tbperf.errors import TraceFormatError
from tbperf.readers import Source, read_trace
from tbperf.render import render_json, render_text
from tbperf.report import report_on

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tbperf.trace import Trace

ROOT = Path(__file__).parents[2]
EVENTS = 40
TOKENS = [
    *(
        b'"',
        b"\\",
        b"{",
        b"}",
        b"[",
        b"]",
        b",",
        b":",
        b"\n",
        b"\0",
        b"\xff",
        b"\xed\xa0\x80",
        b"null",
        b"NaN",
        b"-1",
        b"1e400",
    ),
    *(
        b"99999999999999999999",
        b'"ph": "B"',
        b'"ts": "x"',
        b'"dur": -5',
        b'"args": []',
        b'"traceEvents": [',
        b"]}",
        b"0.5",
    ),
    *(
        b'"correlation": {}',
        b'"device": "cuda"',
        b'"stream": 1e30',
        b'"cat": "kernel"',
        b'"name": ""',
        b"\\ud800",
        b"[" * 2000,
    ),
]


def seeds(paths: list[Path]) -> list[bytes]:
    """Return small traces to start from."""
    found = [path.read_bytes() for path in sorted((ROOT / "tests" / "readers" / "defects").iterdir())]
    samples = [*(ROOT / "sample_traces").rglob("*.pt.trace.json.gz"), *paths]
    for path in sorted(samples):
        raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        document = json.loads(raw, strict=False)
        events = document["traceEvents"]
        rng = random.Random(len(events))  # noqa: S311 - reproducible, not secret
        document["traceEvents"] = rng.sample(events, min(EVENTS, len(events)))
        found += [json.dumps(document, indent=indent).encode() for indent in (None, 1)]
    return found


def damaged(data: bytes, rng: random.Random) -> bytes:
    """Change a few places of a trace."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
        at = rng.randrange(len(out) + 1)
        to = min(len(out), at + int(rng.expovariate(1 / 30)))
        change = rng.randrange(7)
        if change == 0:
            out[at:to] = b""
        elif change == 1:
            out[at:at] = rng.choice(TOKENS)
        elif change == 2:  # noqa: PLR2004
            out[at:to] = rng.choice(TOKENS)
        elif change == 3 and out:  # noqa: PLR2004
            out[min(at, len(out) - 1)] = rng.randrange(256)
        elif change == 4:  # noqa: PLR2004
            out[at:at] = out[at:to]
        elif change == 5:  # noqa: PLR2004
            other = rng.randrange(len(out) + 1)
            out[at:at] = out[other : other + int(rng.expovariate(1 / 300))]
        else:
            del out[at if rng.random() < 0.5 else len(out) :]  # noqa: PLR2004
    return bytes(out)


def analyze(data: bytes) -> str:
    """Read, examine and render one input; return what became of it."""
    source = Source("fuzz", lambda: io.BytesIO(data))
    try:
        trace = read_trace(source, jobs=1)
    except TraceFormatError:
        return "refused"
    report([trace])
    return "truncated" if trace.truncated else "salvaged" if trace.dropped or trace.notes else "read"


def report(traces: Sequence[Trace]) -> None:
    """Do with what was read all that `tbperf analyze` does, but for laying out the text, which takes rich long."""
    found = report_on([examine(trace) for trace in traces])
    json.loads(render_json(found))
    with without_layout():
        render_text(found)


def run(count: int, seed: int, paths: list[Path]) -> int:
    """Analyze so many damaged traces; return how many raised what they must not."""
    start_from = seeds(paths)

    def draw(rng: random.Random) -> bytes:
        data = damaged(rng.choice(start_from), rng)
        if rng.random() < 0.1:  # noqa: PLR2004
            data = gzip.compress(data, 1)
            if rng.random() < 0.5:  # noqa: PLR2004
                data = damaged(data, rng)
        return data

    return campaign(count, seed, draw, analyze, ".json")


def campaign(  # noqa: PLR0913, PLR0917 - one parameter a choice
    count: int,
    seed: int,
    draw: Callable[[random.Random], bytes],
    analyze: Callable[[bytes], str],
    suffix: str,
    kind: str = "",
) -> int:
    """Draw and analyze so many inputs, keep those that raise anything, and return how many did."""
    rng = random.Random(seed)  # noqa: S311 - reproducible, not secret
    became: Counter[str] = Counter()
    gc.freeze()  # what lives through all inputs need not be looked through for garbage again and again
    begun = time.process_time()
    for number in range(count):
        data = draw(rng)
        try:
            became[analyze(data)] += 1
        except Exception:  # noqa: BLE001 - that is what is looked for
            became["raised"] += 1
            kept = Path(f"fuzz-{kind.rstrip(', ')}{'-' if kind else ''}{seed}-{number}{suffix}")
            kept.write_bytes(data)
            print(f"{kept}:\n{traceback.format_exc(limit=-4)}", flush=True)
    rate = count / (time.process_time() - begun)
    print(f"{count:,} inputs, {kind}seed {seed}, {rate:.0f} a second of processor time: {dict(became)}", flush=True)
    return became["raised"]


def main(description: str | None, run: Callable[[int, int, list[Path]], int], count: int) -> None:
    """Run, and exit with 1 where anything was raised."""
    options = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("paths", type=Path, nargs="*")
    options.add_argument("--count", type=int, default=count)
    options.add_argument("--seed", type=int, default=0)
    given = options.parse_args()
    sys.exit(bool(run(given.count, given.seed, given.paths)))


if __name__ == "__main__":
    main(__doc__, run, 100_000)
