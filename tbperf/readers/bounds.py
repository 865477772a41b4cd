"""What numbers and values of unknown origin may be.  What lies outside is left out and said, never computed with."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, get_args, get_origin

import msgspec
from msgspec import Meta

from tbperf.trace import LONGEST_TEXT

if TYPE_CHECKING:
    from collections.abc import Mapping

DAY_NS = 86_400 * 10**9
"""What takes longer than a day is a counter that ran over."""

FURTHEST_NS = 1 << 61
"""Times beyond this cannot be, and could overflow: 2043 on a clock that began in 1970."""

MOST_BYTES = 1 << 50
"""A petabyte: more is no size of anything that a program allocates or copies."""

MOST_RANKS = 1 << 20

_EXACT = (1 << 53) - 1
"""The largest integer that every reader of JSON keeps as it is."""

Whole = Annotated[int, Meta(ge=0, le=_EXACT)]
Count = Annotated[int, Meta(ge=0, le=1 << 31)]
Duration = Annotated[int, Meta(ge=0, le=DAY_NS)]
Moment = Annotated[int, Meta(ge=0, le=FURTHEST_NS)]
Rank = Annotated[int, Meta(ge=0, lt=MOST_RANKS)]
Size = Annotated[int, Meta(ge=0, le=MOST_BYTES)]
Cores = Annotated[float, Meta(ge=0, le=1 << 20)]
Text = Annotated[str, Meta(max_length=1 << 16)]

_DEEPEST = 32

StructT = TypeVar("StructT", bound=msgspec.Struct)


def plain(value: Any, left_out: list[str] | None = None, name: str = "", depth: int = 0) -> Any:
    """Return a JSON value as a report can hold it: no number that JSON or 64 bits cannot hold, nothing bottomless.

    What is none becomes null; the name of the entry that it stands in is added to a list.
    """
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, dict) and depth < _DEEPEST:
        return {storable(key): plain(entry, left_out, key, depth + 1) for key, entry in value.items()}
    if isinstance(value, list) and depth < _DEEPEST:
        return [plain(entry, left_out, name, depth + 1) for entry in value]
    holds = (
        value is None
        or (isinstance(value, int) and -(2**63) <= value < 2**63)  # true and false, too
        or (isinstance(value, float) and math.isfinite(value))
    )
    if not holds and left_out is not None:
        left_out.append(storable(name))
    return value if holds else None


def writable(document: Any) -> Any:
    """Return a JSON document without what cannot be written as UTF-8 (lone surrogates)."""
    return json.loads(json.dumps(document, ensure_ascii=False).encode("utf-8", "replace"), parse_int=whole_number)


def whole_number(digits: str) -> int | None:
    """Return an integer of JSON; none of so many digits that Python refuses to read them."""
    return int(digits) if len(digits) < _MOST_DIGITS else None


_MOST_DIGITS = 400


def storable(text: str) -> str:
    """Cut what no name can be, and replace what cannot be written as UTF-8 (lone surrogates)."""
    if len(text) > LONGEST_TEXT:
        text = text[:LONGEST_TEXT]
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def checked(found: Mapping[str, Any], kinds: Mapping[str, Any], left_out: list[str]) -> dict[str, Any]:
    """Return the entries of an object without those that are not of their kind, whose names are added to a list."""
    kept = dict(found)
    for name in kinds.keys() & found.keys():
        try:
            kept[name] = msgspec.convert(found[name], kinds[name])
        except msgspec.ValidationError:  # noqa: PERF203 - a handful of entries
            del kept[name]
            left_out.append(name)
    return kept


def as_far_as_it_goes(kind: type[StructT], found: Any, left_out: list[str]) -> StructT:
    """Return an object whose fields are what fits them; of lists and mappings, the entries that do.

    What does not is left to its default, and the field's name is added to a list.
    """
    if not isinstance(found, dict):
        left_out.append("all of it")
        return kind()
    fields = {}
    for field in msgspec.structs.fields(kind):
        if field.encode_name not in found:
            continue
        value = found[field.encode_name]
        try:
            fields[field.name] = msgspec.convert(value, field.type)
        except msgspec.ValidationError:
            left_out.append(field.encode_name)
            part = _fitting_part(value, field.type)
            if part is not None:
                fields[field.name] = part
    return kind(**fields)


def _fitting_part(value: Any, kind: Any) -> Any:
    """Return those entries of a list or mapping that are of its kind; None for what is neither."""
    if get_origin(kind) is dict and isinstance(value, dict):
        of = get_args(kind)[1]
        return {name: entry for name, entry in ((n, _converted(e, of)) for n, e in value.items()) if entry is not None}
    if get_origin(kind) is list and isinstance(value, list):
        of = get_args(kind)[0]
        return [entry for entry in (_converted(e, of) for e in value) if entry is not None]
    return None


def _converted(value: Any, kind: Any) -> Any:
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError:
        return None
