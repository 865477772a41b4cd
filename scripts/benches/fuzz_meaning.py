"""Change what recordings say and report on them in every form: nothing but the typed error, and no absurd report.

    scripts/bench fuzz_meaning [--count N] [--seed N] [--of kineto|nsys|run] [FILE …]

Unlike `fuzz`, whose changes mostly break a file, these leave it one that is read: other ids, nesting, threads,
devices, streams, steps, names, types, clocks, order; missing, doubled and merged events; exports with other values,
rows, columns and tables; run folders with other logs.  Each report must add up: shares to the window, causes to the
idle time, no figure that is negative, absurd or none.  Seeds are drawn timelines, the project's samples and broken
traces, and any files named.  An input that raises anything else is kept as fuzz-<kind>-<seed>-<number> in the current
folder.
"""

from __future__ import annotations

import argparse
import gzip
import io
import json
import random
import shutil
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fuzz
import fuzz_nsys
import invariants
import meaning

from tbperf.errors import TbperfError, TraceFormatError
from tbperf.readers import Source, find_traces, read_trace

if TYPE_CHECKING:
    from tbperf.trace import Trace

ROOT = Path(__file__).parents[2]
EVENTS = 60
"""Of a sample, one after the other."""
THOROUGHLY_EACH = 20
"""One report in so many is laid out and held against the JSON Schema, too."""
KINDS = ("kineto", "nsys", "run")


def drawn() -> list[dict[str, Any]]:
    """Return drawn timelines: of a GPU with steps and stages, of two ranks' worth of devices, of a CPU run."""
    sys.path.insert(0, str(ROOT))
    from tests.draw import Timeline

    gpu = Timeline()
    for number in range(4):
        at = 1000 * number
        gpu.step(number + 3, at, at + 1000).stage("dataload", at, at + 300).stage("forward", at + 300, at + 600)
        gpu.stage("backward", at + 600, at + 900).op(
            "aten::conv2d", at + 310, at + 350, sequence=number, shapes="[[8]]"
        )
        gpu.range("tbperf/module:model.0 Conv (backbone)", at + 305, at + 400).python("nn.Module: Conv_0", at, at + 9)
        gpu.copy("HtoD", at + 302, at + 309, memory="pageable", call=(at + 301, at + 308)).overhead("gc", at, at + 1)
        gpu.kernel(at + 350, at + 700, name="ampere_sgemm_128x64", call=(at + 340, at + 345))
        gpu.kernel(at + 720, at + 800, name="ncclDevKernel_AllReduce", stream=9, call=(at + 650, at + 655))
        gpu.call("cudaStreamSynchronize", at + 800, at + 890).memset(at + 900, at + 905, call=(at + 880, at + 890))
        gpu.op("ConvolutionBackward0", at + 610, at + 640, thread=(1, 2), sequence=number)
        gpu.allocation(at + 320, 1 << 20, allocated=(number + 1) << 20, reserved=8 << 20).loaded("fetch", at, at + 200)
    two = Timeline()
    for device in (0, 1):
        for number in range(5):
            at = 200 * number + 10 * device
            two.kernel(at, at + 100, device=device, name="k", call=(at - 9, at - 5), thread=(1, 1 + device))
            two.kernel(at + 100, at + 150, device=device, name="nccl:all_reduce", stream=20)
    cpu = Timeline()
    for number in range(3):
        at = 500 * number
        cpu.step(number, at, at + 500).stage("fetch", at, at + 200).stage("inference", at + 200, at + 450)
        cpu.op("aten::conv2d", at + 210, at + 400).op("aten::add", at + 220, at + 230).op(
            "aten::mm", at + 410, at + 420
        )
        cpu.loaded("load_image", at, at + 90).loaded("fetch", at, at + 100, worker=1)
    return [timeline.kineto() for timeline in (gpu, two, cpu)]


def documents(paths: list[Path]) -> list[dict[str, Any]]:
    """Return small traces to start from; drawn ones more often, for they have something of everything."""
    found = drawn() * 4
    samples = [*(ROOT / "tests" / "readers" / "defects").iterdir(), *(ROOT / "sample_traces").rglob("*.trace.json.gz")]
    for path in (*sorted(samples), *paths):
        raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        try:
            document = json.loads(raw.decode("utf-8", "replace"), strict=False)
        except ValueError:
            continue  # of those that are broken, `fuzz` takes care
        if isinstance(document, dict):
            events = document["traceEvents"]
            begin = random.Random(len(events)).randrange(max(1, len(events) - EVENTS))  # noqa: S311 - reproducible
            document["traceEvents"] = events[begin : begin + EVENTS]
            found.append(document)
    return found


class Campaign:
    """Draws inputs of one kind and analyzes them."""

    def __init__(self, kind: str, paths: list[Path], folder: Path) -> None:
        self._paths = paths
        self._folder = folder
        self._count = 0
        self.draw, self.analyze, self.suffix = {
            "kineto": (self._draw_kineto, self._analyze_kineto, ".json"),
            "nsys": (self._draw_nsys, self._analyze_nsys, ".sqlite"),
            "run": (self._draw_run, self._analyze_run, ".tar"),
        }[kind]
        if kind == "kineto":
            self._documents = documents(paths)
        elif kind == "nsys":
            self._databases = [fuzz_nsys.drawn(folder / "seed.sqlite"), *paths]
        else:
            self._runs = [small_run(run, folder / run.name) for run in sorted((ROOT / "sample_traces").glob("*/*/*"))]

    def _check(self, traces: list[Trace]) -> str:
        self._count += 1
        invariants.check(traces, thoroughly=self._count % THOROUGHLY_EACH == 0)
        return "with losses" if any(trace.dropped or trace.notes for trace in traces) else "read"

    def _draw_kineto(self, rng: random.Random) -> bytes:
        return meaning.changed(rng.choice(self._documents), rng, self._documents)

    def _analyze_kineto(self, data: bytes) -> str:
        source = Source("fuzz", lambda: io.BytesIO(data))
        try:
            traces = [read_trace(source, jobs=1)]
        except TraceFormatError:
            return "refused"
        return self._check(traces)

    def _draw_nsys(self, rng: random.Random) -> bytes:
        path = self._folder / "drawn.sqlite"
        shutil.copyfile(rng.choice(self._databases), path)
        meaning.change_database(path, rng)
        return path.read_bytes()

    def _analyze_nsys(self, data: bytes) -> str:
        path = self._folder / "fuzzed.sqlite"
        path.write_bytes(data)
        return self._analyze_path(path)

    def _draw_run(self, rng: random.Random) -> bytes:
        path = self._folder / "changed"
        shutil.rmtree(path, ignore_errors=True)
        shutil.copytree(rng.choice(self._runs), path)
        meaning.change_run_folder(path, rng)
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as archive:
            archive.add(path, "run")
        return packed.getvalue()

    def _analyze_run(self, data: bytes) -> str:
        folder = self._folder / "unpacked"
        shutil.rmtree(folder, ignore_errors=True)
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            archive.extractall(folder)  # noqa: S202 - packed above
        return self._analyze_path(folder / "run")

    def _analyze_path(self, path: Path) -> str:
        traces, refused = [], 0
        try:
            for source in find_traces(path):
                try:
                    traces.append(read_trace(source, jobs=1))
                except TraceFormatError:  # noqa: PERF203 - each trace by itself
                    refused += 1
        except TbperfError:
            refused += 1
        return self._check(traces) if traces else "refused"


def small_run(run: Path, target: Path) -> Path:
    """Copy a run folder with one trace of a few events."""
    shutil.copytree(run, target)
    traces = sorted((target / "trace").iterdir())
    for path in traces[1:]:
        path.unlink()
    document = json.loads(gzip.decompress(traces[0].read_bytes()))
    events = document["traceEvents"]
    steps = [event for event in events if str(event.get("name")).startswith(("ProfilerStep", "tbperf/"))]
    document["traceEvents"] = [event for event in steps if "module:" not in event["name"]][:80] + events[:20]
    traces[0].unlink()
    (target / "trace" / "host_1.1.pt.trace.json").write_text(json.dumps(document))
    return target


def run(count: int, seed: int, paths: list[Path], kind: str) -> int:
    """Analyze so many changed recordings of a kind; return how many raised what they must not."""
    with tempfile.TemporaryDirectory(dir=_in_memory()) as folder:
        campaign = Campaign(kind, paths, Path(folder))
        return fuzz.campaign(count, seed, campaign.draw, campaign.analyze, campaign.suffix, f"{kind}, ")


def _in_memory() -> str | None:
    """Return a folder in memory, where there is one: files are written and read by the thousand."""
    return "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108


def main() -> None:
    """Run, and exit with 1 where anything was raised."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("paths", type=Path, nargs="*")
    options.add_argument("--count", type=int, default=10_000)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--of", choices=KINDS, action="append")
    given = options.parse_args()
    raised = [run(given.count, given.seed, given.paths, kind) for kind in given.of or KINDS]
    sys.exit(any(raised))


if __name__ == "__main__":
    main()
