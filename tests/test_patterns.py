"""No pattern goes back and forth over a text: names in traces are as long as files, and not to be trusted."""

import importlib
import pathlib
import pkgutil
import re
import signal

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import tbperf

LENGTH = 50_000
LIMIT_S = 0.7
"""Of the processor.  One pass takes milliseconds; a pass from each place, or back from each, takes minutes."""
LOOKING_AROUND = r"\(\?<?[=!]"
TYPED = ("tbperf.gates._CONDITION[0]", "tbperf.gates._CODE[0]")
"""Patterns of what a user types."""
HELD_FROM_THE_BEGINNING = (
    "tbperf.readers.chrome._FIRST_OF_A_LIST",
    "tbperf.readers.chrome._LIST_FOLLOWS",
    "tbperf.readers.foreign.FOREIGN",
    "tbperf.scrub.folder.",
    "tbperf.scrub.names.",
)
"""Where patterns are held against a text from its beginning only, but for those that their module searches for."""
RUN_BY_THEMSELVES = ("tbperf.capture.bootstrap", "tbperf.capture.probe", "tbperf.__main__")
"""Modules that do something when they are imported."""


def modules():
    for found in pkgutil.walk_packages(tbperf.__path__, "tbperf."):
        if not found.name.startswith(RUN_BY_THEMSELVES):
            yield importlib.import_module(found.name)


def patterns_in(value):
    if isinstance(value, re.Pattern):
        yield value
    elif isinstance(value, dict):
        yield from patterns_in(list(value.values()))
    elif isinstance(value, (tuple, list)):
        for part in value:
            yield from patterns_in(part)


PATTERNS = {}
"""All patterns that are constants of modules, by where they stand."""
for module in modules():
    for constant, value in vars(module).items():
        for number, pattern in enumerate(patterns_in(value)):
            if pattern not in PATTERNS.values():
                PATTERNS[f"{module.__name__}.{constant}[{number}]"] = pattern


def anchored(name):
    """Return whether a pattern is never searched for in its module."""
    if not name.startswith(HELD_FROM_THE_BEGINNING):
        return False
    module, _, constant = name.partition("[")[0].rpartition(".")
    source = pathlib.Path(importlib.import_module(module).__file__).read_text()
    return re.search(rf"\b{constant}\.(?:search|sub|split|find\w+)\(", source) is None


class TakesTooLongError(Exception):
    """A pattern looked at a text for longer than one pass takes."""


def give_up(_signal, _frame):
    raise TakesTooLongError


@pytest.fixture(autouse=True)
def _limit():
    before = signal.signal(signal.SIGVTALRM, give_up)
    yield
    signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    signal.signal(signal.SIGVTALRM, before)


def in_one_pass(pattern, text, *, from_the_beginning=False):
    """Use a pattern in every way in which one can be used, or only from the beginning of the text."""
    signal.setitimer(signal.ITIMER_VIRTUAL, LIMIT_S)
    try:
        pattern.match(text)
        pattern.fullmatch(text)
        if not from_the_beginning:
            pattern.search(text)
            pattern.sub(text[:0], text)
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)


def fitting(pattern):
    """Return a strategy of texts that fit; it knows no looking around."""
    return st.nothing() if re.search(LOOKING_AROUND, str(pattern.pattern)) else st.from_regex(pattern)


def pieces(pattern):
    """Return a strategy of words and signs of a pattern, one behind the other."""
    source = pattern.pattern
    join = source[:0].join
    found = re.findall(rb"\w+|[^\w]" if isinstance(source, bytes) else r"\w+|[^\w]", source)
    return st.lists(st.sampled_from(found), min_size=1, max_size=5).map(join)


@st.composite
def texts(draw, pattern):
    """Draw a text that a pattern fits, what of it is repeated, and how the end of it all is spoiled."""
    found = draw(st.one_of(fitting(pattern), pieces(pattern)))
    begin = draw(st.integers(0, max(0, len(found) - 1)))
    end = draw(st.integers(begin + 1, max(begin + 1, len(found))))
    spoiled = draw(st.sampled_from(["", "!", "x", " ", "\n", '"', "\\"]))
    rest = found[end:] if draw(st.booleans()) else found[:0]
    return found[:begin], found[begin:end], rest + (spoiled.encode() if isinstance(found, bytes) else spoiled)


@pytest.mark.parametrize("name", [name for name in PATTERNS if name not in TYPED])
def test_a_pattern_looks_at_a_text_in_one_pass(name):
    pattern = PATTERNS[name]

    @settings(max_examples=10, phases=[Phase.generate], deadline=None, suppress_health_check=list(HealthCheck))
    @given(texts(pattern))
    def check(parts):
        head, part, tail = parts
        text = head + part * (LENGTH // max(1, len(part))) + tail
        in_one_pass(pattern, text, from_the_beginning=anchored(name))

    check()


def words_of(pattern):
    """Return what stands in a pattern as it is, and a sign of each sort."""
    source = pattern.pattern.decode() if isinstance(pattern.pattern, bytes) else pattern.pattern
    return [*dict.fromkeys(re.findall(r"[A-Za-z0-9_:,= ]{2,}", source)), *'a1_ /"([{\\\n']


@pytest.mark.parametrize("name", [name for name in PATTERNS if name not in TYPED])
def test_a_word_that_comes_again_and_again_costs_one_pass(name):
    pattern = PATTERNS[name]
    words = words_of(pattern)
    for head in ("", *words[:2]):
        for word in words:
            text = head + word * (LENGTH // len(word)) + "!"
            encoded = text.encode() if isinstance(pattern.pattern, bytes) else text
            in_one_pass(pattern, encoded, from_the_beginning=anchored(name))


def test_the_test_sees_patterns_that_go_back_and_forth():
    with pytest.raises(TakesTooLongError):
        in_one_pass(re.compile(r"\W*(?:nccl|rccl)"), "/" * LENGTH)
    with pytest.raises(TakesTooLongError):
        in_one_pass(re.compile(r"cuda\w*Launch\w*$"), "cuda" + "Launch" * (LENGTH // 6) + "!")
