"""Every rule has its page, and the pages say what the rules say."""

import importlib.util
import re
from pathlib import Path

import pytest

from tbperf.findings import RULES
from tbperf.findings.thresholds import table

ROOT = Path(__file__).parents[2]
_SPEC = importlib.util.spec_from_file_location("pages", ROOT / "scripts" / "benches" / "pages.py")
PAGES = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(PAGES)


@pytest.mark.parametrize("name", PAGES.pages())
def test_the_pages_are_in_step_with_the_rules(name):
    assert (PAGES.FOLDER / name).read_text() == PAGES.pages()[name], "run scripts/findings"


def test_there_are_no_pages_of_rules_that_are_no_more():
    assert {path.name for path in PAGES.FOLDER.glob("*.md")} == {*PAGES.pages(), "truth.md"}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.code)
def test_every_page_has_all_its_parts(rule):
    parts = re.findall(r"^## (.*)$", rule.page, re.MULTILINE)

    assert parts == [
        "What it means",
        "How it is measured",
        "Why it costs",
        "What to change",
        "Known false alarms",
        "Example",
    ]
    assert len(rule.title) < 60


def test_every_threshold_is_used_and_has_a_reason():
    folder = ROOT / "tbperf" / "findings"
    sources = [path.read_text() for path in folder.rglob("*.py") if path.stem != "thresholds"]

    for name, value in table().items():
        assert any(re.search(rf"\b{name}\b", source) for source in sources), f"nothing uses {name}"
        assert value.reason
        assert value.unit


def test_no_rule_hides_a_threshold():
    """Numbers that decide stand in the one table."""
    for path in (ROOT / "tbperf" / "findings" / "rules").glob("*.py"):
        code = path.read_text().partition("from __future__")[2]
        assert not re.search(r"^[A-Z_]*SHARE\w* = ", code, re.MULTILINE), path.name
