"""What is no trace is called what it is, in one line; a folder goes on without what cannot be read, and says so."""

import json
import os
import pickle
import socket
import struct
import subprocess
import sys

import pytest

import tbperf
from tbperf.errors import TraceFormatError
from tests.draw import Timeline
from tests.readers.test_nsys import export
from tests.readers.test_wrapped import zipped

FOREIGN = {
    "nothing": (b"", "the file is empty"),
    "a pointer of Git LFS": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614\nsize 12345\n",
        "a pointer of Git LFS",
    ),
    "a pointer of git-annex": (b"/annex/objects/SHA256E-s1--abc.json\n", "a pointer of git-annex"),
    "a login page": (b"<!DOCTYPE html>\n<html><head><title>Sign in</title>", "an HTML page"),
    "a page in capitals": (b"\n  <HTML>", "an HTML page"),
    "an answer of a bucket": (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "an XML document"),
    "an answer of an interface": (b'{"message": "Not Found", "documentation_url": "x"}', "a server's answer"),
    "an event file": (
        struct.pack("<Q", 24) + b"\0\0\0\0" + b"\x09\0\0\x80\x8d\x94\x11\xda\x41\x1a\x0dbrain.Event:2" + b"\0\0\0\0",
        "an event file of TensorBoard",
    ),
    "a report of ncu": (b"NVR\0" + bytes(60), "a report of Nsight Compute"),
    "a pickle": (pickle.dumps({"segments": []}), "a pickle of Python"),
    "a model": (zipped({"model/data.pkl": b"\x80\x02}q\0.", "model/version": b"3"}), "what torch.save writes"),
    "a page in a zip archive": (zipped({"index.html": b"<html>"}), "no traces in this archive"),
    "a write-ahead log": (b"\x37\x7f\x06\x82" + bytes(28), "the write-ahead log of a database"),
    "a journal": (b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7" + bytes(20), "the journal of a database"),
    "7-Zip": (b"7z\xbc\xaf\x27\x1c" + bytes(20), "an archive of 7-Zip"),
    "lz4": (b"\x04\x22\x4d\x18" + bytes(20), "a file that lz4 compressed"),
    "a trace of Perfetto": (b"\x0a\x23\x0a\x21\x08\x01" + bytes(30), "a protobuf, such as a trace of Perfetto"),
    "a trace of XLA": (b"\x0a\x99\x02\x12\x09/host:CPU" + bytes(30), "a protobuf"),
    "ftrace": (b"# tracer: nop\n#\n", "a trace of the Linux kernel"),
    "an image": (b"\x89PNG\r\n\x1a\n", "an image"),
    "a program": (b"#!/bin/sh\n", "a program"),
    "zeros": (bytes(5000), "nothing but zeros"),
    "our own report": (b'{\n  "tbperf": "0.1.0",\n  "verdict": []}', "a report of tbperf"),
    "run.json": (b'{"schema": "tbperf-run/1"}', "the account of a run folder"),
    "hardware.jsonl": (b'{"schema": "tbperf-hardware/1", "columns": []}\n[1]', "the hardware's log"),
    "an export as HDF5": (b"\x89HDF\r\n\x1a\n" + bytes(40), "an HDF5 file"),
    "an export as JSON": (
        b'{"Type":75,"NvtxEvent":{"Type":75,"Timestamp":"5684160128"}}\n',
        "an export of nsys as JSON",
    ),
    "events on a line each": (
        b'{"ph": "X", "name": "a"}\n{"ph": "X", "name": "b"}\n',
        "trace events, but no list of them",
    ),
    "an execution trace": (b'{"schema": "1.1.1-chakra.0.0.4", "pid": 1, "nodes": []}', "an execution trace of PyTorch"),
    "a profile for speedscope": (
        b'{"$schema": "https://www.speedscope.app/file-format-schema.json", "shared": {}}',
        "a profile for speedscope",
    ),
    "a notebook": (b'{"cells": [], "nbformat": 4}', "a notebook of Jupyter"),
    "other JSON": (b'{"a": [1, 2, {"b": "traceEvents"}]}', "no list of trace events"),
    "text": (b"Total Time (ns) and nothing else", "not a trace that tbperf can read"),
    "noise": (bytes(range(128, 256)) * 4, "not a trace that tbperf can read"),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_what_is_no_trace_is_called_what_it_is(tmp_path, name):
    content, says = FOREIGN[name]
    path = tmp_path / "a.pt.trace.json"
    path.write_bytes(content)

    with pytest.raises(TraceFormatError) as refused:
        tbperf.analyze(path)

    assert refused.value.message.startswith(f"{path}: ")
    assert says in refused.value.message
    assert refused.value.hint


# Folders


@pytest.fixture
def folder(tmp_path):
    """A folder with one trace, and much that cannot be read or never ends."""
    folder = tmp_path / "folder"
    folder.mkdir()
    Timeline().kernel(0, 10).write(folder / "good.pt.trace.json")
    return folder


def test_a_folder_goes_on_without_what_is_no_file_and_says_so(folder):
    os.mkfifo(folder / "pipe.pt.trace.json")
    os.mkfifo(folder / "pipe.sqlite")
    (folder / "dangling.pt.trace.json").symlink_to("nowhere")
    (folder / "loop.pt.trace.json").symlink_to("loop.pt.trace.json")
    (folder / "annexed.pt.trace.json").symlink_to(".git/annex/objects/x/y.json")
    (folder / "page.pt.trace.json").write_text("<html>")
    (folder / "empty.sqlite").touch()
    (folder / "around").symlink_to(folder)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(folder / "s.pt.trace.json"))

    report = tbperf.analyze(folder)

    assert [trace.path for trace in report.traces] == [str(folder / "good.pt.trace.json")]
    reasons = {unread.path.rpartition("/")[2]: unread.reason for unread in report.unread}
    assert reasons.keys() == {f"{n}.pt.trace.json" for n in ("pipe", "dangling", "loop", "annexed", "page", "s")} | {
        "pipe.sqlite"
    }
    assert "a named pipe, not a file" in reasons["pipe.pt.trace.json"]
    assert "a socket, not a file" in reasons["s.pt.trace.json"]
    assert reasons["dangling.pt.trace.json"] == "a link to nowhere, which is not there"
    assert "too many levels of symbolic links" in reasons["loop.pt.trace.json"]
    assert any("could not be read" in caution for caution in report.cautions)


def test_the_only_trace_of_a_folder_that_is_none_is_refused_with_its_reason(tmp_path):
    os.mkfifo(tmp_path / "a.pt.trace.json")

    with pytest.raises(TraceFormatError, match="a named pipe, not a file"):
        tbperf.analyze(tmp_path)


@pytest.mark.parametrize("name", ["run.json", "hardware.jsonl", "steps.1.jsonl", "loader.5.bin"])
def test_the_files_of_a_run_folder_may_be_pipes_and_nothing_hangs(folder, name):
    content = Timeline().step(1, 0, 100).kernel(0, 10).kineto()
    content |= {"baseTimeNanoseconds": 10**18, "tbperf": {"pid": 1, "phase": "train"}}
    (folder / "good.pt.trace.json").write_text(json.dumps(content))
    (folder / "run.json").write_text('{"schema": "tbperf-run/1"}')
    (folder / name).unlink(missing_ok=True)
    os.mkfifo(folder / name)

    (trace,) = tbperf.analyze(folder).traces

    assert f"{name} cannot be read: a named pipe, not a file" in trace.notes


def test_a_run_json_that_is_a_link_to_nowhere_is_said(folder):
    (folder / "run.json").symlink_to("nowhere")

    (trace,) = tbperf.analyze(folder).traces

    assert trace.notes == ("run.json cannot be read: no such file or directory",)


def test_links_to_files_are_followed(folder):
    (folder / "below").mkdir()
    (folder / "good.pt.trace.json").rename(folder.parent / "t.json")
    (folder / "below" / "l.pt.trace.json").symlink_to(folder.parent / "t.json")

    assert len(tbperf.analyze(folder).traces) == 1


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_what_may_not_be_read_is_skipped_and_said(folder):
    (folder / "closed").mkdir(mode=0)
    (folder / "secret.pt.trace.json").touch(mode=0)

    report = tbperf.analyze(folder)

    assert {unread.path.rpartition("/")[2] for unread in report.unread} == {"closed", "secret.pt.trace.json"}


def test_a_file_that_vanishes_from_a_folder_is_said_and_the_rest_is_analyzed(folder, monkeypatch):
    from tbperf import report as reporting

    gone = Timeline().kernel(0, 5).write(folder / "gone.pt.trace.json")
    found = list(reporting.find_traces(folder))
    gone.unlink()
    monkeypatch.setattr(reporting, "find_traces", lambda _path: iter(found))

    report = tbperf.analyze(folder)

    assert len(report.traces) == 1
    assert report.unread[0].reason == "no such file or directory"


def test_paths_in_a_run_folder_lead_nowhere(folder):
    """What run.json names is not opened: neither a file elsewhere nor one that never ends."""
    os.mkfifo(folder / "never")
    run = {"schema": "tbperf-run/1", "windows": [{"file": "../../../etc/passwd"}, {"file": "never"}]}
    (folder / "run.json").write_text(json.dumps(run))

    report = tbperf.analyze(folder)

    assert "passwd" not in json.dumps([report.traces[0].notes, report.cautions])
    assert report.traces[0].run is not None


# Databases


def test_nothing_new_lies_beside_a_database_that_was_read(tmp_path):
    path = export(tmp_path / "t.sqlite")
    path.chmod(0o444)
    tmp_path.chmod(0o555)
    try:
        before = {file: file.stat().st_mtime_ns for file in tmp_path.iterdir()}
        assert tbperf.analyze(path).traces
        assert {file: file.stat().st_mtime_ns for file in tmp_path.iterdir()} == before
    finally:
        tmp_path.chmod(0o755)


def test_a_database_that_another_process_writes_to_is_read_or_refused_in_one_line(tmp_path):
    path = export(tmp_path / "t.sqlite")
    code = (
        "import sqlite3, sys; c = sqlite3.connect(sys.argv[1], isolation_level=None); c.execute('PRAGMA cache_size=1');"
        "c.execute('BEGIN EXCLUSIVE');"
        "[c.execute('INSERT INTO StringIds VALUES (?, ?)', (n, 'x' * 4000)) for n in range(1000, 1100)];"
        "print('ready', flush=True); sys.stdin.read()"
    )
    writer = subprocess.Popen([sys.executable, "-c", code, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    writer.stdout.readline()
    try:
        before = sorted(tmp_path.iterdir())
        (trace,) = tbperf.analyze(path).traces
        assert trace.devices, "as it was before the transaction"
        assert sorted(tmp_path.iterdir()) == before
    finally:
        writer.stdin.close()
        writer.stdout.close()
        writer.wait()


def test_what_a_write_ahead_log_holds_is_read(tmp_path):
    import sqlite3

    path = export(tmp_path / "t.sqlite")
    before = tbperf.analyze(path).traces[0].devices[0].kernels
    writer = sqlite3.connect(path)
    writer.execute("PRAGMA journal_mode=WAL")
    writer.execute("INSERT INTO CUPTI_ACTIVITY_KIND_KERNEL SELECT * FROM CUPTI_ACTIVITY_KIND_KERNEL")
    writer.commit()
    try:
        assert tbperf.analyze(path).traces[0].devices[0].kernels == 2 * before
    finally:
        writer.close()
