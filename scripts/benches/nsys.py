"""How fast an Nsight Systems export is read, and in how much memory, against what no reader in Python can do without.

    scripts/bench nsys [FILE] [--rows N] [--keep PATH] [--repeat N]

Without a file, an export of so many rows is made: a training of one process, as `nsys export` writes it (kernels,
API calls, NVTX ranges, OSRT calls).  The reference is a plain SELECT of the same columns with Python's sqlite3, row by
row, in a process of its own and in the same run.  Ratios are of processor time, which holds on a busy machine, too.
"""

from __future__ import annotations

import argparse
import os
import resource
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil

T0 = 10**9
PROCESS = (1 << 48) | (4242 << 24)
REFERENCE = "plain SELECT of the same columns"
KERNEL = (
    "start INTEGER NOT NULL, end INTEGER NOT NULL, deviceId INTEGER NOT NULL, contextId INTEGER NOT NULL,"
    " greenContextId INTEGER, streamId INTEGER NOT NULL, correlationId INTEGER, globalPid INTEGER,"
    " demangledName INTEGER NOT NULL, shortName INTEGER NOT NULL, mangledName INTEGER, launchType INTEGER,"
    " cacheConfig INTEGER, registersPerThread INTEGER NOT NULL, gridX INTEGER NOT NULL, gridY INTEGER NOT NULL,"
    " gridZ INTEGER NOT NULL, blockX INTEGER NOT NULL, blockY INTEGER NOT NULL, blockZ INTEGER NOT NULL,"
    " staticSharedMemory INTEGER NOT NULL, dynamicSharedMemory INTEGER NOT NULL, localMemoryPerThread INTEGER NOT NULL,"
    " localMemoryTotal INTEGER NOT NULL, gridId INTEGER NOT NULL, sharedMemoryExecuted INTEGER, graphNodeId INTEGER,"
    " sharedMemoryLimitConfig INTEGER"
)
RUNTIME = (
    "start INTEGER NOT NULL, end INTEGER NOT NULL, eventClass INTEGER NOT NULL, globalTid INTEGER,"
    " correlationId INTEGER, nameId INTEGER NOT NULL, returnValue INTEGER NOT NULL, callchainId INTEGER"
)
NVTX = (
    "start INTEGER NOT NULL, end INTEGER, eventType INTEGER NOT NULL, rangeId INTEGER, category INTEGER, color INTEGER,"
    " text TEXT, globalTid INTEGER, endGlobalTid INTEGER, textId INTEGER, domainId INTEGER, uint64Value INTEGER,"
    " int64Value INTEGER, doubleValue REAL, uint32Value INTEGER, int32Value INTEGER, floatValue REAL,"
    " jsonTextId INTEGER, jsonText TEXT, binaryData TEXT"
)
OSRT = (
    "start INTEGER NOT NULL, end INTEGER NOT NULL, eventClass INTEGER NOT NULL, globalTid INTEGER,"
    " nameId INTEGER NOT NULL, returnValue INTEGER NOT NULL, nestingLevel INTEGER, callchainId INTEGER NOT NULL"
)
READ = {
    "CUPTI_ACTIVITY_KIND_KERNEL": "start, end, deviceId, streamId, correlationId, demangledName, shortName,"
    " registersPerThread, staticSharedMemory, dynamicSharedMemory, gridX, gridY, gridZ, blockX, blockY, blockZ",
    "CUPTI_ACTIVITY_KIND_RUNTIME": "start, end, globalTid, correlationId, nameId",
    "NVTX_EVENTS": "start, end, eventType, textId, globalTid, domainId, text",
    "OSRT_API": "start, end, globalTid, nameId",
}


def make(path: Path, rows: int) -> Path:
    """Write an export with about so many rows: of ten, four kernels, four calls, one range and one wait."""
    rounds = rows // 10
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA journal_mode=OFF")
        database.execute("PRAGMA synchronous=OFF")
        database.execute("CREATE TABLE StringIds (id INTEGER NOT NULL PRIMARY KEY, value TEXT NOT NULL)")
        names = [f"void cutlass::kernel_{number}<float, {number}>(float const*, float*)" for number in range(200)]
        names += ["cudaLaunchKernel_v7000", "poll"]
        database.executemany("INSERT INTO StringIds VALUES (?, ?)", enumerate(names, 1))
        for table, columns in (("KERNEL", KERNEL), ("RUNTIME", RUNTIME)):
            database.execute(f"CREATE TABLE CUPTI_ACTIVITY_KIND_{table} ({columns})")
        database.execute(f"CREATE TABLE NVTX_EVENTS ({NVTX})")
        database.execute(f"CREATE TABLE OSRT_API ({OSRT})")
        thread = PROCESS | 4242
        calls = range(4 * rounds)
        database.executemany(
            f"INSERT INTO CUPTI_ACTIVITY_KIND_KERNEL VALUES ({','.join('?' * 28)})",  # noqa: S608
            (
                (
                    *(T0 + i * 10_000 + 5000, T0 + i * 10_000 + 12_000, 0, 1, None, 7, i + 1, PROCESS, i % 200 + 1),
                    *(i % 200 + 1, None, 1, 0, 40, 64 + i % 50, 1, 1, 256, 1, 1, 0, 1024, 0, 0, i, 16384, None, 0),
                )
                for i in calls
            ),
        )
        database.executemany(
            "INSERT INTO CUPTI_ACTIVITY_KIND_RUNTIME VALUES (?, ?, 0, ?, ?, 201, 0, NULL)",
            ((T0 + i * 10_000, T0 + i * 10_000 + 4000, thread, i + 1) for i in calls),
        )
        stages = ("tbperf/dataload", "tbperf/forward", "tbperf/backward", "tbperf/optimizer")
        database.executemany(
            "INSERT INTO NVTX_EVENTS (start, end, eventType, text, globalTid, domainId) VALUES (?, ?, 59, ?, ?, 0)",
            ((T0 + i * 40_000, T0 + i * 40_000 + 39_000, stages[i % 4], thread) for i in range(rounds)),
        )
        database.executemany(
            "INSERT INTO OSRT_API VALUES (?, ?, 27, ?, 202, 0, 0, 0)",
            ((T0 + i * 40_000 + 4100, T0 + i * 40_000 + 4900, thread) for i in range(rounds)),
        )
    return path


def select(path: Path) -> None:
    """Read the columns row by row and do nothing with them."""
    with sqlite3.connect(f"file:{path}?mode=ro&immutable=1", uri=True) as database:
        tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master")}
        for table, columns in READ.items():
            if table in tables:
                for _ in database.execute(f"SELECT {columns} FROM {table}"):  # noqa: S608
                    pass


def read(path: Path) -> None:
    """Read the export to a trace."""
    from tbperf.readers import find_traces, read_trace

    for source in find_traces(path):
        trace = read_trace(source)
        print(f"{trace.events:,} events", file=sys.stderr)


def measure(command: list[str]) -> tuple[float, float, int]:
    """Return the processor's seconds of a command, those on the clock, and its peak of memory; all with children."""
    begun, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    process = psutil.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    peak, done = 0, threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.05):
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
    seconds, after = time.perf_counter() - begun, resource.getrusage(resource.RUSAGE_CHILDREN)
    done.set()
    watcher.join()
    if process.returncode:
        raise RuntimeError(errors.decode()[-500:])
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, seconds, peak


def main() -> None:
    """Print a table of seconds, rows a second, memory and ratios."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("export", type=Path, nargs="?", help="an export to read instead of one that is made")
    options.add_argument("--rows", type=int, default=2_000_000, help="rows of the export that is made")
    options.add_argument("--keep", type=Path, help="keep the export that is made under this name")
    options.add_argument("--repeat", type=int, default=3, help="runs of each way; the fastest counts")
    options.add_argument("--way", help=argparse.SUPPRESS)
    given = options.parse_args()
    if given.way:
        {"select": select, "read": read}[given.way](given.export)
        return
    with tempfile.TemporaryDirectory() as folder:
        path = given.export or make(given.keep or Path(folder, "bench.sqlite"), given.rows)
        size = path.stat().st_size
        this = [sys.executable, __file__, str(path), "--way"]
        analyze = [sys.executable, "-m", "tbperf", "analyze", "--format", "json"]
        ways = {
            REFERENCE: [*this, "select"],
            "tbperf reads it": [*this, "read"],
            "tbperf analyze (all analyses, JSON)": [*analyze, str(path)],
        }
        print(f"{path.name}: {size / 1e6:,.0f} MB, {len(os.sched_getaffinity(0))} cores")
        print(f"{'':40} {'CPU s':>7} {'s':>7} {'x SELECT':>8} {'MB':>7} {'x file':>7}")
        base = None
        for name, command in ways.items():
            runs = [measure(command) for _ in range(given.repeat)]
            busy, seconds, peak = min(run[0] for run in runs), min(run[1] for run in runs), max(run[2] for run in runs)
            base = base or busy
            print(
                f"{name:40} {busy:7.2f} {seconds:7.2f} {busy / base:8.2f} {peak / 1e6:7.0f} {peak / size:7.2f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
