"""Stages reach NVTX and Nsight Systems: seen by a listening tool of our own, and by the real nsys where it is."""

import contextlib
import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from tbperf.capture.nsight import NsysMissingError, export_report, find_nsys, importers, nsys_command

HERE = Path(__file__).parent
COMPILER = shutil.which("cc") or shutil.which("gcc")

PREDICT = """
import sys
from ultralytics import YOLO
for _ in YOLO(sys.argv[1]).predict("data/images/val", imgsz=32, stream=True, verbose=False, device="cpu", batch=1):
    pass
print("its own output", file=sys.stderr)
sys.exit(7)
"""


def nvtx_headers():
    import importlib.util

    with contextlib.suppress(ImportError):
        for folder in importlib.util.find_spec("nvidia").submodule_search_locations:
            for header in sorted(Path(folder).glob("**/nvtx3/nvToolsExt.h")):
                return header.parent.parent
    return None


@pytest.fixture
def script(tmp_path):
    shutil.copy(HERE / "faults" / "tiny.yaml", tmp_path)
    (tmp_path / "predict.py").write_text(PREDICT)
    return [sys.executable, tmp_path / "predict.py", tmp_path / "tiny.yaml"]


@pytest.mark.record
@pytest.mark.skipif(COMPILER is None or nvtx_headers() is None, reason="no C compiler, or no NVTX headers")
def test_every_stage_reaches_a_tool_that_listens_to_nvtx(run_tbperf, environment, script, tmp_path):
    library = tmp_path / "listener.so"
    command = [COMPILER, "-shared", "-fPIC", "-o", library, HERE / "nvtx_injection.c", f"-I{nvtx_headers()}"]
    subprocess.run(command, check=True)
    listening = {"NVTX_INJECTION64_PATH": str(library), "NVTX_LOG": str(tmp_path / "log")}
    result = run_tbperf("record", "--out", tmp_path / "run", "--", *script, env=environment | listening)
    assert result.returncode == 7, result.stderr
    pid = json.loads((tmp_path / "run" / "run.json").read_text())["windows"][0]["pid"]
    pushed, depth = [], 0
    for line in (tmp_path / f"log.{pid}").read_text().splitlines():
        kind, level, *text = line.split(" ", 2)
        if kind == "push":
            assert int(level) == depth
            depth += 1
            pushed += text
        elif kind == "pop":
            depth -= 1
            assert int(level) == depth
    assert depth == 0
    assert [name for name in pushed if name.startswith("ProfilerStep")] == [f"ProfilerStep#{n}" for n in range(10)]
    stages = {name for name in pushed if name.startswith("tbperf/")}
    assert pushed.count("tbperf/module:model.2 Conv (backbone)") == 5
    assert stages >= {f"tbperf/{name}" for name in ("dataload", "fetch", "preprocess", "inference", "nms", "consumer")}


@pytest.mark.record
@pytest.mark.skipif(shutil.which("nsys") is None, reason="Nsight Systems is not installed")
def test_a_run_under_the_real_nsys_leaves_its_window_and_nothing_private(run_tbperf, environment, script, tmp_path):
    secret = environment | {"MY_TOKEN": "s3cret-t0ken"}
    result = run_tbperf("record", "--nsys", "--out", tmp_path / "run", "--", *script, env=secret)
    assert result.returncode == 7, result.stderr
    assert "its own output" in result.stderr
    assert re.search(r"tbperf  5 of 5 steps recorded", result.stderr)
    (exported,) = (tmp_path / "run" / "nsys").iterdir()
    for path in (tmp_path / "run").rglob("*"):
        assert path.is_dir() or b"s3cret-t0ken" not in path.read_bytes(), path
    with contextlib.closing(sqlite3.connect(exported)) as database:
        names = [name for (name,) in database.execute("SELECT text FROM NVTX_EVENTS ORDER BY start")]
        steps = [name for name in names if name.startswith("ProfilerStep")]
        assert steps == [f"ProfilerStep#{n}" for n in range(2, 7)]
        assert "tbperf/inference" in names
        assert names.count("tbperf/module:model.2 Conv (backbone)") == 5
        assert len(database.execute("SELECT * FROM PROCESSES").fetchall()) == 1


def test_without_nsys_nothing_is_run(run_tbperf, environment, tmp_path):
    bare = environment | {"PATH": str(Path(sys.executable).parent)}
    result = run_tbperf("record", "--nsys", "--out", tmp_path / "run", "--", sys.executable, "-c", "exit(7)", env=bare)
    if any(Path("/opt").glob("nvidia/nsight-*")):
        pytest.skip("Nsight lies where it is looked for besides PATH")
    assert result.returncode == 1
    first, second = result.stderr.splitlines()
    assert first == "tbperf: nsys: command not found: Nsight Systems is not installed"
    assert second.startswith("hint: install")
    assert not (tmp_path / "run").exists()


def test_nsys_is_told_to_leave_the_program_alone_when_the_window_ends(tmp_path):
    for cuda, range_ in ((True, "cudaProfilerApi"), (False, "nvtx")):
        command = nsys_command(Path("nsys"), tmp_path, ["yolo", "train"], cuda=cuda)
        assert command[-2:] == ["yolo", "train"]
        assert {"--capture-range-end=stop", "--kill=none"} <= set(command)
        assert command[command.index("-c") + 1] == range_


def a_program(path, code):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!{sys.executable}\nimport sys, pathlib\n{code}")
    path.chmod(0o755)
    return path


EXPORT = "pathlib.Path(sys.argv[sys.argv.index('-o') + 1]).write_bytes(b'')"


def test_a_capture_without_report_is_imported_by_the_importer_of_that_nsys(tmp_path):
    """Debian's package puts the importer where nsys does not look; here, both are stand-ins."""
    place = tmp_path / "run" / "nsys"
    place.mkdir(parents=True)
    (place / "report.qdstrm").write_text("raw")
    nsys = a_program(tmp_path / "suite" / "target-linux-x64" / "nsys", EXPORT)
    importer = a_program(
        tmp_path / "suite" / "host-linux-x64" / "QdstrmImporter",
        "pathlib.Path(sys.argv[4]).write_text('imported')",
    )
    assert next(importers(nsys)) == importer
    exported, notes = export_report(nsys, tmp_path / "run", keep=True)
    assert exported == place / "report.sqlite"
    assert notes == [f"nsys found no importer beside it; {importer} was used"]
    assert sorted(path.name for path in place.iterdir()) == ["report.nsys-rep", "report.sqlite"]


def test_an_export_that_cannot_be_cleaned_is_not_kept(tmp_path):
    place = tmp_path / "run" / "nsys"
    place.mkdir(parents=True)
    (place / "report.nsys-rep").write_text("report")
    nsys = a_program(tmp_path / "nsys", EXPORT.replace("b''", "b'environment: secret' * 99"))
    exported, (note,) = export_report(nsys, tmp_path / "run", keep=False)
    assert exported is None
    assert note.startswith("nsys exported something that is no database")
    assert list(place.iterdir()) == []


def test_a_missing_report_is_said(tmp_path):
    (tmp_path / "nsys").mkdir()
    exported, (note,) = export_report(Path("nsys"), tmp_path, keep=False)
    assert exported is None
    assert note.startswith("nsys left no report")


def test_a_nsys_beside_other_tools_of_nvidia_is_found(monkeypatch):
    monkeypatch.setenv("PATH", os.devnull)
    if any(Path("/opt").glob("nvidia/nsight-*")):
        assert find_nsys().name == "nsys"
    else:
        with pytest.raises(NsysMissingError, match="not installed"):
            find_nsys()
