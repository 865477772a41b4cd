"""Traces of torch.profiler, piece by piece: events keep all but paths, the metadata only what is listed."""

from __future__ import annotations

import gzip
import json
import re
from typing import IO, TYPE_CHECKING, Any

from tbperf.errors import TraceFormatError
from tbperf.readers import file_source
from tbperf.readers.chrome import Cut, cut_stream

if TYPE_CHECKING:
    from pathlib import Path

    from tbperf.scrub.texts import Removed

_METADATA_KEPT = re.compile(
    r"schemaVersion|displayTimeUnit|baseTimeNanoseconds|deviceProperties|distributedInfo|trace_id|traceName"
    r"|(?:cuda|cupti|hip|rocm)\w*_version|(?:torch|pytorch)_version|record_shapes|profile_memory|with_\w+|tbperf"
)
_PRIVATE_OF_OURS = ("command", "environment", "folder", "host", "user")
"""Entries of this project's own metadata, should a recorder write such."""

_STRING = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)


def copy_json(source: Path, target: Path, removed: Removed) -> None:
    """Copy a trace; gzipped if the name of the target says so."""
    parts, first = Cut(), True
    found = file_source(source)
    with found.open() as file, _opened(target) as out:
        try:
            for piece in cut_stream(found.blocks(file), parts):
                if first:
                    out.write(b'{"traceEvents": [\n')
                elif piece.strip():
                    out.write(b",\n")
                first = False
                out.write(_cut_strings(piece.decode("utf-8", "surrogateescape"), removed))
        except ValueError as error:
            raise TraceFormatError(
                f"{source}: not a trace: {found.damage or error}", "is it torch.profiler's?"
            ) from error
        metadata = parts.metadata() or {}
        kept = {name: value for name, value in metadata.items() if _METADATA_KEPT.fullmatch(name)}
        removed.metadata += metadata.keys() - kept.keys() - {"traceEvents"}
        if isinstance(kept.get("tbperf"), dict):
            removed.metadata += [f"tbperf.{name}" for name in kept["tbperf"] if name in _PRIVATE_OF_OURS]
            kept["tbperf"] = {k: v for k, v in kept["tbperf"].items() if k not in _PRIVATE_OF_OURS}
        out.write(b"\n]")
        for name, value in kept.items():
            out.write(f",\n{json.dumps(name)}: ".encode())
            out.write(_cut_strings(json.dumps(value), removed))
        out.write(b"\n}\n")


def _opened(target: Path) -> IO[bytes]:
    if target.suffix == ".gz":
        packed: Any = gzip.open(target, "wb", compresslevel=6)  # noqa: SIM115 - closed by the caller
        return packed  # type: ignore[no-any-return]
    return target.open("wb")


def _cut_strings(text: str, removed: Removed) -> bytes:
    """Cut the paths in all strings that hold a slash."""

    def cut(match: re.Match[str]) -> str:
        quoted = match[0]
        if "/" not in quoted and "\\" not in quoted:
            return quoted
        try:
            plain = json.loads(quoted, strict=False)
        except ValueError:  # paths with lone backslashes, as Windows' old recorders write them
            plain = quoted[1:-1]
        shorter = removed.cut(plain)
        return quoted if shorter == plain else json.dumps(shorter)

    return _STRING.sub(cut, text).encode("utf-8", "surrogateescape")
