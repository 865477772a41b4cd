"""A scrubbed run folder is a run folder with the same report, and no name of a file says more than it may."""

import gzip
import json
import os
import re
import shutil
from pathlib import Path

import pytest

import tbperf
from tbperf.errors import TraceFormatError, UsageError
from tbperf.readers.run import read_run
from tbperf.scrub import scrub
from tbperf.scrub.allowed import LOADED_BATCH, LOGGED_STEP
from tests.draw import Timeline
from tests.scrub.figures import assert_same_report
from tests.scrub.secrets import MARK, is_in, planted
from tests.scrub.test_secrets import QUICK, chances, given

SAMPLE = Path(__file__).parents[2] / "sample_traces" / "tbperf" / "0.1.0" / "yolov8n-train-workers-cpu"


def files_of(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def contents_of(folder):
    for path in folder.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            yield gzip.decompress(data) if path.suffix == ".gz" else data


def test_a_run_folder_gives_a_run_folder(tmp_path):
    before = {path: path.read_bytes() for path in SAMPLE.rglob("*") if path.is_file()}
    removed = scrub(SAMPLE, tmp_path / "out")

    assert {path: path.read_bytes() for path in SAMPLE.rglob("*") if path.is_file()} == before
    assert files_of(tmp_path / "out") == [name.replace("vm_", "host1_") for name in files_of(SAMPLE)]
    first, last = (tbperf.analyze(path).traces for path in (SAMPLE, tmp_path / "out"))
    assert [trace.run.versions for trace in last] == [trace.run.versions for trace in first]
    assert [trace.loader_work for trace in last] == [trace.loader_work for trace in first]
    assert [trace.unprofiled for trace in last] == [trace.unprofiled for trace in first]
    assert [trace.hardware for trace in last] == [trace.hardware for trace in first]
    assert first[0].run.arguments["train"]["data"] == "shapes/data.yaml"
    assert last[0].run.arguments["train"]["data"].startswith("anon")
    assert last[0].run.arguments["train"]["model"] == "yolov8n.yaml"
    assert removed.entries["files"] == 0


@QUICK
@given(chance=chances)
def test_secrets_in_a_run_folder(tmp_path_factory, chance):
    """In every file, in names of files and folders, in files that nobody knows."""
    folder = tmp_path_factory.mktemp("run")
    source, target = folder / MARK, folder / "out"
    shutil.copytree(SAMPLE, source)
    for trace in source.glob("trace/*.gz"):
        trace.unlink()
    write_trace(source / "trace" / f"{MARK}_21208.1795579103742157352.pt.trace.json.gz", chance)
    run = json.loads((source / "run.json").read_bytes())
    run["command"] += [MARK, f"data={MARK}.yaml", f"--{MARK}=3"]
    (source / "run.json").write_text(json.dumps(planted(chance, run, share=0.05)))
    for name in ("steps.21208.jsonl", "hardware.jsonl"):
        lines = (source / name).read_text().splitlines()
        broken = [*lines, "{", MARK, json.dumps({"phase": MARK})]
        (source / name).write_text("\n".join(json.dumps(planted(chance, _read(line), share=0.05)) for line in broken))
    loader = source / "loader.21211.bin"
    loader.write_bytes(loader.read_bytes().replace(b'"Mosaic"', b'"%b"' % MARK.encode()) + MARK.encode())
    for place in (
        f"{MARK}.json",
        f"trace/{MARK}.txt",
        f"plugins/{MARK}.pt.trace.json",
        f"journal/{MARK}",
        f"steps.{MARK}.jsonl",
    ):
        (source / place).parent.mkdir(exist_ok=True)
        (source / place).write_text(json.dumps({"traceEvents": [{"name": MARK}]}))
    (source / "link").symlink_to(source / "run.json")

    scrub(source, target)

    assert not any(map(is_in, contents_of(target)))
    assert not is_in("\n".join(files_of(target)).encode())
    assert read_run(target) is not None or read_run(source) is None


def _read(line):
    try:
        return json.loads(line)
    except ValueError:
        return line


def write_trace(path, chance=None, rank=None):
    timeline = Timeline().step(8, 0, 100).kernel(10, 40, call=(5, 6)).stage("forward", 0, 50)
    document = timeline.kineto() | {"tbperf": {"pid": 21208, "phase": "train"}}
    document["traceEvents"][0]["name"] = f"{MARK}_kernel"
    if rank is not None:
        document["distributedInfo"] = {"rank": rank, "world_size": 2}
    data = json.dumps(planted(chance, document, share=0.1) if chance else document).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def test_ranks_and_their_order_stay(tmp_path):
    source = tmp_path / "logs"
    for name in ("zulu_rank0.json", "alpha_rank1.json", "mike_rank2.json.gz"):
        write_trace(source / "acme run" / name)

    scrub(source, tmp_path / "out")

    assert files_of(tmp_path / "out") == [
        "folder1/trace1_rank1.json",
        "folder1/trace2_rank2.json.gz",
        "folder1/trace3_rank0.json",
    ]
    assert_same_report(source, tmp_path / "out")


def test_folders_of_run_folders_stay_such(tmp_path):
    for name in ("before acme", "2026-11-24-0930"):
        shutil.copytree(SAMPLE, tmp_path / "runs" / "tbperf" / name)

    scrub(tmp_path / "runs", tmp_path / "out")

    runs = [path.parent for path in sorted((tmp_path / "out").rglob("run.json"))]
    assert [path.name for path in runs] == ["2026-11-24-0930", "folder1"]
    for run in runs:
        assert_same_report(SAMPLE, run)


def test_an_export_in_a_run_folder_is_scrubbed_like_any(tmp_path):
    source = tmp_path / "run"
    shutil.copytree(SAMPLE, source)
    shutil.rmtree(source / "trace")
    (source / "nsys").mkdir()
    Timeline().step(1, 0, 100).kernel(10, 40, name=MARK, call=(5, 6)).nsys(source / "nsys" / "report.sqlite")

    scrub(source, tmp_path / "out")

    assert "nsys/report.sqlite" in files_of(tmp_path / "out")
    assert not any(map(is_in, contents_of(tmp_path / "out")))
    assert_same_report(source, tmp_path / "out")


def test_a_trace_that_cannot_be_read_is_left_out_and_counted(tmp_path):
    write_trace(tmp_path / "in" / "good.pt.trace.json")
    (tmp_path / "in" / "bad.pt.trace.json").write_text('{"a": 1}')
    (tmp_path / "in" / "notes.txt").write_text("mine")
    (tmp_path / "in" / "z.pt.trace.json").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "in" / "run.json")

    removed = scrub(tmp_path / "in", tmp_path / "out")

    assert files_of(tmp_path / "out") == ["trace2.pt.trace.json"]
    assert removed.entries["files"] == 4


def test_a_folder_without_recordings_is_refused_and_nothing_is_left(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "notes.txt").write_text("mine")

    with pytest.raises(TraceFormatError, match="nothing in this folder"):
        scrub(tmp_path / "in", tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


@pytest.mark.parametrize("place", ["out", "trace/out", "."])
def test_a_copy_never_goes_into_the_folder_that_is_read(tmp_path, place):
    shutil.copytree(SAMPLE, tmp_path / "run")
    before = files_of(tmp_path / "run")

    with pytest.raises(UsageError):
        scrub(tmp_path / "run", tmp_path / "run" / place)
    assert files_of(tmp_path / "run") == before


def test_traces_that_are_links_are_followed(tmp_path):
    """On clusters, traces lie in a store of their own."""
    write_trace(tmp_path / "store" / "x.pt.trace.json")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "x.pt.trace.json").symlink_to(tmp_path / "store" / "x.pt.trace.json")

    scrub(tmp_path / "in", tmp_path / "out")

    (copy,) = (tmp_path / "out").iterdir()
    assert not copy.is_symlink()
    assert_same_report(tmp_path / "in", tmp_path / "out")


def test_a_copy_can_be_scrubbed_once_more(tmp_path):
    scrub(SAMPLE, tmp_path / "once")
    scrub(tmp_path / "once", tmp_path / "twice")

    assert files_of(tmp_path / "once") == files_of(tmp_path / "twice")
    assert_same_report(tmp_path / "once", tmp_path / "twice")


def test_what_the_page_about_run_folders_says_of_steps_and_loaders_stays():
    page = (SAMPLE.parents[3] / "docs" / "run-folder.md").read_text()
    sections = dict(re.findall(r"^## (\S+)\n(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL))
    no_fields = {"off", "warmup", "active", "beside", "/proc", "run.json", "hardware.jsonl"}

    told = set(re.findall(r"`([^`\s]+)`", sections["steps.*.jsonl"]))
    assert told - no_fields <= set(LOGGED_STEP)
    told = set(re.findall(r"`([^`\s]+)`", sections["loader.*.bin"]))
    assert {"worker", "pid", "parent", "batch", "records", "names"} <= told
    assert {"worker", "pid", "parent", "batch", "records", "names"} == set(LOADED_BATCH)
