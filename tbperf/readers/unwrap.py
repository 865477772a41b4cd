"""Contents out of what is wrapped around them: compression (gzip, bzip2, xz, zstd) and UTF-16, told by first bytes."""

from __future__ import annotations

import bz2
import codecs
import itertools
import lzma
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, cast

from tbperf.errors import TraceFormatError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

try:
    from isal import isal_zlib as fast_zlib
except ImportError:  # no wheel for this machine: a few times slower
    fast_zlib = zlib  # type: ignore[misc]

try:
    from backports import zstd
except ImportError:
    try:
        from compression import zstd  # type: ignore[import-not-found, no-redef] # since Python 3.14
    except ImportError:  # no wheel for this machine
        zstd = None  # type: ignore[assignment]

ZSTD = zstd
"""The module for zstd: the standard library's or its backport; None where there is neither."""

COMPRESSED_BYTES = 1 << 18
"""So much of a compressed file is read at once."""

_DEEPEST = 3
"""A file may be compressed twice: by who wrote it, and by who sent it."""

_LONGEST_MAGIC = 8
_XZ_MEMORY_BYTES = 1 << 28
_GZIP_WINDOW = 31  # zlib's way to say: with gzip's header, window of 32 kB


class Decompressor(Protocol):
    """One member of a compressed file, as the standard library's modules decompress it."""

    @property
    def eof(self) -> bool:
        """Whether the member has ended."""
        ...

    @property
    def needs_input(self) -> bool:
        """Whether nothing more comes out of what was put in."""
        ...

    @property
    def unused_data(self) -> bytes:
        """What was put in behind the member's end."""
        ...

    def decompress(self, data: bytes, max_length: int, /) -> bytes:
        """Return what comes out, at most so much of it."""
        ...


class _Gunzip:
    """gzip with the interface of the others."""

    def __init__(self) -> None:
        self._member = fast_zlib.decompressobj(_GZIP_WINDOW)
        self._pending = b""

    @property
    def eof(self) -> bool:
        return bool(self._member.eof)

    @property
    def needs_input(self) -> bool:
        return not self._pending

    @property
    def unused_data(self) -> bytes:
        return bytes(self._member.unused_data)

    def decompress(self, data: bytes, max_length: int, /) -> bytes:
        block = self._member.decompress(self._pending + data, max_length)
        self._pending = b"" if self._member.eof else self._member.unconsumed_tail
        return bytes(block)


@dataclass(frozen=True)
class Compression:
    """A way to compress files, told by how they begin."""

    name: str
    begins: Callable[[bytes], bool]
    member: Callable[[], Decompressor]
    errors: tuple[type[Exception], ...]


def _no_zstd() -> Decompressor:
    raise TraceFormatError(
        "compressed with zstd, which needs Python 3.14 or the package backports.zstd",
        "pip install backports.zstd, or unpack the file with `zstd -d`",
    )


def _begins_zstd_frame(head: bytes) -> bool:
    """Frames of data, and frames that hold something else and are skipped."""
    skippable = head[1:4] == b"\x2a\x4d\x18" and head[0] >> 4 == 5  # noqa: PLR2004 - 0x184D2A5?
    return head[:4] == b"\x28\xb5\x2f\xfd" or skippable


COMPRESSIONS = (
    Compression(
        "gzip",
        lambda head: head.startswith(b"\x1f\x8b"),
        _Gunzip,
        (zlib.error, cast("type[Exception]", fast_zlib.error)),
    ),
    Compression("bzip2", lambda head: head.startswith(b"BZh"), bz2.BZ2Decompressor, (OSError, ValueError)),
    Compression(
        "xz",
        lambda head: head.startswith((b"\xfd7zXZ\0", b"\x5d\0\0")),
        lambda: lzma.LZMADecompressor(memlimit=_XZ_MEMORY_BYTES),
        (lzma.LZMAError, ValueError),
    ),
    Compression(
        "zstd",
        _begins_zstd_frame,
        zstd.ZstdDecompressor if zstd is not None else _no_zstd,
        (zstd.ZstdError, ValueError) if zstd is not None else (ValueError,),
    ),
)


@dataclass
class Outcome:
    """What unwrapping met."""

    damage: str = ""
    """Why a wrapping could not be read to its end; what came before is good."""
    behind: str = ""
    """What stands behind the end of a compressed file, and was not read."""


def is_bare(head: bytes) -> bool:
    """Tell whether nothing is wrapped around the contents, by how a file begins."""
    return _compression(head) is None and _codec(head) is None


def unwrapped(blocks: Iterable[bytes], size: int, outcome: Outcome) -> Iterator[bytes]:
    """Return the contents of a file in blocks of about this size, all that is wrapped around them taken off."""
    blocks = iter(blocks)
    for _ in range(_DEEPEST):
        head, blocks = _peeked(blocks)
        compression = _compression(head)
        if compression is None:
            break
        blocks = _decompressed(blocks, compression, size, outcome)
    head, blocks = _peeked(blocks)
    codec = _codec(head)
    return blocks if codec is None else _as_utf8(blocks, codec)


def _peeked(blocks: Iterator[bytes]) -> tuple[bytes, Iterator[bytes]]:
    """Return how the contents begin, and all of them."""
    taken: list[bytes] = []
    while sum(map(len, taken)) < _LONGEST_MAGIC and (block := next(blocks, b"")):
        taken.append(block)
    head = b"".join(taken)
    return head, itertools.chain([head] if head else [], blocks)


def _compression(head: bytes) -> Compression | None:
    return next((compression for compression in COMPRESSIONS if head and compression.begins(head)), None)


def _decompressed(blocks: Iterator[bytes], compression: Compression, size: int, outcome: Outcome) -> Iterator[bytes]:
    # Not gzip.open and its like: where a file is damaged, they throw away what they had unpacked before.
    member = compression.member()
    read, left = 0, b""
    for block in blocks:
        read += len(block)
        data, left = left + block, b""
        while data or not (member.eof or member.needs_input):
            if member.eof:
                data = data.lstrip(b"\0")  # members may be joined; zeros may follow
                if len(data) < _LONGEST_MAGIC and not compression.begins(data):
                    left = data  # not enough to tell what it is
                    break
                if not compression.begins(data):
                    outcome.behind = _something_else(compression.name, read - len(data))
                    return
                member = compression.member()
            try:
                plain = member.decompress(data, size)
            except compression.errors as error:
                outcome.damage = str(error)
                return
            data = member.unused_data if member.eof else b""
            if plain:
                yield plain
    if left:
        outcome.behind = _something_else(compression.name, read - len(left))
    elif not member.eof:
        outcome.damage = "the file ends too early"


def _something_else(name: str, place: int) -> str:
    return f"the {name} data end at byte {place:,}; something else follows, which was not read"


_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def _codec(head: bytes) -> str | None:
    """Tell text of two or four bytes a character, with or without a mark: JSON begins with a bracket."""
    for mark, codec in _BYTE_ORDER_MARKS:
        # Without something like JSON behind it, two bytes could begin anything.
        if head.startswith(mark) and (b"{" in head or b"[" in head):
            return codec
    for codec, width in (("utf-32-le", 4), ("utf-32-be", 4), ("utf-16-le", 2), ("utf-16-be", 2)):
        if head[:width] in ("{".encode(codec), "[".encode(codec)) and len(head) > width:
            return codec
    return None


def _as_utf8(blocks: Iterator[bytes], codec: str) -> Iterator[bytes]:
    decoder = codecs.getincrementaldecoder(codec)(errors="replace")
    for block in blocks:
        yield decoder.decode(block).encode("utf-8", "replace")
    yield decoder.decode(b"", final=True).encode("utf-8", "replace")
