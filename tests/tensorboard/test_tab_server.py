"""The server's side of tbperf's tab: what it finds, what it serves, what it never serves, and that it never waits."""

import gzip
import json
import os
import shutil
import subprocess
import sys
import threading
import time
import types
from pathlib import Path

import pytest

pytest.importorskip("tensorboard", reason="no TensorBoard (pip install 'tbperf[tensorboard]')")

from tensorboard.plugins import base_plugin
from werkzeug.test import Client

from tbperf import analyze
from tbperf.render import render_json
from tbperf.tensorboard.plugin import Plugin
from tests.cli.test_analyze import LOADER_BOUND
from tests.draw import Timeline

SAMPLES = Path(__file__).parents[2] / "sample_traces" / "tbperf" / "0.1.0"
SECONDS = 60


class Tab:
    """The plugin of a log folder, asked over WSGI as TensorBoard asks it."""

    def __init__(self, folder=None, spec=None):
        context = base_plugin.TBContext(
            logdir=str(folder) if folder else spec, flags=types.SimpleNamespace(logdir_spec=spec)
        )
        self.plugin = Plugin(context)
        self.apps = self.plugin.get_plugin_apps()

    def get(self, path, method="GET", **query):
        route = "/web/*" if path.startswith("/web/") else path
        return Client(self.apps[route]).open(path, method=method, query_string=query, buffered=True)

    def json(self, path, **query):
        return self.get(path, **query).json

    def captures(self):
        until = time.monotonic() + SECONDS
        while (found := self.json("/captures"))["scanning"]:
            assert time.monotonic() < until
            time.sleep(0.01)
        return found["captures"]

    def rescanned(self):
        """The captures after a look around that begins now."""
        folder = self.plugin._parts()[0]
        folder._found, folder._scanned = None, 0.0
        return self.captures()

    def finished(self, path, capture):
        """The answer when the analysis has ended."""
        until = time.monotonic() + SECONDS
        while (answer := self.get(path, id=capture["id"])).status_code == 202:
            assert answer.json["state"] in ("waiting", "running")
            assert time.monotonic() < until
            time.sleep(0.05)
        return answer


def unzipped(answer):
    return json.loads(gzip.decompress(answer.data) if answer.data.startswith(b"\x1f\x8b") else answer.data)


def kept_beside(folder):
    return sorted(file.name for file in folder.rglob(".*") if ".tbperf-" in file.name)


def test_it_finds_runs_traces_and_ranks_together(tmp_path):
    for rank in (0, 1):
        (tmp_path / "job").mkdir(exist_ok=True)
        LOADER_BOUND.write(tmp_path / "job" / f"host_1_rank{rank}.17.pt.trace.json")
    (tmp_path / "plain").mkdir()
    LOADER_BOUND.write(tmp_path / "plain" / "trace.json")
    (tmp_path / "plain" / "other.json").write_text('{"no": "trace"}')
    (tmp_path / "job" / "plugins" / "torch-tb-legacy").mkdir(parents=True)
    LOADER_BOUND.write(tmp_path / "job" / "plugins" / "torch-tb-legacy" / "copy.pt.trace.json")
    (tmp_path / "elsewhere").symlink_to(SAMPLES / "yolov8n-train-cpu")
    shutil.copytree(SAMPLES / "yolov8n-predict-cpu", tmp_path / "runs" / "one")

    found = [(capture["run"], capture["name"]) for capture in Tab(tmp_path).captures()]

    assert found == [
        ("job", "host_1_rank0.17.pt.trace.json"),
        ("job", "host_1_rank1.17.pt.trace.json"),
        ("job", "all 2 traces of this folder"),
        ("plain", "trace.json"),
        ("runs/one", "one"),
    ]


def test_the_report_is_the_one_of_the_command_line_and_is_kept_beside_the_trace(tmp_path):
    trace = LOADER_BOUND.write(tmp_path / "t.pt.trace.json")
    tab = Tab(tmp_path)
    (capture,) = tab.captures()

    answer = tab.finished("/report", capture)

    assert answer.status_code == 200
    assert unzipped(answer) == json.loads(render_json(analyze(trace)))
    (timeline,) = unzipped(tab.finished("/timeline", capture))
    assert timeline["schema"] == "tbperf-timeline/1"
    assert len(kept_beside(tmp_path)) == 2
    assert Tab(tmp_path).captures() == [capture]
    again = Tab(tmp_path)
    again.captures()
    assert again.get("/report", id=capture["id"]).status_code == 200  # at once: nothing is analyzed again


def test_a_trace_that_changes_is_analyzed_again_and_old_results_go(tmp_path):
    LOADER_BOUND.write(tmp_path / "t.pt.trace.json")
    tab = Tab(tmp_path)
    (before,) = tab.captures()
    tab.finished("/report", before)
    Timeline().kernel(0, 10).write(tmp_path / "t.pt.trace.json")
    (after,) = tab.rescanned()

    report = unzipped(tab.finished("/report", after))

    assert after["id"] == before["id"]
    assert after["state"] != before["state"]
    assert report["traces"][0]["devices"][0]["window_ns"] == 10_000
    assert len(kept_beside(tmp_path)) == 2


def test_where_nothing_can_be_written_results_stay_in_memory(tmp_path, monkeypatch):
    LOADER_BOUND.write(tmp_path / "t.pt.trace.json")
    tab = Tab(tmp_path)
    (capture,) = tab.captures()

    def refused(*_args, **_options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tbperf.tensorboard.results.tempfile.mkstemp", refused)

    assert tab.finished("/report", capture).status_code == 200
    assert tab.get("/timeline", id=capture["id"]).status_code == 200
    assert not kept_beside(tmp_path)


def test_what_cannot_be_analyzed_says_why(tmp_path):
    (tmp_path / "t.pt.trace.json").write_bytes(b"\x89PNG")
    tab = Tab(tmp_path)
    (capture,) = tab.captures()

    answer = tab.finished("/report", capture)

    assert answer.status_code == 422
    assert "not a trace that tbperf can read" in answer.json["error"]
    assert answer.json["hint"]


def test_nothing_outside_of_the_log_folder_is_found_or_served(tmp_path):
    outside, logs = tmp_path / "outside", tmp_path / "logs"
    outside.mkdir()
    logs.mkdir()
    secret = LOADER_BOUND.write(outside / "secret.pt.trace.json")
    mine = LOADER_BOUND.write(logs / "mine.pt.trace.json")
    (logs / "link.pt.trace.json").symlink_to(secret)
    (logs / "folder").symlink_to(outside)
    (logs / "loop.pt.trace.json").symlink_to(logs / "loop.pt.trace.json")
    tab = Tab(logs)
    (capture,) = tab.captures()

    assert capture["name"] == "mine.pt.trace.json"
    assert any("outside" in note for note in tab.json("/captures")["notes"])
    for name in ("../outside/secret.pt.trace.json", str(secret), "link.pt.trace.json", "", "mine.pt.trace.json\0"):
        assert tab.get("/trace", id=capture["id"], file=name).status_code == 404
        assert tab.get("/report", id=name).status_code == 404
    for name in ("../html.py", "..%2f..%2fsetup.cfg", "/etc/passwd", "style.css/../dom.js", "page.html", ""):
        assert tab.get(f"/web/{name}").status_code == 404
    mine.unlink()
    mine.symlink_to(secret)  # in place of what the scan saw
    assert tab.get("/trace", id=capture["id"], file=mine.name).status_code == 404
    assert tab.finished("/report", capture).status_code == 422


def test_a_link_in_place_of_kept_results_is_not_followed(tmp_path):
    LOADER_BOUND.write(tmp_path / "t.pt.trace.json")
    tab = Tab(tmp_path)
    (capture,) = tab.captures()
    expected = unzipped(tab.finished("/report", capture))
    (report,) = [tmp_path / name for name in kept_beside(tmp_path) if name.endswith("report")]
    secret = tmp_path / "secret.gz"
    secret.write_bytes(gzip.compress(b'"secret"'))
    report.unlink()
    report.symlink_to(secret)

    assert unzipped(tab.finished("/report", capture)) == expected
    assert gzip.decompress(secret.read_bytes()) == b'"secret"'


def test_answers_have_their_type_and_are_not_to_be_guessed(tmp_path):
    trace = LOADER_BOUND.write(tmp_path / "t.pt.trace.json")
    tab = Tab(tmp_path)
    (capture,) = tab.captures()
    tab.finished("/report", capture)

    for path, query, kind in (
        ("/index.js", {}, "text/javascript"),
        ("/web/report.js", {}, "text/javascript"),
        ("/web/style.css", {}, "text/css"),
        ("/words", {}, "application/json"),
        ("/captures", {}, "application/json"),
        ("/report", {"id": capture["id"]}, "application/json"),
        ("/report", {"id": "<script>"}, "application/json"),
        ("/trace", {"id": capture["id"], "file": trace.name}, "application/octet-stream"),
    ):
        answer = tab.get(path, **query)
        assert answer.headers["Content-Type"].startswith(kind), path
        assert answer.headers["X-Content-Type-Options"] == "nosniff", path
        assert tab.get(path, method="POST", **query).status_code == 405, path
    assert tab.get("/trace", id=capture["id"], file=trace.name).data == trace.read_bytes()


def test_captures_that_appear_later_are_found(tmp_path):
    tab = Tab(tmp_path)
    assert tab.captures() == []
    assert not tab.plugin.is_active()
    LOADER_BOUND.write(tmp_path / "t.pt.trace.json")

    assert len(tab.rescanned()) == 1
    assert tab.plugin.is_active()


def test_being_active_is_told_without_looking(tmp_path, monkeypatch):
    LOADER_BOUND.write(tmp_path / "t.pt.trace.json")
    release = threading.Event()
    walk = os.walk

    def slow(*args, **options):
        release.wait(SECONDS)
        return walk(*args, **options)

    monkeypatch.setattr("tbperf.tensorboard.captures.os.walk", slow)
    tab = Tab(tmp_path)

    assert tab.json("/captures")["scanning"]  # answered while the scan still waits
    assert tab.plugin.is_active()
    release.set()
    assert len(tab.captures()) == 1


def test_named_folders_and_remote_ones(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        LOADER_BOUND.write(tmp_path / name / "t.pt.trace.json")

    spec = Tab(spec=f"first:{tmp_path / 'a'},{tmp_path / 'b'},gs://bucket/logs")
    assert [capture["run"] for capture in spec.captures()] == ["first", ""]
    assert any("gs://bucket/logs" in note for note in spec.json("/captures")["notes"])
    nothing = Tab()
    assert nothing.captures() == []
    assert "--logdir" in nothing.json("/captures")["notes"][0]
    assert nothing.plugin.is_active()


def test_loading_the_plugin_loads_nothing_of_the_analyzer():
    code = "import sys, tbperf.tensorboard.plugin; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())

    assert not loaded & {
        "tbperf.report",
        "tbperf.readers",
        "tbperf.render",
        "tbperf.trace",
        "msgspec",
        "torch",
        "jinja2",
    }
