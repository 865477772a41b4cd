"""What the reader makes of exports: sound and broken ones, other tools' databases, nsys' own reports."""

import contextlib
import hashlib
import shutil
import sqlite3
import stat
import subprocess
import sys

import pytest

import tbperf
from tbperf.errors import TraceFormatError
from tbperf.readers import find_traces, read_trace
from tbperf.readers.nsys import convert
from tests.draw import Timeline
from tests.draw_nsys import _PROCESS, Export, write_nsys

RUN = (
    Timeline()
    .step(1, 0, 100)
    .stage("dataload", 0, 40)
    .stage("forward", 40, 100)
    .copy("HtoD", 41, 45, memory="pinned", call=(40, 41))
    .kernel(50, 90, name="gemm", call=(46, 47))
)


def read(path):
    (source,) = find_traces(path)
    return read_trace(source)


def command(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "tbperf", *map(str, arguments)], capture_output=True, text=True, check=False
    )


def export(path, write=lambda _export: None, timeline=RUN):
    """Write a drawn export, with what is added to it."""
    write_nsys(timeline, path)
    with contextlib.closing(Export(path)) as more:
        more._made = {name for (name,) in more.database.execute("SELECT name FROM sqlite_master")}
        if "StringIds" in more._made:
            more._strings = {text: code for code, text in more.database.execute("SELECT id, value FROM StringIds")}
        write(more)
    return path


def refused(path):
    """Return the message of a refusal: one line, a hint, exit code 3, and no traceback."""
    done = command("analyze", path)
    assert done.returncode == 3, done.stdout + done.stderr
    message, hint = done.stderr.splitlines()
    assert message.startswith(f"tbperf: {path}: ")
    assert hint.startswith("hint: ")
    return message


def test_a_name_does_not_matter(tmp_path):
    report = tbperf.analyze(export(tmp_path / "weights.pt"))

    assert report.traces[0].format == "nsys"
    assert report.traces[0].versions["nsys"] == "2024.5.1.113"


@pytest.mark.parametrize("keep", [0, 16, 100, 4096, 0.5, 0.9, 0.9999])
def test_a_truncated_export_is_refused(tmp_path, keep):
    path = export(tmp_path / "t.sqlite")
    contents = path.read_bytes()
    path.write_bytes(contents[: int(keep * len(contents)) if isinstance(keep, float) else keep])

    refused(path)


def test_an_export_full_of_zeros_is_refused(tmp_path):
    path = tmp_path / "t.sqlite"
    path.write_bytes(bytes(100_000))
    refused(path)
    path.write_bytes(b"SQLite format 3\0" + bytes(100_000))
    refused(path)


def database(path, *statements):
    with contextlib.closing(sqlite3.connect(path)) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()
    return path


@pytest.mark.parametrize(
    ("tool", "statements"),
    [
        (
            "nvprof",
            (
                "CREATE TABLE CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL (_id_ INTEGER PRIMARY KEY, start INT, end INT)",
                "CREATE TABLE CUPTI_ACTIVITY_KIND_RUNTIME (_id_ INTEGER PRIMARY KEY, cbid INT, start INT, end INT)",
                "CREATE TABLE StringTable (_id_ INTEGER PRIMARY KEY, value TEXT)",
            ),
        ),
        (
            "DLProf",
            (
                "CREATE TABLE op_nodes (aggr_id INT, op_node_name TEXT)",
                "CREATE VIEW view_op_nodes AS SELECT * FROM op_nodes",
            ),
        ),
    ],
)
def test_look_alikes_are_refused_by_name(tmp_path, tool, statements):
    assert f"a database of {tool}" in refused(database(tmp_path / "t.sqlite", *statements))


@pytest.mark.parametrize(
    "text",
    [
        "Time (%),Total Time (ns),Instances,Avg (ns),Name\n50.0,58000000,10,5800000.0,conv\n",
        "Processing [r.sqlite] with [cuda_gpu_mem_size_sum.py]...\nTotal (MB),Count,Avg (MB)\n",
        "\n Time (%)  Total Time (ns)  Instances\n --------  ---------------  ---------\n",
    ],
)
def test_sums_of_nsys_stats_are_refused_by_name(tmp_path, text):
    path = tmp_path / "stats.csv"
    path.write_text(text)

    assert "nsys stats" in refused(path)


def test_a_foreign_database_is_refused(tmp_path):
    assert "none of Nsight Systems" in refused(database(tmp_path / "t.db", "CREATE TABLE photos (name TEXT)"))


def test_tables_without_the_columns_that_matter_are_left_out(tmp_path):
    path = tmp_path / "t.sqlite"
    database(path, "CREATE TABLE StringIds (id INT, value TEXT)", "CREATE TABLE CUPTI_ACTIVITY_KIND_KERNEL (x INT)")

    assert not tbperf.analyze(path).traces[0].devices


def test_rows_that_cannot_be_are_counted(tmp_path):
    def spoil(export):
        for start, end in ((5, 3), (1 << 62, (1 << 62) + 1), (7, "words"), (7, None)):
            with contextlib.suppress(sqlite3.IntegrityError):
                export.add("CUPTI_ACTIVITY_KIND_KERNEL", start=start, end=end, globalPid=_PROCESS)

    with pytest.raises(TraceFormatError, match="cannot be read"):
        read(export(tmp_path / "words.sqlite", spoil))

    def only_numbers(export):
        export.add("CUPTI_ACTIVITY_KIND_KERNEL", start=5, end=3, globalPid=_PROCESS)
        export.add("CUPTI_ACTIVITY_KIND_KERNEL", start=1 << 62, end=(1 << 62) + 1, globalPid=_PROCESS)

    trace = read(export(tmp_path / "numbers.sqlite", only_numbers))
    assert trace.dropped == {"negative_duration": 1, "no_timestamp": 1}
    assert trace.kernels.sum() == 1


def test_reading_changes_nothing_and_needs_no_right_to_write(tmp_path):
    """Not the file, nor anything beside it; and neither a lock nor a journal of another process is in the way."""
    folder = tmp_path / "read only"
    folder.mkdir()
    path = export(folder / "100 %?#.sqlite")
    busy = sqlite3.connect(path, isolation_level=None)
    busy.execute("PRAGMA locking_mode=EXCLUSIVE")
    busy.execute("BEGIN EXCLUSIVE")
    busy.execute("CREATE TABLE another (x INT)")
    before = {file: hashlib.sha256(file.read_bytes()).hexdigest() for file in folder.iterdir()}
    path.chmod(stat.S_IRUSR)
    folder.chmod(stat.S_IRUSR | stat.S_IXUSR)
    try:
        done = command("analyze", path)
    finally:
        folder.chmod(stat.S_IRWXU)
        after = {file: hashlib.sha256(file.read_bytes()).hexdigest() for file in folder.iterdir()}
        busy.execute("ROLLBACK")
        busy.close()

    assert done.returncode == 0, done.stderr
    assert after == before
    assert any(file.name.endswith("-journal") for file in before), "there was a journal to stumble over"


def test_a_write_ahead_log_beside_an_export_is_left_alone(tmp_path):
    path = export(tmp_path / "t.sqlite")
    writer = sqlite3.connect(path)
    writer.execute("PRAGMA journal_mode=WAL")
    writer.execute("INSERT INTO StringIds VALUES (99, 'later')")
    writer.commit()
    before = {file: file.read_bytes() for file in tmp_path.iterdir()}

    done = command("analyze", path)
    after = {file: file.read_bytes() for file in tmp_path.iterdir()}
    writer.close()

    assert done.returncode == 0, done.stderr
    assert {file.suffix for file in before} >= {".sqlite-wal"}
    assert after == before


def test_a_process_each(tmp_path):
    other = _PROCESS + (1 << 24)

    def second(export):
        name = export.string("gemm")
        kernel = {"demangledName": name, "shortName": name, "deviceId": 1, "correlationId": 102}
        export.add("CUPTI_ACTIVITY_KIND_KERNEL", start=10**9, end=10**9 + 50, globalPid=other, **kernel)
        export.add("PROCESSES", globalPid=(77 << 24), pid=77, name="a secret of somebody else")

    path = export(tmp_path / "t.sqlite", second)
    report = tbperf.analyze(path)

    assert [trace.path.rpartition("/")[2] for trace in report.traces] == ["process 4242", "process 4243"]
    assert [[row.device for row in trace.devices] for trace in report.traces] == [[0], [1]]
    assert report.traces[1].linked_share == 0, "the id of the other process' call is not its own"
    assert "secret" not in command("analyze", path, "--format", "json").stdout


def test_open_ranges_and_ranges_that_end_on_another_thread_end_where_they_end(tmp_path):
    def open_ones(export):
        thread = _PROCESS | 1
        export.add("NVTX_EVENTS", start=10**9 + 5, end=None, eventType=59, text="open", globalTid=thread)
        moved = {"start": 10**9 + 1000, "end": 10**9 + 9000, "eventType": 60, "endGlobalTid": _PROCESS | 9}
        export.add("NVTX_EVENTS", text="moved", globalTid=thread, domainId=3, **moved)
        export.add("NVTX_EVENTS", start=0, end=None, eventType=75, text="mine", globalTid=thread, domainId=3)
        export.add("NVTX_EVENTS", start=10**9, end=None, eventType=34, text="a mark", globalTid=thread)

    trace = read(export(tmp_path / "t.sqlite", open_ones))
    found = {name: row for row, name in enumerate(trace.texts(trace.ranges["name"]))}

    assert trace.ranges.end_ns[found["open"]] == 100_000
    assert trace.ranges["dur_ns"][found["moved"]] == 8000
    assert trace.strings[trace.ranges["domain"][found["moved"]]] == "mine"
    assert "a mark" not in found


def test_registered_names_and_later_versions_of_a_table(tmp_path):
    path = export(tmp_path / "t.sqlite")
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("INSERT INTO StringIds VALUES (50, 'registered')")
        connection.execute("UPDATE NVTX_EVENTS SET textId = 50, text = NULL WHERE text = 'tbperf/forward'")
        connection.execute("ALTER TABLE NVTX_EVENTS RENAME TO NVTX_EVENTS_V3")
        connection.commit()

    assert set(read(path).texts(read(path).ranges["name"])) == {"ProfilerStep#1", "tbperf/dataload", "registered"}


def test_ranges_of_emit_nvtx_are_operators(tmp_path):
    name = "aten::conv2d, seq = 12, op_id = 31, sizes = [[8, 3, 64, 64], [16, 3, 3, 3]]"
    trace = read(export(tmp_path / "t.sqlite", timeline=Timeline().range(name, 0, 9).range("a, b", 0, 10)))

    assert trace.texts(trace.ops["name"]) == ["aten::conv2d"]
    assert trace.texts(trace.ops["shapes"]) == ["[[8, 3, 64, 64], [16, 3, 3, 3]]"]
    assert trace.ops["sequence"].tolist() == [12]
    assert trace.texts(trace.ranges["name"]) == ["a, b"]


def test_memory_metrics_and_warnings(tmp_path):
    def add(export):
        for at, size, kind in ((1, 100, 0), (2, 50, 0), (3, 100, 1)):
            row = {"start": 10**9 + at, "bytes": size, "memoryOperationType": kind, "memKind": 2, "deviceId": 0}
            export.add("CUDA_GPU_MEMORY_USAGE_EVENTS", globalPid=_PROCESS, **row)
        export.add("TARGET_INFO_GPU_METRICS", typeId=256, typeName="x", metricId=4, metricName="SMs Active [%]")
        for device in (0, 1):
            export.add("GPU_METRICS", timestamp=10**9 + 7, typeId=256 + device, metricId=4, value=90 + device)
        warning = "Lost events, see /home/somebody/secret/report.log\nfor more"
        others = ("No OpenGL events collected. Does it?", "Unable to collect CPU kernel IP samples and backtraces.")
        for severity, text in ((1, "all is well"), (2, warning), *((2, other) for other in others)):
            export.add("DIAGNOSTIC_EVENT", timestamp=0, severity=severity, text=text, globalPid=_PROCESS)

    path = export(tmp_path / "t.sqlite", add)
    trace = read(path)

    assert trace.memory["bytes"].tolist() == [100, 50, -100]
    assert trace.memory["reserved"].tolist() == [100, 150, 50]
    assert trace.texts(trace.samples["series"]) == ["SMs Active [%]"]
    assert trace.samples["value"].tolist() == [90], "the other device is none of this process'"
    assert trace.warnings == ("Lost events, see … for more",)
    assert tbperf.analyze(path).cautions == ("the recorder warns: Lost events, see … for more",)


def test_synchronizations_without_their_call_are_calls_all_the_same(tmp_path):
    def add(export):
        export.database.execute(
            "CREATE TABLE CUPTI_ACTIVITY_KIND_SYNCHRONIZATION"
            " (start INTEGER, end INTEGER, correlationId INTEGER, globalPid INTEGER, syncType INTEGER)"
        )
        rows = [(10**9, 10**9 + 10, 5, _PROCESS, 3), (10**9, 10**9 + 9, 101, _PROCESS, 3)]
        export.database.executemany("INSERT INTO CUPTI_ACTIVITY_KIND_SYNCHRONIZATION VALUES (?, ?, ?, ?, ?)", rows)

    report = tbperf.analyze(export(tmp_path / "t.sqlite", add)).traces[0]

    assert [(row.api, row.calls, row.host_ns) for row in report.syncs] == [("cudaStreamSynchronize", 1, 10)]


def as_tables(path, folder, suffix):
    """Write every table of an export to a file of its own."""
    pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    import pyarrow.parquet as pq

    folder.mkdir()
    with contextlib.closing(sqlite3.connect(path)) as connection:
        for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            cursor = connection.execute(f"SELECT * FROM {name}")  # noqa: S608 - names of the drawn export
            columns = [column for column, *_ in cursor.description]
            table = pa.table(dict(zip(columns, map(list, zip(*cursor, strict=True)), strict=True)))
            if suffix == ".parquet":
                pq.write_table(table, folder / f"{name}.parquet")
            else:
                with pa.OSFile(str(folder / f"{name}.arrow"), "wb") as sink, pa.ipc.new_file(sink, table.schema) as out:
                    out.write_table(table)
    return folder


def comparable(report):
    (trace,) = report.traces
    return {k: v for k, v in vars(trace).items() if k not in ("path", "bytes")}


@pytest.mark.parametrize("suffix", [".parquet", ".arrow"])
def test_folders_of_tables_give_the_same_report(tmp_path, suffix):
    path = export(tmp_path / "t.sqlite")
    folder = as_tables(path, tmp_path / "tables", suffix)
    path.rename(tmp_path / "hidden")

    assert comparable(tbperf.analyze(folder)) == comparable(tbperf.analyze(tmp_path / "hidden"))
    assert len(tbperf.analyze(tmp_path).traces) == 1, "found in the folder above it"
    assert "one table of an export" in refused(folder / f"StringIds{suffix}")
    (folder / f"CUPTI_ACTIVITY_KIND_KERNEL{suffix}").write_bytes(b"PAR1ARROW1 but nothing else")
    refused(folder)


def test_a_folder_of_tables_without_pyarrow_is_refused_with_what_helps(tmp_path, monkeypatch):
    folder = as_tables(export(tmp_path / "t.sqlite"), tmp_path / "tables", ".parquet")
    monkeypatch.setitem(sys.modules, "pyarrow", None)

    with pytest.raises(TraceFormatError, match="needs pyarrow") as raised:
        tbperf.analyze(folder)
    assert "tbperf[arrow]" in raised.value.hint


def test_recordings_are_found_in_folders(tmp_path):
    export(tmp_path / "a.sqlite")
    database(tmp_path / "photos.sqlite", "CREATE TABLE photos (name TEXT)")
    (tmp_path / "a.nsys-rep").write_bytes(b"NVIDIA Tegra Profiler Report 1.")
    RUN.write(tmp_path / "b.pt.trace.json")

    report = tbperf.analyze(tmp_path)

    assert sorted(trace.format for trace in report.traces) == ["kineto", "nsys"]
    assert not report.unread


REPORT = b"NVIDIA Tegra Profiler Report 1.\n" + bytes(1000)


def test_a_report_without_nsys_is_refused_with_the_command_to_run(tmp_path, monkeypatch):
    path = tmp_path / "my run.nsys-rep"
    path.write_bytes(REPORT)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(convert, "PLACES", ())
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    with pytest.raises(TraceFormatError, match="no nsys here") as raised:
        tbperf.analyze(path)
    assert "nsys export --type sqlite --output 'my run'.sqlite 'my run.nsys-rep'" in raised.value.hint


nsys = pytest.mark.skipif(shutil.which("nsys") is None, reason="nsys is not installed")


@nsys
def test_a_broken_report_is_refused_with_what_nsys_said(tmp_path, monkeypatch):
    path = tmp_path / "t.nsys-rep"
    path.write_bytes(REPORT)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    with pytest.raises(TraceFormatError, match="nsys cannot export this report"):
        tbperf.analyze(path)
    assert path.read_bytes() == REPORT
    assert not list((tmp_path / "cache").rglob("*.sqlite"))


LOOP = """
import time
from torch._C import _nvtx
for number in range(3):
    _nvtx.rangePushA(f"ProfilerStep#{number}")
    _nvtx.rangePushA("tbperf/dataload"); time.sleep(0.004); _nvtx.rangePop()
    _nvtx.rangePushA("tbperf/forward"); time.sleep(0.012); _nvtx.rangePop()
    _nvtx.rangePop()
"""


@nsys
@pytest.mark.record
def test_a_real_recording_is_read_through_nsys(tmp_path, monkeypatch):
    """nsys records a loop with NVTX ranges; its report gives steps and stages, and nothing is left beside it."""
    pytest.importorskip("torch", reason="torch is not installed")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = tmp_path / "run"
    folder.mkdir()
    options = ["--trace=nvtx,osrt", "--sample=none", "--cpuctxsw=none", f"--output={folder / 'loop'}"]
    done = subprocess.run(
        ["nsys", "profile", *options, sys.executable, "-c", LOOP], capture_output=True, text=True, check=False
    )
    files = [file for file in folder.iterdir() if file.suffix in (".nsys-rep", ".qdstrm")]
    if not files:
        pytest.skip(f"nsys recorded nothing here: {(done.stdout + done.stderr).strip().splitlines()[-1:]}")

    report = tbperf.analyze(folder)

    (trace,) = report.traces
    assert [step.step for step in trace.steps] == [0, 1, 2]
    assert [row.stage for row in trace.stages][:2] == ["forward", "dataload"]
    assert {row.style: row.calls for row in trace.nsys.range_sums if row.name == "tbperf/forward"} == {"push/pop": 3}
    assert [file.name for file in folder.iterdir()] == [file.name for file in files]
    assert len(list((tmp_path / "cache").rglob("*.sqlite"))) == 1
    assert tbperf.analyze(folder).traces[0].steps == trace.steps, "from the cache"
