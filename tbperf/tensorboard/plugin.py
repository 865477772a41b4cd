"""tbperf's own tab in TensorBoard: a dynamic plugin that serves the components of the HTML report and what they draw.

TensorBoard loads this module whether its tab is looked at or not, and dies when that fails.  So nothing of tbperf is
imported before it is needed, and whatever goes wrong then is an answer of this plugin alone.
"""

from __future__ import annotations

import functools
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tensorboard.backend import http_util
from tensorboard.plugins import base_plugin
from werkzeug import wrappers
from werkzeug.wsgi import wrap_file

if TYPE_CHECKING:
    from collections.abc import Callable

    from tbperf.tensorboard.captures import Capture, LogFolder
    from tbperf.tensorboard.results import Results

    Answer = Callable[["Plugin", wrappers.Request], wrappers.Response]

_HERE = Path(__file__).parent
_WEB = _HERE.parent / "render" / "web"
_TYPES = {".js": "text/javascript", ".css": "text/css"}
_MODULE = re.compile(r"\A[a-z_]+\.(?:js|css)")


def _app(answer: Answer) -> Callable[[Plugin], Any]:
    """Make a WSGI application of a method; a failure is its answer."""

    def bound(plugin: Plugin) -> Any:
        @wrappers.Request.application
        @functools.wraps(answer)
        def application(request: wrappers.Request) -> wrappers.Response:
            if request.method not in ("GET", "HEAD"):
                return _json(request, {"error": "only GET is answered"}, 405)
            try:
                return answer(plugin, request)
            except Exception as error:  # noqa: BLE001 - a broken install must not reach TensorBoard
                return _json(request, {"error": f"tbperf cannot answer: {type(error).__name__}: {error}"}, 500)

        return application

    return bound


class Plugin(base_plugin.TBPlugin):  # type: ignore[misc]
    """The tab."""

    plugin_name = "tbperf"

    def __init__(self, context: base_plugin.TBContext) -> None:
        self._logdir = context.logdir
        self._logdir_spec = getattr(context.flags, "logdir_spec", None)
        if self._logdir_spec and self._logdir == self._logdir_spec:
            self._logdir = None
        self._state: tuple[LogFolder, Results] | None = None
        self.is_active()  # the first look around begins before the first page is asked for

    def is_active(self) -> bool:
        """Tell whether there is something to show, by what is known already; True while nothing is known."""
        try:
            found = self._parts()[0].found
        except Exception:  # noqa: BLE001 - the tab says what is broken
            return True
        return found is None or bool(found.captures) or bool(found.notes)

    def data_plugin_names(self) -> tuple[str, ...]:
        """Claim no summaries."""
        return ()

    def frontend_metadata(self) -> base_plugin.FrontendMetadata:
        """Name the module that draws the tab."""
        return base_plugin.FrontendMetadata(es_module_path="/index.js", tab_name="tbperf", disable_reload=True)

    def get_plugin_apps(self) -> dict[str, Any]:
        """Return what answers each route, all below ``data/plugin/tbperf``."""
        return {
            "/index.js": _app(Plugin._index)(self),
            "/web/*": _app(Plugin._module)(self),
            "/words": _app(Plugin._words)(self),
            "/captures": _app(Plugin._captures)(self),
            "/report": _app(functools.partial(Plugin._part, part="report"))(self),
            "/timeline": _app(functools.partial(Plugin._part, part="timeline"))(self),
            "/trace": _app(Plugin._trace)(self),
        }

    def _parts(self) -> tuple[LogFolder, Results]:
        if self._state is None:
            from tbperf.tensorboard.captures import LogFolder  # noqa: PLC0415 - see above
            from tbperf.tensorboard.results import Results  # noqa: PLC0415

            self._state = LogFolder(self._logdir, self._logdir_spec), Results()
        return self._state

    def _index(self, request: wrappers.Request) -> wrappers.Response:
        return _respond(request, (_HERE / "tab.js").read_bytes(), _TYPES[".js"])

    def _module(self, request: wrappers.Request) -> wrappers.Response:
        name = request.path.rpartition("/web/")[2]
        if not _MODULE.fullmatch(name) or not (_WEB / name).is_file():
            return _json(request, {"error": "no such module"}, 404)
        return _respond(request, (_WEB / name).read_bytes(), _TYPES[Path(name).suffix])

    def _words(self, request: wrappers.Request) -> wrappers.Response:
        from tbperf.render.glossary import words  # noqa: PLC0415 - see above

        return _json(request, words())

    def _captures(self, request: wrappers.Request) -> wrappers.Response:
        found = self._parts()[0].found
        if found is None:
            return _json(request, {"scanning": True, "captures": [], "notes": []})
        captures = [
            {
                "id": capture.id,
                "run": capture.run,
                "name": capture.name,
                "bytes": capture.bytes,
                "modified_ns": capture.modified_ns,
                "state": capture.state,
                "files": [file.name for file in _raw(capture)],
            }
            for capture in found.captures.values()
        ]
        return _json(request, {"scanning": False, "captures": captures, "notes": found.notes})

    def _known(self, request: wrappers.Request) -> Capture | None:
        found = self._parts()[0].found
        return None if found is None else found.captures.get(request.args.get("id", ""))

    def _part(self, request: wrappers.Request, part: str) -> wrappers.Response:
        capture = self._known(request)
        if capture is None:
            return _json(request, {"error": "no such recording in the log folder"}, 404)
        answer = self._parts()[1].of(capture, part)
        if isinstance(answer, bytes):
            return _respond(request, answer, "application/json", content_encoding="gzip")
        return _json(request, answer, 422 if answer["state"] == "failed" else 202)

    def _trace(self, request: wrappers.Request) -> wrappers.Response:
        """Stream a trace as it was recorded, for viewers of raw traces."""
        from tbperf.tensorboard.captures import is_inside  # noqa: PLC0415 - see above

        capture = self._known(request)
        files = {file.name: file for file in _raw(capture)} if capture else {}
        file = files.get(request.args.get("file", ""))
        if capture is None or file is None or not is_inside(file, capture.root):
            return _json(request, {"error": "no such recording in the log folder"}, 404)
        headers = {
            "Content-Length": str(file.stat().st_size),
            "X-Content-Type-Options": "nosniff",
            "Cache-Control": "no-store",
            "Content-Disposition": "attachment",
        }
        stream = wrap_file(request.environ, file.open("rb"), 1 << 18)
        return wrappers.Response(stream, 200, headers, content_type="application/octet-stream", direct_passthrough=True)


def _raw(capture: Capture) -> list[Path]:
    """Return the files of a recording that viewers of Chrome traces read."""
    return [trace for trace in capture.traces if trace.suffix in (".json", ".gz")]


def _json(request: wrappers.Request, document: Any, code: int = 200) -> wrappers.Response:
    return _respond(request, json.dumps(document).encode(), "application/json", code=code)


def _respond(request: wrappers.Request, content: bytes, content_type: str, **more: Any) -> wrappers.Response:
    """Answer with TensorBoard's own headers: no sniffing of types, no caching, gzip where it is accepted."""
    answer: wrappers.Response = http_util.Respond(request, content, content_type, **more)
    return answer
