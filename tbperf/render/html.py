"""The report as one HTML file: no network, no server, nothing beside it.

The components are the ES modules in ``web/``, which TensorBoard's tab imports over HTTP.  Here they are put into one
script, in the order in which they need each other; the documents that they draw lie in the page as JSON.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import re
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import jinja2
import msgspec

from tbperf import __version__
from tbperf.errors import TraceFormatError
from tbperf.render.compare_text import TITLES, part_title
from tbperf.render.glossary import words
from tbperf.render.jsonfile import encode_json

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tbperf.comparison import Comparison
    from tbperf.history import History
    from tbperf.report import Report

_WEB = files("tbperf.render") / "web"


def render_html(report: Report, timelines: Sequence[Any] = ()) -> str:
    """Return the page for a report; timelines are documents of `tbperf.render.timeline`, one a trace, or none."""
    data = {"report": report, "words": words(), "timelines": timelines}
    name = report.traces[0].path.rpartition("/")[2] if report.traces else "no trace"
    return page(f"tbperf: {name}", data, "page.js", summary=" ".join(report.verdict))


def render_html_of_json(document: bytes) -> str:
    """Return the page for a report that was written as JSON; it has no timeline.

    Raises TraceFormatError where it is not such a report.
    """
    try:
        report = msgspec.json.decode(document)
        name, summary = report["traces"][0]["path"].rpartition("/")[2], " ".join(report["verdict"])
    except (msgspec.MsgspecError, UnicodeDecodeError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise TraceFormatError(f"not a JSON report of tbperf: {error}") from error
    return page(f"tbperf: {name}", {"report": report, "words": words(), "timelines": []}, "page.js", summary=summary)


def render_comparison_html(found: Comparison) -> str:
    """Return the page for a comparison."""
    titles = {name: title.strip() for name, title in TITLES.items()}
    titles |= {row.name: part_title(row.name) for row in found.device_parts}
    data = {"comparison": found, "titles": titles}
    return page("tbperf: comparison", data, "compare.js", summary=" ".join(found.verdict))


def render_history_html(found: History) -> str:
    """Return the page for a history."""
    titles = {name: title.strip() for name, title in TITLES.items()}
    titles |= {f"cause.{cause}": part_title(cause) for run in found.runs for cause in run.causes}
    return page("tbperf: history", {"history": found, "titles": titles}, "history.js", summary=" ".join(found.verdict))


def page(title: str, data: Mapping[str, Any], entry: str, *, summary: str = "") -> str:
    """Return a self-contained page that runs a module of ``web/`` over some documents.

    The module finds each document as JSON in the element whose id is its key, and draws into ``#page``.  ``summary`` is
    what a reader without scripts gets.
    """
    script, style = bundle(entry), _source("style.css")
    return _template().render(
        title=title,
        summary=summary,
        version=__version__,
        style=style,
        style_hash=_csp_hash(style),
        script=script,
        script_hash=_csp_hash(script),
        data={name: embeddable(document) for name, document in data.items()},
    )


_ESCAPES = {c: f"\\u{ord(c):04x}" for c in "<>&\u2028\u2029"}
_ESCAPED = re.compile("[" + "".join(_ESCAPES) + "]")


def embeddable(document: Any) -> str:
    """Return JSON that can neither end the script element which it stands in nor open another."""
    return _ESCAPED.sub(lambda match: _ESCAPES[match[0]], encode_json(document).decode())


_IMPORT = re.compile(r'^import \{([^}]*)\} from "\./([\w-]+\.js)";\n', re.MULTILINE)
_EXPORT = re.compile(r"^export ((?:async )?(?:function|class|const) (\w+))", re.MULTILINE)


@functools.cache
def bundle(entry: str) -> str:
    """Join a module and what it imports into one script: each module becomes a function that returns its exports.

    It knows the form of import and export that the modules of ``web/`` are written in, and no other.
    """
    ordered: dict[str, str] = {}

    def visit(name: str) -> None:
        if name in ordered:
            return
        source = _source(name)
        for _, needed in _IMPORT.findall(source):
            visit(needed)
        ordered[name] = _as_function(name, source)

    visit(entry)
    script = "\n".join(ordered.values())
    if "</script" in script.lower() or "<!--" in script:
        raise AssertionError("a script that would end its own element")
    return script


def _as_function(name: str, source: str) -> str:
    exports = [match[1] for match in _EXPORT.findall(source)]
    body = _EXPORT.sub(r"\1", _IMPORT.sub(lambda m: f"const {{{m[1]}}} = {_variable(m[2])};\n", source))
    if re.search(r"^(?:import|export)\b", body, re.MULTILINE):
        raise AssertionError(f"{name}: an import or export in a form that is not known here")
    return f"const {_variable(name)} = (() => {{\n{body}\nreturn {{ {', '.join(exports)} }};\n}})();"


def _variable(name: str) -> str:
    return "$" + name.removesuffix(".js").replace("-", "_")


def _source(name: str) -> str:
    return (_WEB / name).read_text(encoding="utf-8")


def _csp_hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


@functools.cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=False)
    return environment.from_string(_source("page.html"))
