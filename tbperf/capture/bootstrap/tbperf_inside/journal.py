"""What this process tells the parent: one JSON line an event, in a file of its own."""

from __future__ import annotations

import json
import os
import time
from typing import Any


class Journal:
    """Appends events; opens the file for each: they are rare, and the process may die anytime."""

    def __init__(self, folder: str) -> None:
        self._folder = os.path.join(folder, "journal")

    def write(self, event: str, **fields: Any) -> None:
        """Append one event; values that JSON does not know are written as text."""
        line = {"event": event, "pid": os.getpid(), "unix_ns": time.time_ns(), **fields}
        path = os.path.join(self._folder, f"{os.getpid()}.jsonl")
        with open(path, "a", encoding="utf-8") as file:
            file.write(json.dumps(line, default=str) + "\n")
