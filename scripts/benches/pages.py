"""Write docs/findings: a page for each finding, from its rule's docstring, and the table of all thresholds.

`scripts/findings` runs this.
"""

from __future__ import annotations

import re
from pathlib import Path

from tbperf.findings import RULES
from tbperf.findings.thresholds import table

FOLDER = Path(__file__).parents[2] / "docs" / "findings"
RULES_FOLDER = Path(__file__).parents[2] / "tbperf" / "findings" / "rules"
GROUPS = {
    "LOADER": "Waiting for batches",
    "SYNC": "Waiting for the GPU",
    "COPY": "Copies",
    "LAUNCH": "Launches",
    "HOST": "Python",
    "KERNEL": "Kernels",
    "ALLOC": "Allocation",
    "COMPILE": "Loading and compiling code",
    "COMM": "Exchange between GPUs",
    "MEM": "Memory",
    "HW": "Hardware",
    "CPU": "Running on the CPU",
    "STAGE": "Stages of a training",
    "PREDICT": "Prediction",
    "PROFILE": "The recording itself",
    "NSYS": "Nsight Systems",
}


_INTRODUCTION = """
# Findings

What `tbperf analyze` can say, one page each. A finding carries what it costs (ns of the window, and its share), what
following it could save, how sure it is, the numbers it rests on, places on the timeline, and what to change.

- **Severity** goes by what could be saved: high from 15 % of the window on, medium from 5 %, low below; `info` costs
  nothing itself.
- **Gain** is a range, measured by replaying the recorded run with the thing changed: done in part, and altogether.
  `null` where the trace does not tell.
- **Confidence**: `high` is measured by the rules of the report, `medium` concluded from it, `low` a hint.

[All thresholds](thresholds.md) stand in one table. How often findings are right, against traces whose truth is known,
is told in [truth.md](truth.md).
"""


def pages() -> dict[str, str]:
    """Return the text of each file, by its name."""
    found = {f"{rule.code}.md": f"# {rule.code}: {rule.title}\n\n{rule.page}" for rule in RULES}
    return {"README.md": _index(), "thresholds.md": _thresholds(), **found}


def _index() -> str:
    lines = [_INTRODUCTION.strip()]
    group = ""
    for rule in RULES:
        kind = re.sub(r"\d+$", "", rule.code)
        if kind != group:
            lines += ["", f"## {GROUPS.get(kind, kind)}", "", "| | |", "|---|---|"]
            group = kind
        lines.append(f"| [{rule.code}]({rule.code}.md) | {rule.title} |")
    return "\n".join(lines) + "\n"


def _thresholds() -> str:
    used = {path.stem.upper(): path.read_text(encoding="utf-8") for path in sorted(RULES_FOLDER.glob("*.py"))}
    loading = (RULES_FOLDER.parent / "loading.py").read_text(encoding="utf-8")
    lines = [
        "# Thresholds",
        "",
        "Every number that decides whether something is a finding, from `tbperf/findings/thresholds.py`. «Chosen»",
        "means just that: a choice, checked against traces whose truth is known ([truth.md](truth.md)).",
        "",
        "| name | value | of what | used by | reason |",
        "|---|---:|---|---|---|",
    ]
    for name, value in table().items():
        codes = [code for code, text in used.items() if re.search(rf"\b{name}\b", text)]
        if not codes and re.search(rf"\b{name}\b", loading):
            codes = [code for code in used if code.startswith("LOADER")]
        shown = f"{float(value):g}"
        used_by = ", ".join(codes) or "all"
        lines.append(f"| {name} | {shown} | {value.unit} | {used_by} | {value.reason} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write all pages, and remove those of rules that are no more."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    written = pages()
    for old in FOLDER.glob("*.md"):
        if old.name not in written and old.name != "truth.md":
            old.unlink()
    for name, text in written.items():
        (FOLDER / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
