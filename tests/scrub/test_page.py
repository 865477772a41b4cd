"""The page about sharing prints the list that the code goes by; the list of words is in order."""

import importlib.util
from pathlib import Path

from tbperf.scrub import names

ROOT = Path(__file__).parents[2]
_SPEC = importlib.util.spec_from_file_location("scrub_page", ROOT / "scripts" / "benches" / "scrub_page.py")
PAGE = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(PAGE)


def test_the_page_is_in_step_with_the_list():
    assert PAGE.PAGE.read_text() == PAGE.page(), "run scripts/scrub"


def test_the_words_are_in_order_and_each_is_there_once():
    lines = Path(names.__file__).with_name("words.txt").read_text(encoding="ascii").splitlines()
    words = [word for line in lines if not line.startswith("#") for word in line.split()]

    assert words == sorted(set(words))
    assert max(map(len, lines)) <= 130
    assert "anon" not in words  # a pseudonym could be taken for a name
    assert all(word.islower() and word.isalnum() for word in words)


def test_the_words_go_with_the_package():
    assert "scrub/words.txt" in (ROOT / "setup.cfg").read_text()
