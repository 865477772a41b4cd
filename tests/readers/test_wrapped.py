"""Contents are told by what they are, whatever is wrapped around them and however they come."""

import bz2
import contextlib
import gzip
import io
import json
import lzma
import os
import subprocess
import sys
import tarfile
import tempfile
import threading
import zipfile

import pytest

import tbperf
from tbperf.errors import TbperfError, TraceFormatError
from tbperf.readers import files, find_traces, read_trace, unwrap
from tests.draw import Timeline
from tests.readers.test_nsys import export

zstd = unwrap.zstd

TIMELINE = Timeline().kernel(0, 10).kernel(15, 20)
PLAIN = json.dumps(TIMELINE.kineto()).encode()


def zstd_of(data):
    return pytest.importorskip("backports.zstd").compress(data)


COMPRESS = {
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "lzma": lambda data: lzma.compress(data, format=lzma.FORMAT_ALONE),
    "zstd": zstd_of,
    "utf-16": lambda data: data.decode().encode("utf-16"),
    "utf-16 without a mark": lambda data: data.decode().encode("utf-16-be"),
    "utf-8 with a mark": lambda data: b"\xef\xbb\xbf" + data,
    "gzip, twice": lambda data: gzip.compress(gzip.compress(data)),
    "xz in zstd": lambda data: zstd_of(lzma.compress(data)),
    "utf-16 in gzip": lambda data: gzip.compress(data.decode().encode("utf-16")),
    "Windows' line ends": lambda data: json.dumps(json.loads(data), indent=1).replace("\n", "\r\n").encode(),
    "members of gzip, joined": lambda data: gzip.compress(data[:90]) + gzip.compress(data[90:]) + bytes(7),
    "streams of xz, joined": lambda data: lzma.compress(data[:90]) + lzma.compress(data[90:]),
    "streams of bzip2, joined": lambda data: bz2.compress(data[:90]) + bz2.compress(data[90:]),
    "frames of zstd, one to be skipped": lambda data: (
        zstd_of(data[:90]) + b"\x50\x2a\x4d\x18\x04\0\0\0skip" + zstd_of(data[90:])
    ),
}


def windows(found):
    return [(trace.devices[0].window_ns, trace.devices[0].kernels) for trace in found.traces]


@pytest.mark.parametrize("way", COMPRESS)
def test_what_is_wrapped_around_a_trace_is_taken_off_under_any_name(tmp_path, way):
    path = tmp_path / "whatever.bin"
    path.write_bytes(COMPRESS[way](PLAIN))

    report = tbperf.analyze(path)

    assert windows(report) == [(20_000, 2)]
    assert not report.traces[0].notes
    assert not report.traces[0].truncated


@pytest.mark.parametrize("suffix", [".gz", ".zst", ".bz2", ".xz"])
def test_a_folder_is_searched_for_every_way_to_compress(tmp_path, suffix):
    (tmp_path / f"a.pt.trace.json{suffix}").write_bytes(gzip.compress(PLAIN))  # the contents decide

    assert windows(tbperf.analyze(tmp_path)) == [(20_000, 2)]


@pytest.mark.parametrize("way", ["gzip", "bzip2", "xz", "zstd"])
def test_what_is_cut_is_read_as_far_as_it_goes(tmp_path, way):
    timeline = Timeline()
    for number in range(8_000):
        timeline.kernel(10 * number, 10 * number + 5, name=f"k{number % 17}")
    whole = COMPRESS[way](json.dumps(timeline.kineto()).encode())
    path = tmp_path / "t.json"
    path.write_bytes(whole[: int(0.9 * len(whole))])

    (trace,) = tbperf.analyze(path).traces

    assert trace.truncated
    assert 0 < trace.devices[0].kernels < 8_000
    assert any("compression is damaged" in note for note in trace.notes)


@pytest.mark.parametrize("way", ["gzip", "bzip2", "xz", "zstd"])
@pytest.mark.parametrize("garbage", [b"x", b"<html>not found</html>" * 9, b"PK\x03\x04"])
def test_what_stands_behind_whole_compressed_data_is_called_that(tmp_path, way, garbage):
    path = tmp_path / "t.json.gz"
    packed = COMPRESS[way](PLAIN)
    path.write_bytes(packed + garbage)

    (trace,) = tbperf.analyze(path).traces

    assert not trace.truncated
    (note,) = trace.notes
    assert f"end at byte {len(packed):,}; something else follows" in note


def test_a_way_that_is_not_installed_is_named_with_what_to_do(tmp_path, monkeypatch):
    path = tmp_path / "t.json.zst"
    path.write_bytes(zstd_of(PLAIN))
    without = [unwrap.Compression(c.name, c.begins, unwrap._no_zstd, c.errors) for c in unwrap.COMPRESSIONS]
    monkeypatch.setattr(unwrap, "COMPRESSIONS", without)

    with pytest.raises(TraceFormatError, match=f"{path}: compressed with zstd") as refused:
        tbperf.analyze(path)

    assert "pip install backports.zstd" in refused.value.hint


@pytest.mark.parametrize("way", ["gzip", "bzip2", "xz", "zstd"])
def test_what_unpacks_to_more_than_the_machine_holds_is_refused(tmp_path, monkeypatch, way):
    monkeypatch.setattr(files, "memory_bytes", lambda: 1 << 20)
    path = tmp_path / "bomb.json"
    path.write_bytes(COMPRESS[way](b'{"traceEvents": [' + b" " * (9 << 20) + b"]}"))

    with pytest.raises(TraceFormatError, match=r"its contents are more than 0\.00391 GiB"):
        tbperf.analyze(path)


def test_a_file_that_is_larger_than_the_machine_holds_is_refused_before_it_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "memory_bytes", lambda: 1 << 20)
    path = tmp_path / "sparse.json"
    path.write_bytes(b'{"traceEvents": [')
    os.truncate(path, 1 << 40)

    with pytest.raises(TraceFormatError, match=r"its contents are more than"):
        tbperf.analyze(path)


def tarred(members, mode):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def zipped(members):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()


ARCHIVES = {
    "tar": lambda members: tarred(members, "w:"),
    "tar.gz": lambda members: tarred(members, "w:gz"),
    "tar.bz2": lambda members: tarred(members, "w:bz2"),
    "tar.xz": lambda members: tarred(members, "w:xz"),
    "tar.zst": lambda members: zstd_of(tarred(members, "w:")),
    "zip": zipped,
}


@pytest.mark.parametrize("way", ARCHIVES)
def test_archives_hold_ranks_compressed_as_they_like_and_databases(tmp_path, way):
    members = {
        f"run/rank{rank}.json{suffix}": compress(
            json.dumps(Timeline().kernel(0, 10 + rank).kineto() | {"distributedInfo": {"rank": rank}}).encode()
        )
        for rank, (suffix, compress) in enumerate([("", bytes), (".gz", gzip.compress), (".xz", lzma.compress)])
    }
    members["report.sqlite"] = export(tmp_path / "r.sqlite").read_bytes()
    members["notes.txt"] = b"no trace"
    path = tmp_path / "ranks"
    path.write_bytes(ARCHIVES[way](members))

    report = tbperf.analyze(path)

    assert [(t.rank, t.devices[0].window_ns) for t in report.traces if t.format == "kineto"] == [
        (0, 10_000),
        (1, 11_000),
        (2, 12_000),
    ]
    assert [t.path for t in report.traces if t.format == "nsys"] == [f"{path}/report.sqlite"]


def test_damaged_zip_archives_end_in_one_line(tmp_path):
    whole = zipped({"a.json": PLAIN * 40, "b.json": PLAIN * 40})
    for number, data in enumerate((whole[:-30], whole[:60], b"PK\x03\x04", whole[:50] + bytes(50) + whole[100:])):
        path = tmp_path / f"{number}.zip"
        path.write_bytes(data)
        with pytest.raises(TraceFormatError, match=r"a damaged archive"):
            tbperf.analyze(path)


def test_a_compressed_database_is_read(tmp_path):
    plain = export(tmp_path / "t.sqlite")
    packed = tmp_path / "t.sqlite.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))

    one, other = (tbperf.analyze(path).traces[0] for path in (plain, packed))

    assert one.devices == other.devices
    assert other.path.startswith(str(packed))


# What can be read only once


def command(*arguments, **options):
    return subprocess.run(
        [sys.executable, "-m", "tbperf", *map(str, arguments)], capture_output=True, timeout=60, check=False, **options
    )


@pytest.mark.parametrize("way", ["plain", "zstd", "zip", "sqlite"])
def test_standard_input_is_read(tmp_path, way):
    data = {
        "plain": lambda: PLAIN,
        "zstd": lambda: zstd_of(PLAIN),
        "zip": lambda: zipped({"a.json": PLAIN}),
        "sqlite": lambda: export(tmp_path / "t.sqlite").read_bytes(),
    }[way]()

    done = command("analyze", "-", "--format", "json", input=data)

    assert done.returncode == 0, done.stderr
    (trace,) = json.loads(done.stdout)["traces"]
    assert trace["path"].startswith("standard input")
    assert trace["devices"]


def test_pipes_that_are_named_are_read(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=lambda: pipe.write_bytes(PLAIN))
    writer.start()

    report = tbperf.analyze(pipe)
    writer.join()

    assert windows(report) == [(20_000, 2)]
    (tmp_path / "t.json").write_bytes(PLAIN)
    done = subprocess.run(
        ["bash", "-c", f'"{sys.executable}" -m tbperf analyze <(cat {tmp_path}/t.json) /dev/stdin < {tmp_path}/t.json'],
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("redirected", "says"),
    [
        ("< /dev/null", b"standard input: the file is empty"),
        ("< /dev/zero", b"nothing but zeros"),
        ("<&-", b"standard input: it is closed"),
        ("< <(yes)", b"not a trace that tbperf can read"),
    ],
)
def test_a_stream_without_a_trace_ends_in_one_line_however_long_it_is(redirected, says):
    done = subprocess.run(
        ["bash", "-c", f'"{sys.executable}" -m tbperf analyze - {redirected}'],
        capture_output=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 3
    assert says in done.stderr
    assert len(done.stderr.splitlines()) <= 2


def test_a_stream_is_kept_up_to_a_bound(monkeypatch):
    monkeypatch.setattr(files, "MOST_SPOOLED_BYTES", 1 << 20)
    reading, writing = os.pipe()

    def write_on():
        with contextlib.suppress(BrokenPipeError), os.fdopen(writing, "wb", buffering=0) as file:
            file.write(b'{"traceEvents": [')
            while True:
                file.write(b'{"ph": "X"},' * 1000)

    writer = threading.Thread(target=write_on)
    writer.start()
    from pathlib import Path

    with pytest.raises(TbperfError, match=r"more than 0\.000977 GiB, which is the most"):
        tbperf.analyze(Path(f"/dev/fd/{reading}"))
    os.close(reading)
    writer.join()


def test_nothing_temporary_stays_behind(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    path = tmp_path / "t.zip"
    path.write_bytes(zipped({"a.json": PLAIN, "b.sqlite": export(tmp_path / "b.sqlite").read_bytes()}))

    assert len(tbperf.analyze(path).traces) == 2

    assert not list((tmp_path / "tmp").iterdir())


def test_no_room_for_a_temporary_file_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    path = tmp_path / "t.zip"
    path.write_bytes(zipped({"a.json": PLAIN}))

    with pytest.raises(TbperfError, match="cannot be kept in a temporary file: no such file"):
        tbperf.analyze(path)


# Files that change while they are read


def test_a_file_that_becomes_shorter_while_it_is_read_ends_in_one_line(tmp_path):
    path = TIMELINE.write(tmp_path / "t.json")

    def open_and_cut():
        file = files.open_regular(path)
        os.truncate(path, 40)
        return file

    (source,) = find_traces(path)
    size = path.stat().st_size
    source.open = open_and_cut
    source.size = lambda _file: size

    with pytest.raises(TraceFormatError, match="it became shorter while it was read"):
        read_trace(source)


def test_a_file_that_another_replaces_while_it_is_read_ends_in_one_line(tmp_path):
    path = TIMELINE.write(tmp_path / "t.json")

    def open_and_replace():
        file = files.open_regular(path)
        Timeline().kernel(0, 99).write(tmp_path / "other.json").replace(path)
        return file

    (source,) = find_traces(path)
    source.first_bytes = lambda: PLAIN
    source.open = open_and_replace

    with pytest.raises(TraceFormatError, match="another file took its place while it was read"):
        read_trace(source)


def test_what_is_appended_while_a_file_is_read_is_not_read(tmp_path):
    path = TIMELINE.write(tmp_path / "t.json")
    (source,) = find_traces(path)

    def open_and_append():
        file = files.open_regular(path)
        with path.open("ab") as more:
            more.write(b"and more" * 1000)
        return file

    size = path.stat().st_size
    source.open = open_and_append
    source.size = lambda _file: size
    source.first_bytes = lambda: PLAIN

    assert len(read_trace(source).gpu) == 2
