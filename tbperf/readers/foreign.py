"""Files that are taken for traces and are none: what they are, and what to do about it."""

from __future__ import annotations

import re
from typing import NamedTuple

from tbperf.errors import TraceFormatError


class Foreign(NamedTuple):
    """A sort of file, how its contents begin, and the next move of who has one in hand."""

    begins: re.Pattern[bytes]
    what: str
    hint: str


_ANALYZE_THE_TRACE = "name the trace itself, *.pt.trace.json, or the folder that holds it"
_DOWNLOAD_AGAIN = "download it again, with the rights that it needs, and look at what came"
_UNPACK = "unpack it, and analyze the files or their folder"

FOREIGN = tuple(
    Foreign(re.compile(pattern, re.DOTALL | re.IGNORECASE), what, hint)
    for pattern, what, hint in (
        (rb"version https://git-lfs\.github\.com/spec", "a pointer of Git LFS, not the file itself", "`git lfs pull`"),
        (
            rb"/annex/objects/|\.\./.*\.git/annex/",
            "a pointer of git-annex, not the file itself",
            "`git annex get FILE`",
        ),
        (rb"\s*(?:<!--.*?-->\s*)?(?:<!doctype html|<html|<head|<body|<script)", "an HTML page", _DOWNLOAD_AGAIN),
        (rb"\s*(?:<\?xml|<error>)", "an XML document, such as a server's answer", _DOWNLOAD_AGAIN),
        (
            rb".{0,80}brain\.Event:\d",
            "an event file of TensorBoard, which holds scalars and no trace",
            "its traces lie beside it: name the log folder, or plugins/profile in it",
        ),
        (
            rb"NVR\0",
            "a report of Nsight Compute, which looks into single kernels",
            "record the whole run with `tbperf record`, or with `nsys profile`",
        ),
        (rb"\x80[\x02-\x05].", "a pickle of Python, such as a snapshot of torch's memory", _ANALYZE_THE_TRACE),
        (rb"\x37\x7f\x06[\x82\x83]", "the write-ahead log of a database", "name the database that it lies beside"),
        (rb"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7", "the journal of a database", "name the database that it lies beside"),
        (rb"7z\xbc\xaf\x27\x1c|Rar!\x1a", "an archive of 7-Zip or RAR", _UNPACK),
        (rb"\x04\x22\x4d\x18|\x02\x21\x4c\x18", "a file that lz4 compressed", "unpack it with `lz4 -d`"),
        (rb"\x1f\x9d|\x1f\xa0|LZIP|\xff\x06\0\0sNaPpY", "a file compressed in a way that is not known here", _UNPACK),
        (
            rb"\x0a.{1,4}(?:\x0a|.{0,40}(?:/host:|/device:|hostname|plane))",
            "a protobuf, such as a trace of Perfetto or XLA",
            "traces of torch.profiler are JSON; Perfetto's traceconv turns its own into it",
        ),
        (rb"\x10\0\x04\x78\x54\x16\x46\0|\x10\0\x04\x46\x78\x54\x16\0", "a trace of Fuchsia", _ANALYZE_THE_TRACE),
        (rb"# tracer:|TRACE:\s*# tracer", "a trace of the Linux kernel (ftrace)", _ANALYZE_THE_TRACE),
        (rb"(?:\x89PNG|\xff\xd8\xff|GIF8|RIFF.{4}WEBP)", "an image", _ANALYZE_THE_TRACE),
        (rb"%PDF-", "a PDF document", _ANALYZE_THE_TRACE),
        (rb"\x7fELF|#!", "a program", "to record it, run `tbperf record -- PROGRAM`; to analyze, name its trace"),
        (
            rb"\x89HDF\r\n\x1a\n",
            "an HDF5 file, such as an export of nsys",
            "export the report as SQLite: `nsys export --type sqlite REPORT.nsys-rep`",
        ),
        (rb"\x93NUMPY", "an array of NumPy", _ANALYZE_THE_TRACE),
        (rb"\0+\Z", "nothing but zeros, as a file whose writing was cut off by a crash", "copy or record it again"),
    )
)
"""Told by contents, never by names; the first that fits counts."""

FOREIGN_JSON = tuple(
    Foreign(re.compile(pattern, re.DOTALL), what, hint)
    for pattern, what, hint in (
        (
            rb'\s*\{\s*"tbperf"\s*:',
            "a report of tbperf, not a trace",
            "`tbperf open` shows it, `tbperf compare` takes it",
        ),
        (rb'\s*\{\s*"schema"\s*:\s*"tbperf-run/', "the account of a run folder", "name the folder that it lies in"),
        (rb'\s*\{\s*"schema"\s*:\s*"tbperf-hardware/', "the hardware's log of a run folder", "name its folder"),
        (
            rb'\s*\{\s*"(?:Type|data|id|value)"\s*:.{0,200}"(?:NvtxEvent|CudaEvent|TraceProcessEvent|GlobalTid|globalVid)"',
            "an export of nsys as JSON",
            "export the report as SQLite: `nsys export --type sqlite REPORT.nsys-rep`",
        ),
        (
            rb'\s*\{\s*"(?:ph|cat|name|pid|tid|ts|dur)"\s*:',
            "trace events, but no list of them",
            "`jq -s . FILE` makes one of events on a line each",
        ),
        (
            rb'\s*\{\s*"schema"\s*:\s*"[\w.-]*chakra',
            "an execution trace of PyTorch, which holds no times",
            "name what torch.profiler recorded beside it",
        ),
        (
            rb"\s*\{.{0,200}speedscope\.app",
            "a profile for speedscope, which holds sums and no events",
            _ANALYZE_THE_TRACE,
        ),
        (
            rb'\s*\{\s*"nodes"\s*:',
            "a profile of JavaScript or an execution trace, which holds no events",
            _ANALYZE_THE_TRACE,
        ),
        (rb'\s*\{.{0,4000}"nbformat"\s*:', "a notebook of Jupyter", _ANALYZE_THE_TRACE),
        (
            rb'\s*\{\s*"(?:message|error|errors|detail|status|code)"\s*:',
            "JSON without trace events, such as a server's answer",
            _DOWNLOAD_AGAIN,
        ),
    )
)
"""JSON that holds no trace events."""


def refusal(name: str, head: bytes, reads: str) -> TraceFormatError:
    """Say of a file that no reader knows what it is, by its first bytes."""
    if not head:
        return TraceFormatError(f"{name}: the file is empty", "was the recording interrupted?")
    found = next((foreign for foreign in FOREIGN if foreign.begins.match(head)), None)
    if found is not None:
        return TraceFormatError(f"{name}: not a trace that tbperf can read: {found.what}", found.hint)
    return TraceFormatError(f"{name}: not a trace that tbperf can read", f"it reads {reads}")


def refusal_of_json(name: str, head: bytes, why: str) -> TraceFormatError:
    """Say of JSON in which no trace events begin what it is."""
    found = next((foreign for foreign in FOREIGN_JSON if foreign.begins.match(head)), None)
    if found is not None:
        return TraceFormatError(f"{name}: not a trace: {found.what}", found.hint)
    return TraceFormatError(f"{name}: not a trace: {why}", "tbperf reads torch.profiler's JSON traces")
