"""Write docs/scrub.md: what stays in a scrubbed recording, from the one list in the code.

`scripts/scrub` runs this.
"""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

from tbperf.scrub import allowed
from tbperf.scrub.names import KINDS, PACKAGES
from tbperf.scrub.values import Each, Fields, Keyed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from tbperf.scrub.values import Rule

PAGE = Path(__file__).parents[2] / "docs" / "scrub.md"
_WIDTH = 118

_INTRODUCTION = """
# Sharing a recording

A recording tells more than how fast a program was: paths, user and host names, command lines, the names of your own
ranges, modules and kernels; exports of Nsight Systems carry the environment variables of **every** process of the
machine and what the program printed. `tbperf scrub` writes a copy that is safe to share:

```console
$ tbperf scrub trace.pt.trace.json.gz shareable.pt.trace.json.gz
$ tbperf scrub report.sqlite shareable.sqlite
$ tbperf scrub runs/tbperf/2026-11-24-0930 shareable
```

- **It keeps what is on a list**, below, and drops the rest, also what nobody has heard of yet: events, arguments,
  metadata, tables, columns and files that are not listed, and listed ones whose value does not have the shape that it
  should have.
- **Names are taken word by word.** Kernels, operators and functions keep the words of
  [a list](../tbperf/scrub/words.txt) of public ones (PyTorch, CUDA, ROCm, Python, Ultralytics) and numbers of at most
  five digits. Any other word becomes a pseudonym, `anon7`: the same text has the same one everywhere in a copy, and
  nothing can be computed back from it. Names of ranges, threads, processes and files stay only if they are known as a
  whole.
- **The figures stay.** A report on the copy says what one on the original says, to the nanosecond: a replaced name
  keeps what the analyses read from it (`acmegemm` becomes `gemm_anon3`). A trace that breaks off gives a copy that
  breaks off.
- **The input is never changed**, and nothing that exists is written over. The command says how much was left out, and
  does not repeat what it was.

What can be read is what can be scrubbed: traces of torch.profiler, compressed or not (the name of the copy decides how
it is compressed), SQLite exports of Nsight Systems, `-` for the standard input, and folders with any of them. A run
folder gives a run folder; files are renamed to process, rank and time, and those that are not known are left out, as
are `plugins/` and `tbperf/`, which `tbperf export` makes anew. Not yet: archives, `.nsys-rep` (export it first),
folders of Parquet or Arrow tables.

What stays and may still tell something: dates and times, sizes and shapes, process ids, the models of CPU and GPU,
versions, and that you used the public packages that you used. Ranges found with `--stage-from` lose the names that the
pattern looks for: analyze the original for that.
"""


def page() -> str:
    """Return the text of the page."""
    parts = [
        _INTRODUCTION.strip(),
        "## Names",
        _table(("kind", "what stays"), ((kind, of.says) for kind, of in KINDS.items())),
        _prose("Packages whose files keep their path, besides Python's own library: " + _code(sorted(PACKAGES))),
        "## Traces of torch.profiler",
        *_events(),
        "Metadata of the trace:",
        _rules(allowed.METADATA),
        "## Exports of Nsight Systems",
        _prose(
            "Rows of the program's own processes in these tables, of any version; registered strings that they refer"
            " to. Columns of numbers hold numbers, or nothing. Rows of metadata: " + _code(allowed.EXPORT_METADATA)
        ),
        _table(("table", "numbers", "names"), map(_of_table, allowed.TABLES.items())),
        "## Run folders",
        "`run.json`:",
        _rules(allowed.RUN),
        "Each line of `steps.*.jsonl`:",
        _rules(allowed.LOGGED_STEP),
        "Before the records of each batch in `loader.*.bin`, which are numbers:",
        _rules(allowed.LOADED_BATCH),
        "The first line of `hardware.jsonl`, whose other lines are numbers:",
        _rules(allowed.HARDWARE_HEADER),
    ]
    return "\n\n".join(parts) + "\n"


def _events() -> Iterator[str]:
    rows = []
    for group in allowed.EVENTS:
        categories = _code(category for category in group.categories if category)
        rows.append((group.title, categories, group.name, ", ".join(_listed(group.args))))
    yield _table(("events", "categories", "names are", "arguments"), rows)
    labels = (f"`{name}`: {', '.join(_listed(rules))}" for name, rules in allowed.LABELS.items())
    yield _prose(
        "Of each event also its phase, process, thread, times, and what an arrow needs (`id`, `bp`, `s`). Events that"
        f" name and order processes and threads: {'; '.join(labels)}."
    )


def _listed(rules: Mapping[str, Rule], inside: str = "") -> Iterator[str]:
    """Yield the entries of an object by the shape of their values; those of objects inside by themselves."""
    by_shape: dict[str, list[str]] = {}
    for key, rule in rules.items():
        entries, path = _entries(rule, f"{inside}.{key}" if inside else key)
        if entries is None:
            by_shape.setdefault(rule.says, []).append(f"`{key}`")
        else:
            yield from _listed(entries, path)
    for shape, keys in by_shape.items():
        yield f"in `{inside}`: {' '.join(keys)} ({shape})" if inside else f"{' '.join(keys)} ({shape})"


def _entries(rule: Rule, path: str) -> tuple[Mapping[str, Rule] | None, str]:
    """Return the entries of the object that a rule is for, and where it lies."""
    if isinstance(rule, Fields):
        return rule.of, path
    if isinstance(rule, Each):
        return _entries(rule.rule, f"{path}[]")
    if isinstance(rule, Keyed) and isinstance(rule.rule, Fields):
        return rule.rule.of, f"{path}.<{rule.kind}>"
    return None, path


def _rules(rules: Mapping[str, Rule]) -> str:
    return "\n".join(_prose(line, first="- ", rest="  ") for line in _listed(rules))


def _of_table(item: tuple[str, allowed.Table]) -> tuple[str, str, str]:
    name, table = item
    names = (f"`{column}` ({kind})" for column, kind in (*table.strings.items(), *table.texts.items()))
    return f"`{name}`", _code(table.numbers.split()), ", ".join(names)


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _code(names: Iterable[str]) -> str:
    return " ".join(f"`{name}`" for name in names)


def _prose(text: str, first: str = "", rest: str = "") -> str:
    return textwrap.fill(
        text, _WIDTH, initial_indent=first, subsequent_indent=rest, break_long_words=False, break_on_hyphens=False
    )


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
