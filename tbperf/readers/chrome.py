"""Trace-event JSON as bytes: cut it into pieces of whole events, decode each piece, save what a broken one still holds.

A file is ``head [event, event, …] tail``; head and tail make the metadata.  Nothing here knows what the events mean.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Union, cast

import msgspec

if TYPE_CHECKING:
    import mmap
    from collections.abc import Callable, Iterable, Iterator

PIECE_BYTES = 4 << 20
"""Larger pieces decode slower, for their events no longer fit into the processor's caches."""

HEAD_BYTES = 256 << 20
"""A file whose events have not begun by then is no trace."""

LONGEST_EVENT_BYTES = 64 << 20
"""Where no event ends for so long the file is cut all the same; the event that was cut counts as malformed."""

_SEARCH_BYTES = 1 << 16

_EVENTS = re.compile(rb'"traceEvents"\s*:\s*\[')

# Two events that follow each other. The quote after the brace opens a key and does not close a string, for a letter
# follows it; so the brace and all before it lie outside of strings, whatever the names in the file contain.
_KEYS = "(?:ph|cat|name|pid|tid|ts|dur|tts|id|args|s|bp|cname|sf)"
_BETWEEN = re.compile(rf'\}}\s*,\s*(?=\{{\s*"{_KEYS}"\s*:)'.encode())


@dataclass
class Cut:
    """What lies around the events of a file, filled in while its pieces are read."""

    head: bytes = b""
    tail: bytes = b""
    truncated: bool = False

    def metadata(self) -> dict[str, Any] | None:
        """Return what stands beside the events; None where that cannot be read."""
        if not self.head.lstrip().startswith(b"{"):
            return {}
        tail = self.tail if self.tail.strip() else b"}"
        for candidate in (self.head + b"]" + tail, self.head + b"]}"):
            text = repaired_text(candidate.decode("utf-8", "replace"))
            try:
                found = json.loads(text, strict=False)
            except (ValueError, RecursionError):
                continue
            if isinstance(found, dict):
                # Once more, without what cannot be written as UTF-8 (lone surrogates).
                return dict(json.loads(json.dumps(found, ensure_ascii=False).encode("utf-8", "replace")))
        return None


def looks_like_json(head: bytes) -> bool:
    """Tell whether a file could hold trace events, by its first bytes."""
    return head.removeprefix(_BYTE_ORDER_MARK).lstrip()[:1] in (b"{", b"[")


_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def cut_file(data: mmap.mmap | bytes, parts: Cut) -> list[tuple[int, int]]:
    """Return where the pieces of a file that lies open begin and end; fill in the other parts.

    Raises ValueError where no list of events begins.
    """
    size = len(data)
    at = _begin_of_events(data, size)
    if at is None:
        raise ValueError("it holds no list of trace events")
    parts.head = bytes(data[:at]).removeprefix(_BYTE_ORDER_MARK)
    pieces = []
    while (end := _next_end(data, at + PIECE_BYTES, size)) is not None:
        pieces.append((at, end[0]))
        at = end[1]
    rest = bytes(data[at:size])
    pieces += [(at + begin, at + end) for begin, end in _last_pieces(rest, parts)]
    return pieces


def cut_stream(blocks: Iterable[bytes], parts: Cut) -> Iterator[bytes]:
    """Yield the pieces of a file that comes block by block; fill in the other parts.

    Raises ValueError where no list of events begins.
    """
    blocks = iter(blocks)
    buffer = _skip_head(blocks, parts)
    for block in blocks:
        buffer += block
        at = 0
        while (end := _next_end(buffer, at + PIECE_BYTES, len(buffer))) is not None:
            yield bytes(buffer[at : end[0]])
            at = end[1]
        del buffer[:at]
    rest = bytes(buffer)
    del buffer
    for begin, end_of_piece in _last_pieces(rest, parts):
        yield rest[begin:end_of_piece]


def _begin_of_events(data: mmap.mmap | bytes | bytearray, size: int, seen: int = 0) -> int | None:
    """Return where the first event may begin."""
    first = re.compile(rb"\s*\[").match(data, 3 if data[:3] == _BYTE_ORDER_MARK else 0)
    match = first or _EVENTS.search(data, seen, min(size, HEAD_BYTES))
    return match.end() if match else None


def _skip_head(blocks: Iterator[bytes], parts: Cut) -> bytearray:
    """Read up to the first event and return what was read beyond."""
    buffer = bytearray()
    for block in blocks:
        seen = max(0, len(buffer) - _SEARCH_BYTES)
        buffer += block
        begin = _begin_of_events(buffer, len(buffer), seen)
        if begin is not None:
            parts.head = bytes(buffer[:begin]).removeprefix(_BYTE_ORDER_MARK)
            del buffer[:begin]
            return buffer
        if len(buffer) > HEAD_BYTES:
            break
    raise ValueError("it holds no list of trace events")


def _next_end(data: mmap.mmap | bytes | bytearray, start: int, size: int) -> tuple[int, int] | None:
    """Return the end of the first event that ends behind a place, and the begin of the next."""
    reach = start
    while reach < size:
        reach = min(size, start + min(LONGEST_EVENT_BYTES, max(_SEARCH_BYTES, 8 * (reach - start))))
        if match := _BETWEEN.search(data, start, reach):
            return match.start() + 1, match.end()
        if reach - start >= LONGEST_EVENT_BYTES:
            return reach, reach
    return None


def _last_pieces(rest: bytes, parts: Cut) -> list[tuple[int, int]]:
    """Find where the list of events ends; the tail of the file lies behind it."""
    last = 0
    pieces = []
    reach = _SEARCH_BYTES
    while True:
        begin = max(0, len(rest) - reach)
        matches = list(_BETWEEN.finditer(rest, begin))
        if matches:
            pieces.append((0, matches[-1].start() + 1))
            last = matches[-1].end()
            break
        if not begin:
            break
        reach *= 8
    text = rest[last:].decode("latin-1")  # a byte a character: positions are those of the bytes
    begin = len(text) - len(text.lstrip())
    end: int | None = begin
    if not text.startswith("]", begin):
        try:
            _, end = json.JSONDecoder(strict=False).raw_decode(text, begin)
        except (ValueError, RecursionError):
            end = None
    if end is not None:
        behind = text[end:].lstrip(" \t\r\n,")
        if behind.startswith("]"):
            parts.tail = behind[1:].encode("latin-1")
        else:
            parts.truncated = True
        return [*pieces, (last + begin, last + end)]
    # Neither an event nor the end of the list: decoding sorts out what it is.
    parts.truncated = "]" not in text
    return [*pieces, (last, len(rest))]


UNKNOWN = -1
NOT_A_NUMBER = float("nan")


NO_TEXT = msgspec.Raw(b"")


class Args(msgspec.Struct, gc=False, frozen=True):
    """The arguments of an event that any analysis uses.  Of any type, for files are not to be trusted."""

    correlation: Any = UNKNOWN
    device: Any = UNKNOWN
    stream: Any = UNKNOWN
    bytes: Any = UNKNOWN
    elements_in: Any = msgspec.field(name="In msg nelems", default=UNKNOWN)
    elements_out: Any = msgspec.field(name="Out msg nelems", default=UNKNOWN)
    dtype: Any = None
    sequence: Any = msgspec.field(name="Sequence number", default=UNKNOWN)
    input_dims: msgspec.Raw = msgspec.field(name="Input Dims", default=NO_TEXT)
    input_types: msgspec.Raw = msgspec.field(name="Input type", default=NO_TEXT)
    grid: Any = None
    block: Any = None
    registers: Any = msgspec.field(name="registers per thread", default=UNKNOWN)
    shared_memory: Any = msgspec.field(name="shared memory", default=UNKNOWN)
    occupancy: Any = msgspec.field(name="est. achieved occupancy %", default=UNKNOWN)


class Event(msgspec.Struct, gc=False, tag_field="ph", tag="X"):
    """A complete event; times in microseconds."""

    cat: str = ""
    name: str = ""
    pid: int | float | str | None = None
    tid: int | float | str | None = None
    ts: float = NOT_A_NUMBER
    dur: float = NOT_A_NUMBER
    args: Args = Args()


class ExactEvent(Event, gc=False, tag_field="ph", tag="X"):
    """The same, for times with more digits than a float holds (microseconds since 1970 with decimals)."""

    ts: Decimal = Decimal("NaN")  # type: ignore[assignment]


class NameArgs(msgspec.Struct, gc=False):
    """The arguments of metadata about processes and threads."""

    name: Any = None


class Metadata(msgspec.Struct, gc=False, tag_field="ph", tag="M"):
    """What a process or thread is called."""

    name: str = ""
    pid: int | float | str | None = None
    tid: int | float | str | None = None
    args: NameArgs = msgspec.field(default_factory=NameArgs)


class MemoryArgs(msgspec.Struct, gc=False):
    """The arguments of an allocation or a release."""

    bytes: Any = msgspec.field(name="Bytes", default=0)
    device_type: Any = msgspec.field(name="Device Type", default=UNKNOWN)
    device: Any = msgspec.field(name="Device Id", default=UNKNOWN)
    allocated: Any = msgspec.field(name="Total Allocated", default=UNKNOWN)
    reserved: Any = msgspec.field(name="Total Reserved", default=UNKNOWN)


class Instant(msgspec.Struct, gc=False, tag_field="ph", tag="i"):
    """Something without length: allocations are called ``[memory]``."""

    name: str = ""
    ts: float = NOT_A_NUMBER
    args: MemoryArgs = msgspec.field(default_factory=MemoryArgs)


class ExactInstant(Instant, gc=False, tag_field="ph", tag="i"):
    """The same, for times with more digits than a float holds."""

    ts: Decimal = Decimal("NaN")  # type: ignore[assignment]


# Flows, counters …: nothing of them is used, so nothing of them is kept. (The class of an event is chosen by
# its phase while decoding, which is what makes skipping them fast.)
_OTHERS = {
    phase: msgspec.defstruct(f"Phase{ord(phase)}", [], gc=False, tag_field="ph", tag=phase)
    for phase in "BEICbnestfPNODVvRc(),"
}

BEGIN_OR_END = (_OTHERS["B"], _OTHERS["E"])
"""Halves of an event, as some tools write them."""

_DECODER, _EXACT_DECODER = (
    msgspec.json.Decoder(list[Union[(*kinds, Metadata, *_OTHERS.values())]], strict=False)  # type: ignore[misc]
    for kinds in ((Event, Instant), (ExactEvent, ExactInstant))
)


@dataclass
class Decoded:
    """The events of one piece, and what it cost to read it."""

    events: list[Any]
    """`Event`, `Metadata`, and empty objects for events of other phases."""
    dropped: Counter[str] = field(default_factory=Counter)
    repaired: bool = False
    """Whether the bytes had to be mended before they could be read."""
    broken_at: int | None = None
    """Place of the first character that made an event unreadable."""
    tail: bytes | None = None
    """What follows the list of events, where the list turned out to end inside this piece."""


def decode(piece: bytes, *, exact: bool = False) -> Decoded:
    """Decode a piece; where it is broken, repair what can be repaired and drop the events that cannot be read."""
    decode_list = cast("Callable[[bytes | str], list[Any]]", (_EXACT_DECODER if exact else _DECODER).decode)
    try:
        return Decoded(decode_list(b"".join((b"[", piece, b"]"))))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        pass
    text = repaired_text(piece.decode("utf-8", "replace"))
    try:
        return Decoded(decode_list("[" + text + "]"), repaired=True)
    except (msgspec.MsgspecError, RecursionError):
        return _salvage(text, exact=exact)


_ESCAPE = re.compile(r'\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})|\\')
_NOT_JSON_NUMBER = re.compile(r"(:\s*)[-+]?(?:nan|inf(?:inity)?)(?=\s*[,}\]])", re.IGNORECASE)
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")


def repaired_text(text: str) -> str:
    """Mend what recorders are known to write: lone backslashes, bare NaN and Infinity, control characters."""
    text = _ESCAPE.sub(lambda match: match[0] if len(match[0]) > 1 else r"\\", text)
    text = _NOT_JSON_NUMBER.sub(r"\1null", text)
    return _CONTROL.sub(" ", text)


_BEGIN = re.compile(rf'\{{\s*"{_KEYS}"\s*:')
_NEXT = re.compile(rf'[}}"\]\d]\s*,\s*(?=\{{\s*"{_KEYS}"\s*:)')


def _salvage(text: str, *, exact: bool) -> Decoded:
    """Read a broken piece event by event."""
    decoded = Decoded([], repaired=True)
    scanner = json.JSONDecoder(strict=False, parse_float=Decimal if exact else None)
    at = 0
    while (begin := _BEGIN.search(text, at)) is not None:
        if text[at : begin.start()].strip(" \t\r\n,").startswith("]"):
            break
        at = begin.start()
        try:
            found, at = scanner.raw_decode(text, at)
            decoded.events.append(_converted(found, exact=exact))
        except (ValueError, RecursionError) as error:
            if decoded.broken_at is None:
                decoded.broken_at = error.pos if isinstance(error, json.JSONDecodeError) else at
            decoded.dropped["malformed_event"] += 1
            if at == begin.start():  # not even JSON: go on where the next event seems to begin
                following = _NEXT.search(text, at + 1)
                at = following.end() if following else len(text)
    behind = text[at:].strip(" \t\r\n,")
    if behind.startswith("]"):
        decoded.tail = behind[1:].encode()
    elif behind and not decoded.dropped:
        decoded.dropped["malformed_event"] += 1
        decoded.broken_at = at
    return decoded


def _converted(found: Any, *, exact: bool) -> Any:
    """Turn a JSON object into an event; fields without a value get their default.  Raises ValueError."""
    phase = found.get("ph")
    if isinstance(phase, str) and phase in _OTHERS:
        return _OTHERS[phase]()
    kind: Any = ExactEvent if exact else Event
    if isinstance(phase, str):
        kind = {"M": Metadata, "i": ExactInstant if exact else Instant}.get(phase, kind)
    fields = {k: v for k, v in found.items() if v is not None}
    if isinstance(args := fields.get("args"), dict):
        fields["args"] = {k: v for k, v in args.items() if v is not None and k not in _KEPT_AS_TEXT}
    return msgspec.convert(fields, kind, strict=False)


_KEPT_AS_TEXT = ("Input Dims", "Input type")
"""Arguments whose JSON is kept as it is; a broken piece is decoded without them."""
