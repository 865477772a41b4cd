"""Reports over the project's own recordings stay what they are; a change of one is a decision (scripts/golden)."""

import gzip
import json
import math
import shutil
from pathlib import Path

import pytest

from tbperf import analyze
from tbperf.render import render_json

ROOT = Path(__file__).parents[1]
GOLDEN = ROOT / "tests" / "golden"
SAMPLES = sorted(path.parent for path in (ROOT / "sample_traces").rglob("run.json"))


def name_of(sample):
    return "-".join(sample.relative_to(ROOT / "sample_traces").parts)


def document(path):
    """Return the report as JSON, without what depends on where and how the files lie."""
    found = json.loads(render_json(analyze(path)))
    del found["tbperf"]
    for trace in found["traces"]:
        trace["path"] = Path(trace["path"]).name.removesuffix(".gz")
        del trace["bytes"]
        if trace["run"]:
            trace["run"]["folder"] = Path(trace["run"]["folder"]).name
    for log in found["logged_steps"]:
        log["folder"] = Path(log["folder"]).name
    return found


def assert_same(found, expected, place="report"):
    """Compare, with room for the last digits of floats."""
    assert type(found) is type(expected), place
    if isinstance(expected, dict):
        assert found.keys() == expected.keys(), place
        for key, value in expected.items():
            assert_same(found[key], value, f"{place}.{key}")
    elif isinstance(expected, list):
        assert len(found) == len(expected), place
        for index, value in enumerate(expected):
            assert_same(found[index], value, f"{place}[{index}]")
    elif isinstance(expected, float):
        assert math.isclose(found, expected, rel_tol=1e-9), place
    else:
        assert found == expected, place


@pytest.mark.parametrize("sample", SAMPLES, ids=name_of)
def test_the_report_is_the_golden_one(sample):
    assert_same(document(sample), json.loads((GOLDEN / f"{name_of(sample)}.json").read_text()))


@pytest.mark.parametrize("sample", SAMPLES, ids=name_of)
def test_the_report_is_the_same_unpacked_and_renamed(sample, tmp_path):
    run = tmp_path / sample.name
    shutil.copytree(sample, run)
    for path in run.rglob("*.pt.trace.json.gz"):
        path.with_name(f"x{path.stem}").write_bytes(gzip.decompress(path.read_bytes()))
        path.unlink()
    expected = json.loads((GOLDEN / f"{name_of(sample)}.json").read_text())

    found = document(run)

    for trace, other in zip(found["traces"], expected["traces"], strict=True):
        assert trace.pop("path") == f"x{other.pop('path')}"
    assert_same(found["traces"], expected["traces"])


def test_there_are_samples_and_each_has_its_golden_report():
    assert len(SAMPLES) >= 2
    assert {path.stem for path in GOLDEN.glob("*.json")} == set(map(name_of, SAMPLES))


def test_samples_are_small():
    assert all(path.stat().st_size < 2_000_000 for path in (ROOT / "sample_traces").rglob("*") if path.is_file())
