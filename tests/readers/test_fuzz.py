"""Damaged input raises nothing but the typed error.  `scripts/bench fuzz` runs the same for as long as you like."""

import importlib
from pathlib import Path

import pytest

BENCHES = Path(__file__).parents[2] / "scripts" / "benches"


@pytest.fixture
def fuzz(tmp_path, monkeypatch):
    """Return how to fuzz each format; what is kept lies in the test's folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(BENCHES)
    return {"json": importlib.import_module("fuzz").run, "sqlite": importlib.import_module("fuzz_nsys").run}


@pytest.mark.parametrize(("suffix", "count"), [("json", 400), ("sqlite", 40)])
def test_damaged_traces_raise_only_the_typed_error(fuzz, suffix, count, capsys):
    raised = fuzz[suffix](count=count, seed=20261125, paths=[])

    printed = capsys.readouterr().out
    assert not raised, printed
    assert "'refused'" in printed
    assert "'read'" in printed


@pytest.mark.parametrize("suffix", ["json", "sqlite"])
def test_a_bug_would_be_found(fuzz, suffix, tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.import_module("fuzz"), "examine", lambda trace: trace.no_such_table)

    assert fuzz[suffix](count=12, seed=0, paths=[]) > 2
    assert list(tmp_path.glob(f"fuzz-0-*.{suffix}"))
