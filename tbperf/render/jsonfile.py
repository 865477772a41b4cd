"""The report for machines: one JSON document, whose schema `json_schema` describes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from tbperf.printable import encodable

if TYPE_CHECKING:
    from tbperf.comparison import Comparison
    from tbperf.history import History
    from tbperf.report import Report


def render_json(document: Report | Comparison | History) -> str:
    """Return the document, indented by two."""
    return msgspec.json.format(encode_json(document), indent=2).decode() + "\n"


def encode_json(document: Any) -> bytes:
    """Return a document as JSON; what UTF-8 cannot hold, such as bytes in the name of a file, is shown by its codes."""
    try:
        return msgspec.json.encode(document)
    except UnicodeEncodeError:
        return msgspec.json.encode(_encodable(msgspec.to_builtins(document)))


def _encodable(value: Any) -> Any:
    if isinstance(value, str):
        return encodable(value)
    if isinstance(value, dict):
        return {_encodable(key): _encodable(of) for key, of in value.items()}
    if isinstance(value, (list, tuple)):
        return [_encodable(item) for item in value]
    return value
