"""How fast `tbperf analyze` is, and how much memory it takes, against plain ways to read the same file.

Each way runs in processes of its own, one after the other, in one run: the ratios hold on a busy machine, too.
The reference is the least that any typed reader in Python has to do: decode all events in pieces and turn four fields
into columns, in two processes.
"""

from __future__ import annotations

import argparse
import gzip
import importlib.util
import json
import mmap
import multiprocessing
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import msgspec
import numpy as np
import psutil

REFERENCE = "decode in pieces, 2 processes"


def reference(path: Path) -> None:
    """Decode pieces to columns in two processes, and do nothing with them."""
    from tbperf.readers import chrome

    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        ranges = chrome.cut_file(data, chrome.Cut())
    with multiprocessing.Pool(2) as pool:
        for _ in pool.imap(reference_piece, [(path, *span) for span in ranges]):
            pass


class Args(msgspec.Struct, gc=False):
    correlation: int = 0
    device: int = 0
    stream: int = 0
    bytes: int = 0


class Event(msgspec.Struct, gc=False):
    ph: str = ""
    cat: str = ""
    name: str = ""
    pid: int | str = 0
    tid: int | str = 0
    ts: float = 0
    dur: float = 0
    args: Args | None = None


def reference_piece(task: tuple[Path, int, int]) -> list[object]:
    """Decode one piece to columns."""
    path, begin, end = task
    with path.open("rb") as file:
        file.seek(begin)
        events = msgspec.json.decode(b"[" + file.read(end - begin) + b"]", type=list[Event])
    codes: dict[str, int] = {}
    return [
        np.array([event.ts for event in events]),
        np.array([event.dur for event in events]),
        np.array([codes.setdefault(event.name, len(codes)) for event in events], np.int32),
        np.array([event.args.correlation if event.args else 0 for event in events], np.int64),
    ]


def whole(path: Path, decoder: str) -> None:
    """Decode the file at once."""
    data = path.read_bytes()
    if decoder == "json":
        json.loads(data)
    elif decoder == "orjson":
        import orjson

        orjson.loads(data)
    else:
        msgspec.json.decode(data)


def traceinsight(path: Path) -> None:
    """Load with HTA and ask it for three analyses."""
    from hta.trace_analysis import TraceAnalysis

    analysis = TraceAnalysis(trace_files={0: str(path)}, trace_dir=str(path.parent))
    analysis.get_idle_time_breakdown(visualize=False)
    analysis.get_gpu_kernel_breakdown(visualize=False)
    analysis.get_temporal_breakdown(visualize=False)


def measure(command: list[str]) -> tuple[float, int]:
    """Return the seconds of a command and the peak of the memory of all its processes (proportional set size)."""
    begun = time.perf_counter()
    process = psutil.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    peak = 0
    done = threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.02):
            total = 0
            try:
                for part in [process, *process.children(recursive=True)]:
                    total += part.memory_full_info().pss
            except psutil.Error:
                continue
            peak = max(peak, total)

    watcher = threading.Thread(target=watch)
    watcher.start()
    _, errors = process.communicate()
    seconds = time.perf_counter() - begun
    done.set()
    watcher.join()
    if process.returncode:
        raise RuntimeError(errors.decode()[-500:])
    return seconds, peak


def grow(source: Path, size: int, target: Path) -> Path:
    """Repeat a trace, shifted in time and with fresh ids, until it has about this size."""
    raw = gzip.decompress(source.read_bytes()) if source.suffix == ".gz" else source.read_bytes()
    trace = json.loads(raw)
    events = trace.pop("traceEvents")
    complete = [e for e in events if e.get("ph") == "X"]
    shift = max(e["ts"] + e["dur"] for e in complete) - min(e["ts"] for e in complete) + 1000
    fresh = 1 + max(int(e.get("args", {}).get(k, 0) or 0) for e in complete for k in ("correlation", "External id"))
    with target.open("w") as out:
        out.write(json.dumps(trace, indent=2)[:-2] + ',\n  "traceEvents": [\n')
        turn = 0
        while out.tell() < size:
            for i, event in enumerate(events):
                if turn and event.get("ph") == "M":
                    continue
                if turn and "ts" in event:
                    event["ts"] = round(event["ts"] + shift, 3)
                for key in ("correlation", "External id"):
                    if turn and key in event.get("args", {}):
                        event["args"][key] += fresh
                args = event.get("args")
                body = ", ".join(f"{json.dumps(k)}: {json.dumps(v)}" for k, v in event.items() if k != "args")
                tail = "" if args is None else ',\n    "args": {\n      ' + json.dumps(args)[1:-1] + "\n    }"
                out.write(("" if turn == i == 0 else ",\n") + "  {\n    " + body + tail + "\n  }")
            turn += 1
        out.write("\n  ]\n}\n")
    return target


def main() -> None:
    """Print a table of seconds, MB/s, memory and ratios."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("trace", type=Path, nargs="+", help="one trace, or a small one to --grow")
    options.add_argument("--grow", type=int, nargs="*", default=[], metavar="MB", help="sizes to grow it to")
    options.add_argument("--repeat", type=int, default=3, help="runs of each way; the fastest counts")
    options.add_argument("--only", nargs="*", help="ways to run (default: all)")
    options.add_argument("--way", nargs=2, help=argparse.SUPPRESS)
    given = options.parse_args()
    if given.way:
        name, path = given.way[0], Path(given.way[1])
        ways = {"reference": reference, "traceinsight": traceinsight}
        ways[name](path) if name in ways else whole(path, name)
        return
    paths = list(given.trace)
    if given.grow:
        folder = Path(os.environ.get("TMPDIR", "/tmp"))  # noqa: S108 - large files, named below
        paths = [grow(given.trace[0], mb * 10**6, folder / f"tbperf-bench-{mb}MB.json") for mb in given.grow]
    this = [sys.executable, __file__, str(paths[0]), "--way"]
    tbperf = [sys.executable, "-m", "tbperf", "analyze", "--format", "json"]
    for path in paths:
        size = path.stat().st_size
        ways: dict[str, list[str]] = {
            REFERENCE: [*this, "reference", str(path)],
            "tbperf analyze (all analyses, JSON)": [*tbperf, str(path)],
            "tbperf analyze --jobs 1": [*tbperf, "--jobs", "1", str(path)],
        }
        if path.suffix != ".gz":
            ways |= {f"{d}, whole file": [*this, d, str(path)] for d in ("json", "orjson", "msgspec")}
        if importlib.util.find_spec("hta"):
            ways["traceinsight, three analyses"] = [*this, "traceinsight", str(path)]
        print(f"\n{path.name}: {size / 1e6:,.0f} MB, {len(os.sched_getaffinity(0))} cores")
        print(f"{'':40} {'s':>7} {'MB/s':>7} {'x time':>7} {'MB':>7} {'x file':>7}")
        base = None
        for name, command in ways.items():
            if given.only and not any(word in name for word in given.only) and name != REFERENCE:
                continue
            try:
                runs = [measure(command) for _ in range(given.repeat)]
            except RuntimeError as error:
                print(f"{name:40} failed: {str(error).strip().splitlines()[-1][:60]}")
                continue
            seconds, peak = min(run[0] for run in runs), max(run[1] for run in runs)
            base = base or seconds
            print(
                f"{name:40} {seconds:7.2f} {size / 1e6 / seconds:7.0f} {seconds / base:7.2f}"
                f" {peak / 1e6:7.0f} {peak / size:7.2f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
