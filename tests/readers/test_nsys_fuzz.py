"""Damaged exports raise nothing but the typed error.  `scripts/bench fuzz_nsys` does the same for hours."""

import importlib.util
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "benches" / "fuzz_nsys.py"


@pytest.fixture(scope="module")
def fuzz():
    spec = importlib.util.spec_from_file_location("fuzz_nsys", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_damaged_exports_raise_only_the_typed_error(fuzz, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)

    raised = fuzz.run(count=40, seed=20261125, paths=[])

    printed = capsys.readouterr().out
    assert not raised, printed
    assert "'refused'" in printed
    assert "'read'" in printed


def test_a_bug_would_be_found(fuzz, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(fuzz, "examine", lambda trace: trace.no_such_table)

    assert fuzz.run(count=10, seed=0, paths=[]) > 2
    assert list(tmp_path.glob("fuzz-0-*.sqlite"))
