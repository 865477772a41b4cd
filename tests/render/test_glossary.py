"""What the page explains is what docs/report.md says."""

import re
from pathlib import Path

import pytest

from tbperf.analyses.idle import CAUSES
from tbperf.render.glossary import CAUSE_DEFINITIONS, OWNERS, words

DOCS = " ".join((Path(__file__).parents[2] / "docs" / "report.md").read_text().split())
ROWS = {cell.strip(): text.strip() for cell, text in re.findall(r"\| ([^|]+) \| ([^|]+) \|", DOCS)}


@pytest.mark.parametrize("owner", OWNERS)
def test_owners_are_defined_as_in_the_docs(owner):
    assert ROWS[owner] == OWNERS[owner]


@pytest.mark.parametrize("cause", [cause for cause in CAUSES if cause != "queued"])
def test_causes_are_defined_as_in_the_docs(cause):
    (row,) = [text for names, text in ROWS.items() if cause in re.findall(r"`(\w+)`", names)]

    assert row == CAUSE_DEFINITIONS[cause]


def test_every_word_has_a_meaning():
    found = words()

    assert set(found["causes"]) == set(CAUSES)
    assert "Nanoseconds by the stage that launched them." in found["fields"]["kernels"]["stage"]
    assert all(found["terms"].values())
    assert "## What it means" in found["rules"]["LOADER001"]
