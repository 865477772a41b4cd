"""Damaged input raises nothing but the typed error.  `scripts/bench fuzz` runs the same for as long as you like."""

import contextlib
import copy
import importlib
import random
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tbperf.analyses import Rows
from tests.draw import Timeline

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
    assert "'read" in printed


@pytest.mark.parametrize("suffix", ["json", "sqlite"])
def test_a_bug_would_be_found(fuzz, suffix, tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.import_module("fuzz"), "examine", lambda trace: trace.no_such_table)

    assert fuzz[suffix](count=12, seed=0, paths=[]) > 2
    assert list(tmp_path.glob(f"fuzz-0-*.{suffix}"))


# Meaning: what is changed is what a recording says, not its bytes.


def bench(name):
    import sys

    if str(BENCHES) not in sys.path:
        sys.path.append(str(BENCHES))
    return importlib.import_module(name)


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.randoms(use_true_random=False))
def test_whatever_a_trace_says_its_report_adds_up(rng):
    meaning, fuzz_meaning = bench("meaning"), bench("fuzz_meaning")
    documents = fuzz_meaning.drawn()

    data = meaning.changed(rng.choice(documents), rng, documents)

    campaign = object.__new__(fuzz_meaning.Campaign)
    campaign._count = 0
    campaign._analyze_kineto(data)


@pytest.mark.parametrize(("kind", "count"), [("kineto", 40), ("nsys", 20), ("run", 20)])
def test_changed_recordings_raise_only_the_typed_error_and_their_reports_add_up(
    kind, count, capsys, monkeypatch, tmp_path
):
    monkeypatch.chdir(tmp_path)

    raised = bench("fuzz_meaning").run(count, 20261125, [], kind)

    printed = capsys.readouterr().out
    assert not raised, printed
    assert "'with losses'" in printed


def test_every_change_changes_something():
    meaning = bench("meaning")
    (document, *_) = bench("fuzz_meaning").drawn()
    for change in meaning.CHANGES:
        changed = []
        for seed in range(20):
            other = copy.deepcopy(document)
            with contextlib.suppress(KeyError, TypeError):  # not every event has every field
                change(random.Random(seed), other, other["traceEvents"])  # noqa: S311
            changed.append(other != document)
        assert any(changed), change.__name__


@pytest.mark.parametrize(
    "spoil",
    [
        lambda r: replace(r, devices=Rows(replace(d, idle_ns=d.idle_ns + 1) for d in r.devices)),
        lambda r: replace(
            r, devices=Rows(replace(d, compute_ns=-1, idle_ns=d.idle_ns + d.compute_ns + 1) for d in r.devices)
        ),
        lambda r: replace(r, idle=Rows(replace(c, idle_ns=c.idle_ns + 1) for c in r.idle)),
        lambda r: replace(r, linked_share=float("nan")),
        lambda r: replace(r, steps=Rows(replace(s, dur_ns=-5) for s in r.steps)),
        lambda r: replace(r, steps=Rows(replace(s, dur_ns=10**29) for s in r.steps)),
        lambda r: replace(r, bytes="many"),
    ],
)
def test_a_report_that_does_not_add_up_would_be_found(spoil, monkeypatch):
    invariants = bench("invariants")
    whole = invariants.examine
    trace = Timeline().step(1, 0, 100).kernel(10, 30, call=(1, 4)).kernel(50, 60).trace()
    invariants.check([trace])
    monkeypatch.setattr(invariants, "examine", lambda trace: spoil(whole(trace)))

    with pytest.raises((AssertionError, OverflowError, TypeError, ValueError)):
        invariants.check([trace])


def test_a_raw_control_character_in_a_text_would_be_found(monkeypatch):
    invariants = bench("invariants")
    monkeypatch.setattr(invariants, "render_markdown", lambda _report: "a \x1b]0;title\x07")

    with pytest.raises(AssertionError, match="the text holds"):
        invariants.check([Timeline().kernel(0, 10).trace()])
