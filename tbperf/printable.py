"""Text from traces, command lines and names of files, made harmless and encodable where it is shown."""

from __future__ import annotations

_ASCII_END = 0x80
_FIRST_BYTE, _LAST_BYTE = 0xDC80, 0xDCFF
"""How Python stands for bytes of a name that are no text."""


def printable(text: str) -> str:
    """Show control characters as their code: names in traces are not to be trusted."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else escape(c) for c in text)


def escape(character: str) -> str:
    r"""Show a character by its code: ASCII and bytes of a file's name as ``\x1b``, all else as JSON escapes it."""
    code = ord(character)
    if code < _ASCII_END:
        return f"\\x{code:02x}"
    if _FIRST_BYTE <= code <= _LAST_BYTE:
        return f"\\x{code - _FIRST_BYTE + _ASCII_END:02x}"
    units = character.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))


def escape_unencodable(error: UnicodeError) -> tuple[str, int]:
    """Show what an encoding lacks by its codes: a handler of encoding errors."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(escape, error.object[error.start : error.end])), error.end


def encodable(text: str) -> str:
    """Show what UTF-8 cannot hold, such as bytes of a file's name, by its codes."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return "".join(escape(c) if _is_surrogate(c) else c for c in text)
    return text


def _is_surrogate(character: str) -> bool:
    return "\ud800" <= character <= "\udfff"
