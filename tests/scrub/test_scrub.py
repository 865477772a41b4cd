"""A scrubbed copy tells the same of the run and nothing of anything else; nothing is ever written over."""

import gzip
import io
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

import tbperf
from tbperf.errors import TbperfError, TraceFormatError, UsageError
from tbperf.scrub import scrub
from tests.draw import Timeline
from tests.draw_nsys import _PROCESS
from tests.readers.test_nsys import export
from tests.scrub.figures import assert_same_report

ROOT = Path(__file__).parents[2]
SAMPLES = sorted((ROOT / "sample_traces" / "tbperf").glob("*/*"))
DEFECTS = sorted((ROOT / "tests" / "readers" / "defects").glob("*.json"))
SHARED = ROOT.parent / "shared"
CORPUS = [
    *(path for path in sorted((SHARED / "corpus").glob("kineto/*json*")) if "mi300-rocm" not in path.name),
    *sorted((SHARED / "corpus").glob("nsys/*.sqlite")),
]
SECRETS = ("s3cret", "alice", "node17", "password", "somebody")

needs_corpus = pytest.mark.skipif(not CORPUS, reason="the corpus of public traces is not at hand")


def private(export):
    """Add what real exports carry: environments, output, hosts, users, paths, other programs."""
    export.add("TARGET_INFO_SYSTEM_ENV", name="Hostname", value="node17")
    export.add("TARGET_INFO_SYSTEM_ENV", name="DeviceEnvironment", value="HOME=/home/alice\0TOKEN=s3cret")
    export.add("META_DATA_EXPORT", name="EXPORT_HOST", value="node17")
    export.add("META_DATA_EXPORT", name="EXPORT_INPUT_PATH_ABS", value="/home/alice/run.nsys-rep")
    export.string("PATH=/home/alice/bin\0API_KEY=s3cret")
    export.string("password: the program's own output")
    foreign = 99 << 24
    export.add("PROCESSES", globalPid=_PROCESS, pid=4242, name="/home/alice/env/bin/python")
    export.add("PROCESSES", globalPid=foreign, pid=99, name="somebody-elses-program")
    export.add("ThreadNames", nameId=export.string("somebody-elses-thread"), globalTid=foreign | 5)
    export.add("OSRT_API", start=10**9, end=10**9 + 5, globalTid=foreign | 5, nameId=export.string("s3cret_call"))
    export.add(
        "DIAGNOSTIC_EVENT", severity=2, text="see /home/alice/s3cret/x.log and C:\\Users\\alice\\y.log", globalPid=0
    )
    text = "load /data/alice/images/1.jpg then ~alice/2.jpg"
    row = {"start": 10**9, "end": 10**9 + 7, "eventType": 59, "globalTid": _PROCESS | 1}
    export.add("NVTX_EVENTS", **row, text=text, category="s3cret words where numbers belong")


def secrets_in(path):
    data = path.read_bytes()
    data = gzip.decompress(data) if path.suffix == ".gz" else data
    return [word for word in SECRETS if word.encode() in data]


def test_an_export_without_what_is_private(tmp_path):
    source, target = export(tmp_path / "in.sqlite", private), tmp_path / "out.sqlite"
    before = source.read_bytes()
    assert set(secrets_in(source)) == set(SECRETS)

    removed = scrub(source, target)

    assert not secrets_in(target)
    assert_same_report(source, target)
    assert source.read_bytes() == before
    left_out = removed.entries
    assert left_out["tables"] == 1
    assert left_out["rows of metadata"] == 2
    assert left_out["rows of other processes"] == 3
    assert left_out["registered strings that nothing listed refers to"] == 4
    texts = sqlite3.connect(target).execute("SELECT text FROM NVTX_EVENTS ORDER BY rowid").fetchall()
    assert texts[0] == ("ProfilerStep#1",)
    assert texts[-1][0].startswith("anon")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["in.sqlite", "out.sqlite"]


def kineto(path):
    timeline = Timeline().step(1, 0, 100).kernel(10, 40, call=(5, 6)).stage("forward", 0, 50)
    timeline.python("/home/alice/s3cret/train.py(12): step", 0, 90)
    timeline.python("/home/alice/env/lib/python3.11/site-packages/torch/nn/modules/conv.py(5): forward", 0, 90)
    document = timeline.kineto()
    document |= {"host_name": "node17", "traceName": "/home/alice/t.json", "environ": {"TOKEN": "s3cret"}}
    document |= {"tbperf": {"phase": "train", "command": "yolo train password"}, "cuda_driver_version": 12040}
    data = json.dumps(document, indent=1).encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def test_what_comes_through_a_pipe_is_scrubbed_like_a_file(tmp_path):
    source = kineto(tmp_path / "in.json")
    command = [sys.executable, "-m", "tbperf", "scrub", "-", tmp_path / "out.json.zst"]

    done = subprocess.run(command, input=source.read_bytes(), capture_output=True, check=False)

    assert done.returncode == 0, done.stderr
    assert_same_report(source, tmp_path / "out.json.zst")


def test_a_compressed_export_is_read(tmp_path):
    source = export(tmp_path / "in.sqlite", private)
    (tmp_path / "in.sqlite.gz").write_bytes(gzip.compress(source.read_bytes()))

    scrub(tmp_path / "in.sqlite.gz", tmp_path / "out.sqlite")

    assert not secrets_in(tmp_path / "out.sqlite")
    assert_same_report(source, tmp_path / "out.sqlite")


@pytest.mark.parametrize("suffixes", [(".json", ".json"), (".json.gz", ".json.gz"), (".json", ".json.gz")])
def test_a_kineto_trace_without_what_is_private(tmp_path, suffixes):
    source, target = (tmp_path / f"{name}{suffix}" for name, suffix in zip(("in", "out"), suffixes, strict=True))
    kineto(source)

    removed = scrub(source, target)

    assert not secrets_in(target)
    assert_same_report(source, target)
    assert removed.entries["entries of the metadata"] == 4
    text = gzip.decompress(target.read_bytes()) if target.suffix == ".gz" else target.read_bytes()
    assert b'anon1.py(12): step"' in text
    assert b'"torch/nn/modules/conv.py(5): forward"' in text
    assert b'"tbperf/forward"' in text


def test_the_same_name_has_the_same_pseudonym_everywhere(tmp_path):
    timeline = Timeline().range("my own range", 0, 9).range("another", 10, 19).range("my own range", 20, 29)
    document = timeline.kineto()
    document["traceEvents"] += [
        {**event, "cat": "gpu_user_annotation", "pid": 0, "tid": 7} for event in document["traceEvents"]
    ]
    source = tmp_path / "in.json"
    source.write_text(json.dumps(document))

    scrub(source, tmp_path / "out.json")

    names = [event["name"] for event in json.loads((tmp_path / "out.json").read_bytes())["traceEvents"]]
    assert names == ["anon1", "anon2", "anon1"] * 2


def test_a_trace_that_breaks_off_gives_a_copy_that_breaks_off(tmp_path):
    """Else the copy would read as a whole trace."""
    events = [
        {"ph": "X", "cat": "kernel", "name": "k", "pid": 0, "tid": 7, "ts": at, "dur": 1} for at in range(0, 90, 10)
    ]
    source, target = tmp_path / "in.json", tmp_path / "out.json"
    source.write_text(json.dumps({"cuda_driver_version": 12040, "host_name": "node17", "traceEvents": events})[:-50])

    scrub(source, target)

    assert_same_report(source, target)
    (trace,) = tbperf.analyze(target).traces
    assert trace.truncated
    assert trace.versions["cuda_driver"] == "12.4"
    assert not secrets_in(target)


def test_the_rank_that_only_the_name_of_the_file_tells_is_kept(tmp_path):
    source = kineto(tmp_path / "alice_rank3.json")

    scrub(source, tmp_path / "out.json")

    assert tbperf.analyze(tmp_path / "out.json").traces[0].rank == 3


def test_nothing_is_ever_written_over(tmp_path):
    source = export(tmp_path / "in.sqlite")
    taken = tmp_path / "out.sqlite"
    taken.write_text("mine")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "pipe")

    for target in (taken, source, tmp_path / "dangling", tmp_path / "pipe", Path(os.devnull), tmp_path):
        with pytest.raises(UsageError, match="already exists"):
            scrub(source, target)
    assert taken.read_text() == "mine"
    assert tbperf.analyze(source).traces
    assert not Path(os.devnull).is_file()


def test_what_came_to_exist_meanwhile_is_not_written_over(tmp_path, monkeypatch):
    from tbperf import scrub as module

    source, target = kineto(tmp_path / "in.json"), tmp_path / "out.json"
    put = module._put

    def late(part, where):
        where.write_text("mine")
        put(part, where)

    monkeypatch.setattr(module, "_put", late)

    with pytest.raises(UsageError, match="already exists"):
        scrub(source, target)
    assert target.read_text() == "mine"


def test_file_systems_without_links_will_do(tmp_path, monkeypatch):
    def refused(*_paths):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refused)
    scrub(kineto(tmp_path / "in.json"), tmp_path / "out.json")

    assert_same_report(tmp_path / "in.json", tmp_path / "out.json")


def test_a_copy_that_fails_leaves_nothing_behind(tmp_path):
    source = export(tmp_path / "in.sqlite")
    source.write_bytes(source.read_bytes()[:-1])
    other = tmp_path / "photo.png"
    other.write_bytes(b"\x89PNG")
    archive = tmp_path / "ranks.tar"
    with tarfile.open(archive, "w") as packed:
        packed.addfile(tarfile.TarInfo("t.json"), io.BytesIO())

    for broken in (source, other, archive):
        with pytest.raises(TraceFormatError):
            scrub(broken, tmp_path / "out")
    with pytest.raises(TbperfError, match="no such file"):
        scrub(export(tmp_path / "good.sqlite"), tmp_path / "no folder" / "out")
    with pytest.raises(UsageError, match="written as it is"):
        scrub(tmp_path / "good.sqlite", tmp_path / "out.sqlite.gz")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["good.sqlite", "in.sqlite", "photo.png", "ranks.tar"]


def test_the_command_says_what_it_left_out_and_no_more(tmp_path):
    source, target = export(tmp_path / "in.sqlite", private), tmp_path / "out.sqlite"
    command = [sys.executable, "-m", "tbperf", "scrub", source, target]

    done = subprocess.run(command, capture_output=True, text=True, check=True)
    again = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.stdout == ""
    assert "tbperf  left out: " in done.stderr
    assert "1 tables" in done.stderr
    assert done.stderr.splitlines()[-1] == f"tbperf  written to {target}"
    assert again.returncode == 2
    assert again.stderr == f"tbperf: {target}: already exists\nhint: name a new file\n"
    assert not any(word in done.stderr for word in SECRETS)


_PEAK = """
import re, sys
from pathlib import Path
from tbperf.scrub import scrub
scrub(Path(sys.argv[1]), Path(sys.argv[2]))
print(re.search("VmHWM:[^0-9]*([0-9]+) kB", Path("/proc/self/status").read_text())[1])
"""
"""What getrusage calls the peak may be that of the process that started this one."""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the system does not tell the peak of a process")
def test_memory_does_not_grow_with_the_trace(tmp_path):
    """Pieces are written and let go; what is kept is a number for each name that was replaced."""
    args = {"External id": 1, "Sequence number": 2, "Input Dims": [[1, 2, 3]], "Input type": ["float"]}
    event = {"ph": "X", "cat": "cpu_op", "name": "acme::op", "pid": 1, "tid": 1, "ts": 5, "dur": 1, "args": args}
    peaks = []
    for count in (50_000, 150_000):
        source = tmp_path / f"{count}.json"
        source.write_text('{"traceEvents": [' + ", ".join([json.dumps(event)] * count) + "]}")
        done = subprocess.run(
            [sys.executable, "-c", _PEAK, source, tmp_path / f"{count}.out.json"], capture_output=True, check=True
        )
        peaks.append(int(done.stdout))

    assert peaks[1] < 1.25 * peaks[0], peaks


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda path: path.name)
def test_samples_keep_their_reports(tmp_path, sample):
    scrub(sample, tmp_path / "out")

    assert_same_report(sample, tmp_path / "out")


@pytest.mark.parametrize("defect", DEFECTS, ids=lambda path: path.stem)
def test_broken_traces_keep_their_figures(tmp_path, defect):
    """But for files in which there is nothing to read."""
    from tests.scrub.figures import accounting

    try:
        scrub(defect, tmp_path / "out.json")
    except TraceFormatError:
        assert accounting(defect) is None
    else:
        assert accounting(tmp_path / "out.json") == accounting(defect)


@needs_corpus
@pytest.mark.parametrize("source", CORPUS, ids=lambda path: path.name)
def test_public_recordings_keep_their_reports(tmp_path, source):
    target = tmp_path / ("out.sqlite" if source.suffix == ".sqlite" else "out.json")
    scrub(source, target)
    contents = target.read_bytes()

    assert_same_report(source, target)
    private = (b"PATH=", b"HOME=", b"/home/", b"kworker", b"/usr/lib", b"facebook", b"username", b"twshared", b"mojif")
    assert not [word for word in private if word in contents]


@pytest.mark.parametrize("name", ["scrub_kineto.json", "scrub_traceName.json"])
def test_what_an_earlier_version_left_is_gone(tmp_path, name):
    source = SHARED / "field" / "breakage" / name
    if not source.exists():
        pytest.skip("what broke earlier is not at hand")
    scrub(source, tmp_path / name)
    contents = (tmp_path / name).read_bytes().lower()

    words = (b"secret", b"acme", b"kunden", b"client", b"hunter", b"drive", b"token", b"jane", b"node7", b"argv")
    assert not [word for word in words if word in contents]


@pytest.mark.skipif(shutil.which("nsys") is None, reason="nsys is not installed")
def test_nsys_reads_the_copy(tmp_path):
    scrub(export(tmp_path / "in.sqlite", private), tmp_path / "out.sqlite")
    command = ["nsys", "stats", "--format=csv", "--report=gpukernsum", "--output=-", tmp_path / "out.sqlite"]

    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert "gemm" in done.stdout, done.stdout + done.stderr
