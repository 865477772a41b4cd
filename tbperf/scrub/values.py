"""Rules for values: what a value may look like that stays in a recording.  They work on JSON as it is written.

A value of another shape is left out, whatever it is: the rule for a number knows nothing of the texts that it refuses.
"""

from __future__ import annotations

import functools
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tbperf.scrub.names import Names
    from tbperf.scrub.removed import Removed


class Rule(Protocol):
    """One shape of values."""

    @property
    def says(self) -> str:
        """The shape, for the documentation."""
        ...

    def kept(self, raw: bytes, copy: Copy) -> bytes | None:
        """Return what of a value stays; None where nothing does."""
        ...


@dataclass
class Copy:
    """What all parts of one copy share: its pseudonyms, and the account of what it lacks."""

    names: Names
    removed: Removed


@dataclass(frozen=True)
class Shaped:
    """A value whose JSON has a certain shape, or is null."""

    says: str
    pattern: bytes

    @functools.cached_property
    def _match(self) -> Any:
        return re.compile(rb"(?:" + self.pattern + rb"|null)").fullmatch

    def kept(self, raw: bytes, copy: Copy) -> bytes | None:  # noqa: ARG002 - the same for all
        """Return it as it is."""
        return raw if self._match(raw) else None


_DIGITS = rb"-?\d{1,24}(?:\.\d{1,24})?(?:[eE][+-]?\d{1,3})?"
NUMBER = Shaped("a number", rb'%b|"%b"|true|false' % (_DIGITS, _DIGITS))
NUMBERS = Shaped("numbers, also in lists of lists", rb'"?[\[\]\s,\d.eE+-]{0,65536}"?')
"""Digits and brackets can say nothing else, so their order is not looked at."""
FLAG = Shaped("a truth value", rb"true|false|[01]")


def one_of(*texts: str) -> Shaped:
    """Return the rule for some texts."""
    return Shaped(
        ", ".join(f"`{text}`" for text in texts), b"|".join(f'"{re.escape(text)}"'.encode() for text in texts)
    )


VERSION = Shaped(
    "a version number",
    rb'"?v?\d{1,10}(?:\.\d{1,6}){0,4}(?:\.?(?:a|b|rc|dev|post)\d{0,10})?(?:\+(?:cu|cpu|rocm|xpu)[\d.]{0,8})?"?',
)


@dataclass(frozen=True)
class Name:
    """A text that is written as names of its kind are."""

    kind: str

    @property
    def says(self) -> str:
        """The shape, for the documentation."""
        return f"a name: {self.kind}"

    def kept(self, raw: bytes, copy: Copy) -> bytes | None:
        """Return the name, or what stands for it."""
        text = decoded(raw)
        return json.dumps(copy.names.written(self.kind, text)).encode() if isinstance(text, str) else None


class Either:
    """A value of any of some shapes; the first that has room for it decides."""

    def __init__(self, *rules: Rule) -> None:
        self._rules = rules

    @property
    def says(self) -> str:
        """The shape, for the documentation."""
        return ", or ".join(rule.says for rule in self._rules)

    def kept(self, raw: bytes, copy: Copy) -> bytes | None:
        """Return what of it stays."""
        return next((kept for rule in self._rules if (kept := rule.kept(raw, copy)) is not None), None)


@dataclass(frozen=True)
class Each:
    """A list of values of one shape; null stands for those of another."""

    rule: Rule

    @property
    def says(self) -> str:
        """The shape, for the documentation."""
        return f"a list of {self.rule.says}"

    def kept(self, raw: bytes, copy: Copy) -> bytes | None:
        """Return the list, as it is written where all of it stays."""
        values = _list(raw)
        if values is None:
            return None
        kept = [self.rule.kept(bytes(value), copy) or b"null" for value in values]
        if all(bytes(before) == after for before, after in zip(values, kept, strict=True)):
            return raw
        return b"[" + b", ".join(kept) + b"]"


@dataclass(frozen=True)
class Fields:
    """An object of which listed entries stay."""

    of: Mapping[str, Rule]
    what: str
    """What its entries are called in the account of what was left out."""
    says: str = "an object"

    def kept(self, raw: bytes, copy: Copy) -> bytes | None:
        """Return the entries that stay."""
        values = read_object(raw)
        return None if values is None else b"{" + b", ".join(kept_entries(self.of, self.what, values, copy)) + b"}"


@dataclass(frozen=True)
class Keyed:
    """An object whose keys are names."""

    kind: str
    rule: Rule

    @property
    def says(self) -> str:
        """The shape, for the documentation."""
        return f"by names: {self.kind}; each {self.rule.says}"

    def kept(self, raw: bytes, copy: Copy) -> bytes | None:
        """Return the entries whose values stay."""
        values = read_object(raw)
        if values is None:
            return None
        entries = []
        for key, value in values.items():
            kept = self.rule.kept(bytes(value), copy)
            if kept is None:
                copy.removed.entries["values"] += 1
            else:
                entries.append(json.dumps(copy.names.written(self.kind, key)).encode() + b": " + kept)
        return b"{" + b", ".join(entries) + b"}"


def kept_entries(rules: Mapping[str, Rule], what: str, values: Mapping[str, bytes], copy: Copy) -> list[bytes]:
    """Return the listed entries of an object as they may be written, and count the others."""
    entries = []
    for key, value in values.items():
        rule = rules.get(key)
        kept = rule.kept(bytes(value), copy) if rule is not None else None
        if kept is None:
            copy.removed.entries[what] += 1
        else:
            entries.append(b'"%b": %b' % (key.encode(), kept))
    return entries


_OBJECT, _LIST = msgspec.json.Decoder(dict[str, msgspec.Raw]), msgspec.json.Decoder(list[msgspec.Raw])
_ANY = msgspec.json.Decoder()
_ERRORS = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


def read_object(raw: bytes) -> dict[str, Any] | None:
    """Return the entries of an object as they are written; None for what is none."""
    try:
        return _OBJECT.decode(raw)
    except _ERRORS:
        return None


def _list(raw: bytes) -> list[Any] | None:
    try:
        return _LIST.decode(raw)
    except _ERRORS:
        return None


def decoded(raw: bytes) -> Any:
    """Return a value; None where it cannot be read."""
    try:
        return _ANY.decode(raw)
    except _ERRORS:
        return None
