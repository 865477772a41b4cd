"""Protocol-buffer messages, encoded column by column.

A million events as message objects take a minute and a gigabyte; as columns of bytes they take a second and little
more than the file.  A column holds one byte of each row, and tells which rows have it; rows are then read across all
columns.  Only what exports need is here: varints, strings, nested messages.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tbperf.intervals import Ns

Bools: TypeAlias = npt.NDArray[np.bool_]

Column: TypeAlias = "tuple[npt.NDArray[np.uint8] | int, Bools | None]"
"""One byte of each row (or of all rows alike), and the rows that have it; None for all."""

_VARINT, _FIXED64, _LENGTH = 0, 1, 2
_MORE = 0x80
_MOST_VARINT_BYTES = 10


def varint(value: int) -> bytes:
    """Encode one integer; negative ones as 64 bits, as int64 fields do."""
    value &= (1 << 64) - 1
    encoded = bytearray()
    while value >= _MORE:
        encoded.append(value & 0x7F | _MORE)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def field(number: int, value: int | str | bytes) -> bytes:
    """Encode one field of one message: an integer, a text, or a message that is encoded already."""
    if isinstance(value, int):
        return varint(number << 3 | _VARINT) + varint(value)
    # A lone surrogate (broken JSON can hold one) is no UTF-8, and would make the whole file unreadable.
    content = value.encode("utf-8", "replace") if isinstance(value, str) else value
    return opening(number, len(content)) + content


def opening(number: int, size: int) -> bytes:
    """Encode what stands before the content of a field of so many bytes."""
    return varint(number << 3 | _LENGTH) + varint(size)


def integers(number: int, values: Ns | int, where: Bools | None = None) -> list[Column]:
    """Return the columns of an integer field, in all rows or some."""
    return [*_constant(varint(number << 3 | _VARINT), where), *_varints(values, where)]


def messages(number: int, rows: int, content: Sequence[Column], where: Bools | None = None) -> list[Column]:
    """Return the columns of a field that holds a message, given the columns of that message."""
    size = np.zeros(rows, np.int64)
    for _, present in content:
        size += 1 if present is None else present
    return [
        *_constant(varint(number << 3 | _LENGTH), where),
        *_varints(size, where),
        *((byte, _both(present, where)) for byte, present in content),
    ]


def joined(rows: int, columns: Sequence[Column]) -> bytes:
    """Read all rows across all columns."""
    byte = np.empty((rows, len(columns)), np.uint8)
    present = np.empty((rows, len(columns)), np.bool_)
    for index, (values, here) in enumerate(columns):
        byte[:, index] = values
        present[:, index] = True if here is None else here
    return byte[present].tobytes()


def _constant(content: Iterable[int], where: Bools | None) -> list[Column]:
    return [(byte, where) for byte in content]


def _varints(values: Ns | int, where: Bools | None) -> list[Column]:
    if isinstance(values, int):
        return _constant(varint(values), where)
    rest = values.astype(np.uint64)
    present, columns = where, []
    for _ in range(_MOST_VARINT_BYTES):
        following = rest >> np.uint64(7)
        more = following != 0
        columns.append(((rest & np.uint64(0x7F)).astype(np.uint8) | (more.astype(np.uint8) << 7), present))
        present = _both(more, where)
        if not more.any():
            break
        rest = following
    return columns


def _both(one: Bools | None, other: Bools | None) -> Bools | None:
    if one is None or other is None:
        return other if one is None else one
    return one & other


def doubles(number: int, values: npt.NDArray[np.float64], where: Bools | None = None) -> list[Column]:
    """Return the columns of a double field."""
    fixed = values.astype("<f8").view(np.uint8).reshape(-1, 8)
    return [
        *_constant(varint(number << 3 | _FIXED64), where),
        *((fixed[:, index], where) for index in range(fixed.shape[1])),
    ]
