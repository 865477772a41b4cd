"""Secrets planted in every place of a recording are gone from the copy, and every figure is as it was."""

import bz2
import contextlib
import gzip
import json
import lzma
import sqlite3

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tbperf.errors import TraceFormatError
from tbperf.scrub import scrub
from tbperf.scrub.names import KINDS, Names
from tbperf.scrub.removed import Removed
from tests.draw import Timeline
from tests.draw_nsys import TABLES, Export, write_nsys
from tests.scrub.figures import accounting
from tests.scrub.secrets import MARK, SHAPES, chances, is_in, planted, secret

QUICK = settings(
    max_examples=40,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large],
)

RUN = (
    Timeline()
    .step(1, 0, 100)
    .step(2, 100, 200)
    .range("enumerate(DataLoader)#_SingleProcessDataLoaderIter.__next__", 0, 20)
    .range("forward", 20, 60)
    .stage("loss", 60, 70)
    .range("tbperf/module:model.0 Conv (backbone)", 20, 50)
    .op("aten::conv2d", 21, 40, sequence=3, shapes="[[1, 3, 8, 8]]")
    .op("aten::item", 60, 66)
    .op("autograd::engine::evaluate_function: ConvolutionBackward0", 70, 80, thread=(1, 2), sequence=3)
    .python("torch/nn/modules/conv.py(5): forward", 20, 58)
    .python("torch/_inductor/compile_fx.py(1): compile", 80, 95)
    .copy("HtoD", 22, 30, memory="pageable", call=(21, 25))
    .kernel(30, 45, name="void cutlass::gemm_half<float>(float)", call=(26, 27))
    .kernel(46, 60, name="ncclDevKernel_AllReduce_Sum", call=(28, 29), stream=8)
    .memset(70, 72, call=(66, 67))
    .call("cudaStreamSynchronize", 72, 79)
    .call("cudaMalloc", 100, 120)
    .kernel(130, 150, name="ampere_sgemm_128x64_nn", call=(121, 125))
    .overhead("Lazy Function Loading", 120, 121)
    .allocation(30, 512, allocated=512, reserved=1024)
)


def document():
    """Return a trace with all that recorders write, or wrote."""
    found = RUN.kineto()
    args = {
        "Call stack": "train.py(3)",
        "Input type": ["float"],
        "Module Hierarchy": "",
        "External id": 4,
        "src": "0x7f",
    }
    found["traceEvents"] += [
        {"ph": "X", "cat": "cpu_op", "name": "aten::add", "pid": 1, "tid": 1, "ts": 160, "dur": 3, "args": args},
        {"ph": "X", "cat": "Trace", "name": "PyTorch Profiler (0)", "pid": "Spans", "tid": "PyTorch Profiler", "ts": 0},
        {"ph": "M", "name": "process_name", "pid": 1, "tid": 0, "args": {"name": "python"}},
        {"ph": "M", "name": "thread_name", "pid": 1, "tid": 2, "args": {"name": "thread 2 (pt_autograd_0)"}},
        {"ph": "s", "id": 5, "cat": "ac2g", "name": "ac2g", "pid": 1, "tid": 1, "ts": 26},
        {"ph": "f", "id": 5, "cat": "ac2g", "name": "ac2g", "pid": 0, "tid": 7, "ts": 30, "bp": "e"},
        {"ph": "i", "s": "g", "name": "Record Window End", "pid": "", "tid": "", "ts": 200},
        {"ph": "C", "name": "counter", "pid": 1, "ts": 4, "args": {"value": 3}},
    ]
    found |= {
        "deviceProperties": [{"id": 0, "name": "NVIDIA A100-SXM4-80GB", "uuid": "x", "totalGlobalMem": 80}],
        "distributedInfo": {
            "backend": "nccl",
            "rank": 0,
            "world_size": 2,
            "pg_config": [{"pg_desc": "x", "ranks": [0]}],
        },
        "tbperf": {"schema": "tbperf-trace/1", "phase": "train", "pid": 1, "command": "x", "threads": {"intra_op": 1}},
        "host_name": "x",
        "username": "x",
        "torch_version": "2.4.0",
    }
    return found


@pytest.fixture
def folder(tmp_path):
    return tmp_path


@QUICK
@given(chance=chances)
def test_in_a_trace(folder, chance):
    """Names, categories, arguments, keys, metadata, nested or not; in objects, lists and numbers."""
    source, target = folder / "in.json", folder / "out.json"
    target.unlink(missing_ok=True)
    source.write_text(json.dumps(planted(chance, document()), ensure_ascii=chance.random() < 0.5))
    before = accounting(source)

    with contextlib.suppress(TraceFormatError):
        scrub(source, target)
        assert not is_in(target.read_bytes())
        assert accounting(target) == before


@QUICK
@given(chance=chances)
def test_in_a_trace_that_is_broken(folder, chance):
    """Where pieces must be mended, or events saved one by one, what is saved is scrubbed like the rest."""
    source, target = folder / "in.json", folder / "out.json"
    target.unlink(missing_ok=True)
    text = json.dumps(planted(chance, document(), share=0.1))
    way = chance.randrange(4)
    if way == 0:
        text = text.replace('"dur": 3', '"dur": NaN', 1)
    elif way == 1:
        text = text.replace("aten::conv2d", 'aten::"conv2d' + MARK, 1)
    elif way == 2:
        text = text.replace("forward", "\\home\\" + MARK, 1)
    else:
        text = text[: chance.randrange(len(text) // 3, len(text))]
    source.write_text(text)
    before = accounting(source)

    with contextlib.suppress(TraceFormatError):
        scrub(source, target)
        assert not is_in(target.read_bytes())
        assert accounting(target) == before


@pytest.mark.parametrize(
    ("ending", "unpack"), [(".gz", gzip.decompress), (".bz2", bz2.decompress), (".xz", lzma.decompress)]
)
def test_inside_of_compressed_copies(tmp_path, ending, unpack):
    source, target = tmp_path / "in.json", tmp_path / f"out.json{ending}"
    found = document()
    found["host_name"] = found["traceEvents"][0]["name"] = MARK
    source.write_text(json.dumps(found))

    scrub(source, target)

    assert not is_in(target.read_bytes())
    assert not is_in(unpack(target.read_bytes()))
    assert b"gemm_half" in unpack(target.read_bytes())


KEYWORDS = (
    *(
        "nccl",
        "AllReduce",
        "gemm",
        "flash_",
        "conv2d",
        "un",
        "igemm",
        "fwd",
        "bn_",
        "softmax",
        "index",
        "fill_",
        "half",
    ),
    *("bf16", "1688", "hmma", "_s16816", "xmma", "cuda", "hip", "Launch", "Graph", "Memcpy", "Async", "Synchronize"),
    *("Malloc", "ModuleLoad", "ProfilerStep#", "12", "enumerate(DataLoader)#", "_SingleProcess", "Optimizer.step#"),
    *("DistributedDataParallel", ".forward", "forward", "dataload", "tbperf/", "module:", "(head)", "loader/", "fetch"),
    *("compile_fx", "torch/_dynamo/convert_frame", "compile", "nn.Module: ", ".py(3): ", "site-packages/", "Backward0"),
    *("torch::autograd::", "aten::", "item", "silu", "mm", "Command Buffer Full", "loader worker ", "HtoD", "(Pinned)"),
    *("deadbeef", "10.1.2.3", "99999999", " ", "::", "_", "<", ">", "/", "\\", ",", "#", "-", ".", "é", "\x00", "\n"),
)
PARTS = (*KEYWORDS, *(shape.format(MARK) for shape in SHAPES))


@pytest.mark.parametrize("kind", KINDS)
@given(chance=chances, more=st.lists(st.text(max_size=5)))
@settings(max_examples=15, deadline=None, database=None, derandomize=True)
def test_in_names_of_every_kind(kind, chance, more):
    """What stands for a name means the same to the analyses, and two names stay two."""
    removed = Removed()
    decide = Names(removed)
    drawn = ("".join(chance.choices(PARTS, k=chance.randrange(1, 6))) for _ in range(50))
    distinct = list(dict.fromkeys(text.encode("utf-8", "replace").decode() for text in (*drawn, *more)))

    written = [decide.written(kind, text) for text in distinct]

    assert not is_in("\n".join(written).encode())
    assert [KINDS[kind].meaning(text) for text in written] == [KINDS[kind].meaning(text) for text in distinct]
    assert len(set(written)) == len(distinct)
    assert not removed.meanings


@QUICK
@given(chance=chances)
def test_in_an_export(folder, chance):
    """Every column of words, numbers that are words, tables and columns that nobody knows, and what was deleted."""
    source, target = folder / "in.sqlite", folder / "out.sqlite"
    for path in (source, target):
        path.unlink(missing_ok=True)
    write_nsys(RUN, source)
    with contextlib.closing(sqlite3.connect(source)) as database:
        _plant(database, chance)
        database.commit()
    before = accounting(source)

    with contextlib.suppress(TraceFormatError):
        scrub(source, target)
        assert not is_in(target.read_bytes())
        assert accounting(target) == before


def _plant(database, chance):
    """Plant secrets; the tables and columns that are named here are the test's own."""
    for table in [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]:
        for _, column, kind, *_ in database.execute(f"PRAGMA table_info({table})").fetchall():
            if kind == "TEXT" and chance.random() < 0.5:
                said = chance.choice(("?", "CAST(? AS BLOB)", f"{column} || ?"))
                some = chance.choice(("1", "rowid % 2"))
                database.execute(f"UPDATE {table} SET {column} = {said} WHERE {some}", [secret(chance)])
        if chance.random() < 0.5:
            database.execute(f'ALTER TABLE {table} ADD COLUMN "{MARK}" {chance.choice(("TEXT", MARK))}')
            database.execute(f'UPDATE {table} SET "{MARK}" = ?', [secret(chance)])
    database.execute(f'CREATE TABLE "{MARK}_V2" (start INTEGER, "{MARK}" BLOB)')
    database.execute(f'INSERT INTO "{MARK}_V2" VALUES (1, ?)', [secret(chance).encode()])
    database.execute(f'CREATE TABLE "ENUM_{MARK}" (id INTEGER, name {MARK})')
    database.execute(f"CREATE TABLE NVTX_EVENTS_V2{MARK} (text TEXT)")
    database.execute(f"CREATE VIEW a AS SELECT '{MARK}' AS b")
    database.execute(f'CREATE INDEX "{MARK}i" ON StringIds (value)')
    database.execute("INSERT INTO StringIds (value) VALUES (?)", [secret(chance) + 5000 * "x"])
    database.execute("DELETE FROM StringIds WHERE length(value) > 5000")


@pytest.mark.parametrize("table", sorted(TABLES))
def test_in_every_column_of_an_export(tmp_path, table):
    """Also where numbers belong."""
    with contextlib.closing(Export(tmp_path / "in.sqlite")) as export:
        export.add("NVTX_EVENTS", start=5, end=9, eventType=59, globalTid=1 << 24 | 7, textId=export.string("step"))
        export.add("StringIds", value=MARK)
        parts = [part.split() for part in TABLES[table].split(",")]
        words = {column: MARK for column, kind, *_ in parts if kind == "TEXT"}
        for column, *_ in parts if table != "StringIds" else ():
            export.add(table, **words, **{column: MARK} if column not in words else {})

    with contextlib.suppress(TraceFormatError):
        scrub(tmp_path / "in.sqlite", tmp_path / "out.sqlite")
        assert not is_in((tmp_path / "out.sqlite").read_bytes())
