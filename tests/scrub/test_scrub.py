"""A scrubbed copy tells the same of the run and nothing of anything else; no file is ever written over."""

import gzip
import json
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

import tbperf
from tbperf.errors import TbperfError, TraceFormatError, UsageError
from tbperf.scrub import Removed, scrub
from tests.draw import Timeline
from tests.draw_nsys import _PROCESS
from tests.readers.test_nsys import export

CORPUS = Path(__file__).parents[3] / "shared" / "corpus"
SECRETS = ("s3cret", "alice", "node17", "password", "somebody")


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


def figures(path):
    (trace, *others) = tbperf.analyze(path).traces
    assert not others
    return {k: v for k, v in vars(trace).items() if k not in ("path", "bytes", "warnings", "nsys", "events")}


def test_an_export_without_what_is_private(tmp_path):
    source, target = export(tmp_path / "in.sqlite", private), tmp_path / "out.sqlite"
    before = source.read_bytes()
    assert set(secrets_in(source)) == set(SECRETS)

    removed = scrub(source, target)

    assert not secrets_in(target)
    assert figures(target) == figures(source)
    assert source.read_bytes() == before
    assert removed.tables == ["TARGET_INFO_SYSTEM_ENV"]
    assert sorted(removed.metadata) == ["EXPORT_HOST", "EXPORT_INPUT_PATH_ABS"]
    assert removed.foreign_rows == 3
    assert removed.strings == 4
    assert removed.paths == 5
    texts = sqlite3.connect(target).execute("SELECT text FROM NVTX_EVENTS ORDER BY rowid").fetchall()
    assert texts[-1] == ("load 1.jpg then 2.jpg",)
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


@pytest.mark.parametrize("suffixes", [(".json", ".json"), (".json.gz", ".json.gz"), (".json", ".json.gz")])
def test_a_kineto_trace_without_what_is_private(tmp_path, suffixes):
    source, target = (tmp_path / f"{name}{suffix}" for name, suffix in zip(("in", "out"), suffixes, strict=True))
    kineto(source)

    removed = scrub(source, target)

    assert not secrets_in(target)
    before, after = figures(source), figures(target)
    assert (after.pop("versions"), after.pop("phase")) == (before.pop("versions"), before.pop("phase"))
    assert after == before
    assert sorted(removed.metadata) == ["environ", "host_name", "tbperf.command"]
    text = gzip.decompress(target.read_bytes()) if target.suffix == ".gz" else target.read_bytes()
    assert b'"train.py(12): step"' in text
    assert b'"torch/nn/modules/conv.py(5): forward"' in text
    assert b'"tbperf/forward"' in text


@pytest.mark.parametrize(
    ("text", "cut"),
    [
        ("tbperf/forward", "tbperf/forward"),
        ("void f<(int)4, a*>(float const*, b)", "void f<(int)4, a*>(float const*, b)"),
        ("a / b", "a / b"),
        ("1/2 and/or", "1/2 and/or"),
        ("/usr/lib/x.so", "x.so"),
        ("file:///tmp/a b", "a b"),
        ("/home/John Smith/run/t.py(3): f", "t.py(3): f"),
        ("C:\\Users\\John Smith\\t.py", "t.py"),
        ("/home/alice", "~"),
        ("~/data/x.yaml", "x.yaml"),
        ("data=/data/coco.yaml,epochs=3", "data=coco.yaml,epochs=3"),
    ],
)
def test_paths_are_cut_and_names_are_not(text, cut):
    removed = Removed()

    assert removed.cut(text) == cut
    assert removed.paths == (text != cut)


def test_nothing_is_ever_written_over(tmp_path):
    source = export(tmp_path / "in.sqlite")
    taken = tmp_path / "out.sqlite"
    taken.write_text("mine")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")

    for target in (taken, source, tmp_path / "dangling"):
        with pytest.raises(UsageError, match="stands there already"):
            scrub(source, target)
    assert taken.read_text() == "mine"
    assert tbperf.analyze(source).traces


def test_a_copy_that_fails_leaves_nothing_behind(tmp_path):
    source = export(tmp_path / "in.sqlite")
    source.write_bytes(source.read_bytes()[:-1])
    other = tmp_path / "photo.png"
    other.write_bytes(b"\x89PNG")

    for broken in (source, other):
        with pytest.raises(TraceFormatError):
            scrub(broken, tmp_path / "out")
    with pytest.raises(TbperfError):
        scrub(export(tmp_path / "good.sqlite"), tmp_path / "no folder" / "out")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["good.sqlite", "in.sqlite", "photo.png"]


def test_the_command_says_what_it_left_out(tmp_path):
    source, target = export(tmp_path / "in.sqlite", private), tmp_path / "out.sqlite"
    command = [sys.executable, "-m", "tbperf", "scrub", source, target]

    done = subprocess.run(command, capture_output=True, text=True, check=True)
    again = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.stdout == ""
    assert "left out · tables: TARGET_INFO_SYSTEM_ENV" in done.stderr
    assert done.stderr.splitlines()[-1] == f"tbperf  written to {target}"
    assert again.returncode == 2
    assert not any(word in done.stderr for word in SECRETS)


@pytest.mark.skipif(not CORPUS.is_dir(), reason="the corpus of public traces is not at hand")
@pytest.mark.parametrize("name", ["fuser", "saxpy-2022.2-textid", "graph-trace-2025.5.2"])
def test_real_exports_keep_their_figures(tmp_path, name):
    source = CORPUS / "nsys" / f"{name}.sqlite"
    removed = scrub(source, tmp_path / "out.sqlite")
    contents = (tmp_path / "out.sqlite").read_bytes()

    assert figures(tmp_path / "out.sqlite") == figures(source)
    assert removed.strings > 300
    assert not [word for word in (b"PATH=", b"HOME=", b"/home/", b"kworker", b"/usr/lib") if word in contents]


@pytest.mark.skipif(shutil.which("nsys") is None, reason="nsys is not installed")
def test_nsys_reads_the_copy(tmp_path):
    scrub(export(tmp_path / "in.sqlite", private), tmp_path / "out.sqlite")
    command = ["nsys", "stats", "--format=csv", "--report=gpukernsum", "--output=-", tmp_path / "out.sqlite"]

    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert "gemm" in done.stdout, done.stdout + done.stderr
