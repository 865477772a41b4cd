"""What the page explains is what docs/report.md says."""

import re
from pathlib import Path

import pytest

from tbperf.analyses.host import WORK
from tbperf.analyses.idle import CAUSES
from tbperf.render.glossary import CAUSE_DEFINITIONS, OWNERS, WORK_DEFINITIONS, words

DOCS = (Path(__file__).parents[2] / "docs" / "report.md").read_text()


def rows(section):
    """Return the tables of a section of the page: their first cells, and what stands beside them."""
    text = " ".join(DOCS.partition(f"## {section}\n")[2].partition("\n## ")[0].split())
    return {cell.strip(): words.strip() for cell, words in re.findall(r"\| ([^|]+) \| ([^|]+) \|", text)}


OWNED = rows("The partition of a device's time")
CAUSED = rows("Why it idles")
WORKED = rows("What the host does")


@pytest.mark.parametrize("owner", OWNERS)
def test_owners_are_defined_as_in_the_docs(owner):
    assert OWNED[owner] == OWNERS[owner]


@pytest.mark.parametrize("cause", [cause for cause in CAUSES if cause != "queued"])
def test_causes_are_defined_as_in_the_docs(cause):
    (row,) = [text for names, text in CAUSED.items() if cause in re.findall(r"`(\w+)`", names)]

    assert row == CAUSE_DEFINITIONS[cause]


@pytest.mark.parametrize("work", WORK_DEFINITIONS)
def test_sorts_of_work_are_defined_as_in_the_docs(work):
    assert WORKED[f"`{work}`"] == WORK_DEFINITIONS[work]


def test_every_sort_of_work_has_words():
    assert set(words()["work"]) == set(WORK)


def test_every_word_has_a_meaning():
    found = words()

    assert set(found["causes"]) == set(CAUSES)
    assert "Nanoseconds by the stage that launched them." in found["fields"]["kernels"]["stage"]
    assert all(found["terms"].values())
    assert "## What it means" in found["rules"]["LOADER001"]
