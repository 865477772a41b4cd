"""Traces of torch.profiler, piece by piece: listed events with listed arguments, and the listed metadata."""

from __future__ import annotations

import contextlib
import functools
import json
import re
from typing import IO, TYPE_CHECKING, Any, NamedTuple

import msgspec

from tbperf.errors import TraceFormatError
from tbperf.readers.chrome import Cut, cut_stream, decode, repaired_text
from tbperf.readers.kineto import rank_of
from tbperf.scrub.allowed import EVENTS, LABELS, METADATA, METADATA_ENTRIES
from tbperf.scrub.packing import opened
from tbperf.scrub.values import NUMBER, kept_entries, read_object

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from tbperf.readers import Source
    from tbperf.scrub.values import Copy, Rule


_NOTHING = msgspec.Raw(b"")


class _Event(msgspec.Struct, gc=False):
    """An event as it is written; what has no name here is passed over."""

    ph: Any = "X"
    cat: Any = None
    name: Any = None
    pid: msgspec.Raw = _NOTHING
    tid: msgspec.Raw = _NOTHING
    ts: msgspec.Raw = _NOTHING
    dur: msgspec.Raw = _NOTHING
    id: msgspec.Raw = _NOTHING
    s: msgspec.Raw = _NOTHING
    bp: msgspec.Raw = _NOTHING
    args: msgspec.Raw = _NOTHING


_EVENTS = msgspec.json.Decoder(list[_Event])
_EVENT = msgspec.json.Decoder(_Event)
_ERRORS = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


def copy_trace(source: Source, target: Path, copy: Copy) -> None:
    """Write what stays of a trace.  One that breaks off gives a copy that breaks off, so that it is read as such."""
    with opened(target) as out:
        _copy(source, out, copy)


def _copy(source: Source, out: IO[bytes], copy: Copy) -> None:
    parts, writer = Cut(), _Writer(copy)
    with source.open() as file:
        pieces = cut_stream(source.blocks(file), parts)
        try:
            first = next(pieces, b"")
            before = writer.metadata(parts, source)
            out.write(b"{%b" % b"".join(b"%b,\n" % entry for entry in before))
            out.write(b'"traceEvents": [')
            separator = b"\n"
            for piece in _with(first, pieces):
                lines = writer.lines(piece, parts)
                if lines:
                    out.write(separator + b",\n".join(lines))
                    separator = b",\n"
                if writer.ended:
                    break
        except ValueError as error:
            raise TraceFormatError(
                f"{source.name}: not a trace: {source.damage or error}", "is it torch.profiler's?"
            ) from error
    if parts.truncated or source.damage:
        return
    out.write(b"\n]%b\n}\n" % b"".join(b",\n%b" % entry for entry in writer.metadata(parts, source)))
    copy.removed.entries["bytes behind the trace"] += len(parts.behind.encode())


def _with(first: bytes, others: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from others


class _Plan(NamedTuple):
    """How events of one phase and category are written."""

    begin: bytes
    kind: str
    args: Mapping[str, Rule]


@functools.lru_cache(1 << 10)
def _plan(phase: str, category: str | None) -> _Plan | None:
    """Return how such events are written; None for those that are not listed."""
    lowered = (category or "").lower()
    group = next((group for group in EVENTS if lowered in group.categories), None)
    if group is None or phase not in group.phases:
        return None
    named = f'"cat": "{category}", ' if category else ""
    return _Plan(f'{{"ph": "{phase}", {named}"name": '.encode(), group.name, group.args)


class _LeftOutError(Exception):
    """Raised for an event that does not stay; says what it is called in the account of what was left out."""


_UNLISTED, _UNREADABLE = "events of other categories", "events that cannot be read"

_TIME = re.compile(rb'-?\d{1,30}(?:\.\d{1,30})?(?:[eE][+-]?\d{1,3})?|"-?\d{1,30}(?:\.\d{1,30})?(?:[eE][+-]?\d{1,3})?"')
_NUMBER = re.compile(rb'-?\d{1,19}(?:\.\d{1,19})?|"-?\d{1,19}"|null')


class _Writer:
    """Writes the events and the metadata of one trace."""

    def __init__(self, copy: Copy) -> None:
        self._copy = copy
        self._texts: dict[tuple[str, str], bytes] = {}
        self._metadata_written: set[str] = set()
        self.ended = False
        """Whether the list of events turned out to end before the last piece."""

    def metadata(self, parts: Cut, source: Source) -> list[bytes]:
        """Return the listed metadata that was read by now and not written before."""
        found = parts.metadata() or {}
        found.pop("traceEvents", None)
        if not self._metadata_written and rank_of({}, source.name) is not None:
            told = found.get("distributedInfo")
            ranks = told if isinstance(told, dict) else {}
            found["distributedInfo"] = {"rank": rank_of(ranks and {"distributedInfo": ranks}, source.name)} | ranks
        new = {name: json.dumps(value).encode() for name, value in found.items() if name not in self._metadata_written}
        self._metadata_written |= new.keys()
        return kept_entries(METADATA, METADATA_ENTRIES, new, self._copy)

    def lines(self, piece: bytes, parts: Cut) -> list[bytes]:
        """Return the events of a piece that stay, each as it may be written."""
        lines = map(self._line_or_nothing, self._events(piece, parts))
        return [line for line in lines if line]

    def _line_or_nothing(self, event: _Event) -> bytes:
        try:
            return self._label(event) if event.ph == "M" else self._line(event)
        except _LeftOutError as left_out:
            self._copy.removed.entries[str(left_out)] += 1
            return b""

    def _events(self, piece: bytes, parts: Cut) -> list[_Event]:
        """Decode a piece; where it is broken, mend it, or take what the reader makes of it."""
        with contextlib.suppress(*_ERRORS):
            return _EVENTS.decode(b"[%b]" % piece)
        with contextlib.suppress(*_ERRORS):
            return _EVENTS.decode("[" + repaired_text(piece.decode("utf-8", "replace")) + "]")
        found = decode(piece, exact=True)
        self._copy.removed.entries["events that cannot be read"] += found.dropped.total()
        if found.tail is not None:
            parts.tail, parts.truncated, self.ended = found.tail, False, True
        return [event for read in found.events if (event := _as_written(read)) is not None]

    def _line(self, event: _Event) -> bytes:
        """Return an event as it may be written."""
        known = isinstance(event.ph, str) and (event.cat is None or isinstance(event.cat, str))
        plan = _plan(event.ph, event.cat) if known else None
        if plan is None:
            raise _LeftOutError(_UNLISTED)
        name = "" if event.name is None else event.name
        if not isinstance(name, str):
            raise _LeftOutError(_UNREADABLE)
        line = [plan.begin, self._text(plan.kind, name), *self._where_and_when(event)]
        if event.id or event.s or event.bp:
            line += self._drawn(event)
        if event.args:
            line.append(self._args(plan.args, event.args))
        line.append(b"}")
        return b"".join(line)

    def _label(self, event: _Event) -> bytes:
        """Return what names or orders a process or thread."""
        rules = LABELS.get(event.name) if isinstance(event.name, str) else None
        if rules is None:
            raise _LeftOutError(_UNLISTED)
        begin = b'{"ph": "M", "name": "%b"' % event.name.encode()
        return b"".join((begin, *self._where_and_when(event), self._args(rules, event.args or b"{}"), b"}"))

    def _where_and_when(self, event: _Event) -> Iterator[bytes]:
        for key, kind, raw in ((b"pid", "process", event.pid), (b"tid", "thread", event.tid)):
            if raw:
                yield b', "%b": %b' % (key, self._identity(kind, bytes(raw)))
        for key, raw in ((b"ts", event.ts), (b"dur", event.dur)):
            if raw and raw != b"null":
                if not _TIME.fullmatch(raw):
                    raise _LeftOutError(_UNREADABLE)
                yield b', "%b": %b' % (key, raw)

    def _args(self, rules: Mapping[str, Rule], raw: bytes | msgspec.Raw) -> bytes:
        args = read_object(raw)
        if args is None:
            raise _LeftOutError(_UNREADABLE)
        if not args:
            return b""
        return b', "args": {%b}' % b", ".join(kept_entries(rules, "arguments of events", args, self._copy))

    def _drawn(self, event: _Event) -> Iterator[bytes]:
        """Yield what only moments and arrows have."""
        if event.id:
            raw = bytes(event.id)
            kept = NUMBER.kept(raw, self._copy)
            yield b', "id": %b' % (kept or json.dumps(self._copy.names.pseudonym(repr(raw))).encode())
        if event.s in _SCOPES:
            yield b', "s": %b' % event.s
        if event.bp == b'"e"':
            yield b', "bp": "e"'

    def _identity(self, kind: str, raw: bytes) -> bytes:
        """Return the id of a process or thread: a number, or a name."""
        if _NUMBER.fullmatch(raw):
            return raw
        if not raw.startswith(b'"'):
            raise _LeftOutError(_UNREADABLE)
        text: str = msgspec.json.decode(raw)
        return self._text(kind, text)

    def _text(self, kind: str, text: str) -> bytes:
        key = kind, text
        written = self._texts.get(key)
        if written is None:
            if len(self._texts) > _MOST_TEXTS:
                self._texts.clear()
            written = self._texts[key] = json.dumps(self._copy.names.written(kind, text)).encode()
        return written


_MOST_TEXTS = 1 << 15
_SCOPES = (b'"t"', b'"p"', b'"g"')


def _as_written(read: Any) -> _Event | None:
    """Return an event that a reader saved from a broken piece; None for one that it kept nothing of."""
    fields = {name: getattr(read, name) for name in read.__struct_fields__}
    if not fields:
        return None
    args = fields.pop("args")
    named = zip(args.__struct_fields__, args.__struct_encode_fields__, strict=True)
    told = {encoded: getattr(args, name) for name, encoded in named}
    fields["args"] = {key: value for key, value in told.items() if value != _NOTHING}
    fields["ph"] = read.__struct_config__.tag
    with contextlib.suppress(*_ERRORS, TypeError):
        return _EVENT.decode(msgspec.json.encode(fields))
    return None
