"""Everything tbperf raises on purpose.

TbperfError            exit 1  the command could not do its work
├── UsageError         exit 2  the request itself makes no sense
└── TraceFormatError   exit 3  a trace cannot be read as what it claims to be

A message is ``what: why``; ``hint`` is the next move.  Exit code 4, a ``--fail-on`` gate that failed, is a result and
no error.
"""

from __future__ import annotations

from typing import ClassVar


class TbperfError(Exception):
    """Base of every error that a user can cause or meet."""

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(TbperfError):
    """The request itself makes no sense."""

    exit_code = 2


class TraceFormatError(TbperfError):
    """A trace cannot be read as what it claims to be."""

    exit_code = 3
