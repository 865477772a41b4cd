"""Trace-event JSON as bytes: cut it into pieces of whole events, decode each piece, save what a broken one still holds.

A file is ``head [event, event, …] tail``; head and tail make the metadata.  Nothing here knows what the events mean.
"""

from __future__ import annotations

import itertools
import json
import re
from bisect import bisect_left, bisect_right
from collections import Counter
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Union, cast

import msgspec

from tbperf.readers.bounds import whole_number, writable

if TYPE_CHECKING:
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
    behind: str = ""
    """What follows the document that holds the events, by `metadata`; empty where nothing does."""

    def metadata(self) -> dict[str, Any] | None:
        """Return what stands beside the events; None where that cannot be read."""
        head, tail = self.head, self.tail if self.tail.strip() else b"}"
        if head.lstrip().startswith(b"["):
            head = head[head.find(b"{") :] if b"{" in head else b""  # a list of documents, or of events
        if not head:
            self.behind = self.tail.decode("utf-8", "replace").strip(_BETWEEN_DOCUMENTS)
            return {}
        for candidate in (head + b"]" + tail, head + b"]}"):
            text = repaired_text(candidate.decode("utf-8", "replace"))
            try:
                found, end = _document_around(text, len(repaired_text(head.decode("utf-8", "replace"))))
            except (ValueError, RecursionError):
                continue
            self.behind = text[end:].strip(_BETWEEN_DOCUMENTS)
            return dict(writable(found))
        return None


_BETWEEN_DOCUMENTS = " \t\r\n,]\0\x1e"
"""What may stand behind a document without meaning anything: white space, the end of a list, zeros, separators."""


def _document_around(text: str, place: int) -> tuple[dict[str, Any], int]:
    """Return the document that goes on behind a place, and where it ends; others may stand before it."""
    scanner = json.JSONDecoder(strict=False, parse_int=whole_number)
    end = 0
    while end < place:
        begin = len(text) - len(text[end:].lstrip(_BETWEEN_DOCUMENTS))
        found, end = scanner.raw_decode(text, begin)
    if not isinstance(found, dict):
        raise ValueError("the events do not lie in an object")  # noqa: TRY004 - as a decoder says it
    return found, end


def looks_like_json(head: bytes) -> bool:
    """Tell whether a file could hold trace events, by its first bytes."""
    return head.removeprefix(_BYTE_ORDER_MARK).lstrip()[:1] in (b"{", b"[")


_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def cut_file(read: Callable[[int, int], bytes], size: int, parts: Cut) -> list[tuple[int, int]]:
    """Return where the pieces of a file that lies open begin and end; fill in the other parts.

    ``read(begin, end)`` returns what stands there.  Raises ValueError where no list of events begins.
    """
    at, reach = None, min(size, _FIRST_LOOK_BYTES)
    while at is None:
        start = read(0, reach)
        at = _begin_of_events(start, is_all=reach >= min(size, HEAD_BYTES))
        if at is None and reach >= min(size, HEAD_BYTES):
            raise ValueError(NO_EVENTS)
        reach = min(2 * reach, size, HEAD_BYTES)
    parts.head = start[:at].removeprefix(_BYTE_ORDER_MARK)
    del start
    pieces = []
    while (end := _next_end(read, at + PIECE_BYTES, size)) is not None:
        pieces.append((at, end[0]))
        at = end[1]
    pieces += [(at + begin, at + end) for begin, end in _last_pieces(read(at, size), parts)]
    return pieces


def cut_stream(blocks: Iterable[bytes], parts: Cut) -> Iterator[bytes]:
    """Yield the pieces of a file that comes block by block; fill in the other parts.

    Raises ValueError where no list of events begins.
    """
    blocks = iter(blocks)
    buffer = _skip_head(blocks, parts)

    def read(begin: int, end: int) -> bytes:
        return bytes(memoryview(buffer)[begin:end])

    for block in itertools.chain([b""], blocks):
        buffer += block
        at = 0
        while (end := _next_end(read, at + PIECE_BYTES, len(buffer))) is not None:
            yield read(at, end[0])
            at = end[1]
        del buffer[:at]
    rest = bytes(buffer)
    del buffer[:]
    for begin, end_of_piece in _last_pieces(rest, parts):
        yield rest[begin:end_of_piece]


NO_EVENTS = "it holds no list of trace events"
_FIRST_LOOK_BYTES = 1 << 20


def _skip_head(blocks: Iterator[bytes], parts: Cut) -> bytearray:
    """Read up to the first event and return what was read beyond."""
    buffer = bytearray()
    looked = 0
    for block in itertools.chain(blocks, [b""]):
        buffer += block
        # Looked at again only where it has doubled: all looks together cost no more than two at the whole.
        if block and len(buffer) < 2 * looked:
            continue
        looked = len(buffer)
        begin = _begin_of_events(bytes(buffer), is_all=not block or looked > HEAD_BYTES)
        if begin is not None:
            parts.head = bytes(buffer[:begin]).removeprefix(_BYTE_ORDER_MARK)
            del buffer[:begin]
            return buffer
        if looked > HEAD_BYTES:
            break
    raise ValueError(NO_EVENTS)


_FIRST_OF_A_LIST = re.compile(rb"\s*\[")
_EVENTS_OR_PHASE = re.compile(rb'(?P<events>"traceEvents"\s*:\s*\[)|"ph"\s*:')
"""What comes first in a list of whole traces, each an object with a list of events, and in a list of events."""
_TOKEN = re.compile(rb'"[^"\\]*(?:\\(?:.|\Z)[^"\\]*)*(?:"|\Z)|[\[\]{}]', re.DOTALL)
"""A string, whole or cut by the end of what is there, or a bracket."""
_LIST_FOLLOWS = re.compile(rb"\s*:\s*(?P<open>\[)(?P<empty>\s*\])?")
_LONGEST_LOOK_BYTES = 16 << 20
"""So far behind a list that lies inside something else an outer one is looked for."""


def _begin_of_events(data: bytes, *, is_all: bool) -> int | None:
    """Return where the first event may begin; None where it does not, or more must be read to tell."""
    start = 3 if data.startswith(_BYTE_ORDER_MARK) else 0
    depth = 1
    if is_list := _FIRST_OF_A_LIST.match(data, start):
        first_key = _EVENTS_OR_PHASE.search(data, is_list.end(), is_list.end() + _SEARCH_BYTES)
        if first_key is None and not is_all and len(data) < _SEARCH_BYTES:
            return None
        if first_key is None or first_key["events"] is None:
            return is_list.end()
        depth = 2
    begin = _outermost_list(data, start, depth, is_all=is_all)
    if begin is None and is_all and (broken := _EVENTS.search(data)):
        return broken.end()  # quotes that nobody closed hid it
    return begin


def _outermost_list(data: bytes, start: int, depth: int, *, is_all: bool) -> int | None:
    """Return where the list of events of the object at a depth begins.

    One that is empty, or lies deeper, counts only where there is no better one.
    """
    found: list[tuple[bool, bool, int]] = []
    for token, at_depth in _tokens(data, start):
        if found and token.end() - found[0][2] > _LONGEST_LOOK_BYTES:
            is_all = True
            break
        follows = _LIST_FOLLOWS.match(data, token.end()) if token[0] == b'"traceEvents"' else None
        if follows is None:
            continue
        is_deep, is_empty, begin = at_depth != depth, follows["empty"] is not None, follows.end("open")
        if not is_deep and not is_empty:
            return begin
        found.append((is_deep, is_empty, begin))
    return min(found)[2] if found and is_all else None


def _tokens(data: bytes, start: int) -> Iterator[tuple[re.Match[bytes], int]]:
    """Yield strings and brackets, each with the number of brackets that are open there."""
    depth = 0
    for token in _TOKEN.finditer(data, start):
        if token[0] in _OPENING:
            depth += 1
        elif token[0] in _CLOSING:
            depth = max(0, depth - 1)
        yield token, depth


_OPENING, _CLOSING = (b"{", b"["), (b"}", b"]")


def _next_end(read: Callable[[int, int], bytes], start: int, size: int) -> tuple[int, int] | None:
    """Return the end of the first event that ends behind a place, and the begin of the next."""
    reach = start
    while reach < size:
        reach = min(size, start + min(LONGEST_EVENT_BYTES, max(_SEARCH_BYTES, 8 * (reach - start))))
        if match := _BETWEEN.search(read(start, reach)):
            return start + match.start() + 1, start + match.end()
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
    begins = [match.start() for match in _BEGIN.finditer(text)]
    following = [match.end() for match in _NEXT.finditer(text)]
    at = 0
    while (number := bisect_left(begins, at)) < len(begins):
        begin = begins[number]
        if text[at:begin].strip(" \t\r\n,").startswith("]"):
            break
        try:
            found, at = _one_event(scanner, text, begins, number)
            decoded.events.append(_converted(found, exact=exact))
        except (ValueError, RecursionError) as error:
            if decoded.broken_at is None:
                decoded.broken_at = begin + error.pos if isinstance(error, json.JSONDecodeError) else begin
            decoded.dropped["malformed_event"] += 1
            if at <= begin:  # not even JSON: go on where the next event seems to begin
                next_one = bisect_right(following, begin)
                at = following[next_one] if next_one < len(following) else len(text)
    behind = text[at:].strip(" \t\r\n,")
    if behind.startswith("]"):
        decoded.tail = behind[1:].encode()
    elif behind and not decoded.dropped:
        decoded.dropped["malformed_event"] += 1
        decoded.broken_at = at
    return decoded


_PARTS = (1, 2, 4, 8, 16)
"""An event of which no more is there than so many places that look like the begin of one is read whole."""


def _one_event(scanner: json.JSONDecoder, text: str, begins: list[int], number: int) -> tuple[Any, int]:
    """Read one event and return where it ends; raises ValueError, with the place in the event, or RecursionError.

    Only what reaches to the next begin of an event is looked at, and more where that is not the whole of it: telling
    the line of an error takes as long as what is looked at.
    """
    begin = begins[number]
    for more in _PARTS:
        end = begins[number + more] if number + more < len(begins) else len(text)
        try:
            found, length = scanner.raw_decode(text[begin:end])
        except json.JSONDecodeError as error:
            is_cut = error.msg.startswith("Unterminated") or not text[begin + error.pos : end].strip()
            if not is_cut or end == len(text) or more == _PARTS[-1]:
                raise
        else:
            return found, begin + length
    raise AssertionError("the last of the parts raises")


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
