"""Keeps tbperf's own failures away from the recorded program."""

from __future__ import annotations

import contextlib
import sys
import traceback
from typing import Any, Callable


class Guard:
    """Calls tbperf's code; the first exception is printed, switches tbperf off, goes no further."""

    def __init__(
        self, on_failure: Callable[[str, str], None], on_missing: Callable[[str], None] = lambda _what: None
    ) -> None:
        self.tripped = False
        self._on_failure = on_failure
        self._on_missing = on_missing

    def __call__(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Return what ``function`` returns, or None when it fails or tbperf is off already."""
        if self.tripped:
            return None
        try:
            return function(*args, **kwargs)
        except Exception as error:
            self.trip(error)
            return None

    def missing(self, what: str) -> None:
        """Tell that a version of torch or Ultralytics does not have something; the rest is recorded."""
        self(self._on_missing, what)

    def trip(self, error: Exception) -> None:
        """Switch tbperf off for good."""
        self.tripped = True
        # Each may fail too (a closed stream, a full disk); the program must not notice.
        with contextlib.suppress(Exception):
            print(f"tbperf: recording stopped, the run goes on: {error!r}", file=sys.stderr)
        with contextlib.suppress(Exception):
            self._on_failure(repr(error), traceback.format_exc(limit=-6))
