"""``tbperf open``: which page is shown, and what happens where none can be."""

import os
import threading
from pathlib import Path

import pytest
from click.testing import CliRunner

from tbperf.cli import cli
from tbperf.errors import TbperfError, TraceFormatError
from tests.cli.test_analyze import LOADER_BOUND
from tests.cli.test_analyze import tbperf as command


@pytest.fixture
def shown(monkeypatch):
    """The addresses that a browser was asked for."""
    asked = []
    monkeypatch.setattr("webbrowser.open", lambda address: asked.append(address) or True)
    return asked


def run(*args):
    return CliRunner().invoke(cli, ["open", *map(str, args)], catch_exceptions=False)


def test_an_html_report_is_shown_as_it_is(tmp_path, shown):
    page = tmp_path / "a report.html"
    command("analyze", LOADER_BOUND.write(tmp_path / "t.json"), "--html", page)

    assert run(page).exit_code == 0
    assert shown == [page.as_uri()]


@pytest.mark.parametrize("name", ["t.json", "report.json", "."])
def test_of_a_trace_a_folder_or_a_json_report_a_page_is_made(tmp_path, shown, monkeypatch, name):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    folder = tmp_path / "traces"
    folder.mkdir()
    trace = LOADER_BOUND.write(folder / "t.json")
    if name == "report.json":
        command("analyze", trace, "--format", "json", "--out", folder / name)

    assert run(folder / name).exit_code == 0
    (address,) = shown
    page = Path(address.removeprefix("file://"))
    assert "The GPU is idle 54 %" in page.read_text()
    assert page.parent.name.startswith("tbperf-")


def test_what_is_no_report_is_said_to_be_none(tmp_path, shown):
    other = tmp_path / "other.html"
    other.write_text("<!DOCTYPE html><title>news</title>")

    for path in (other, tmp_path / "missing.html"):
        with pytest.raises(TraceFormatError):
            run(path)
    assert not shown


def test_without_a_browser_the_file_is_named(tmp_path, monkeypatch):
    page = tmp_path / "r.html"
    command("analyze", LOADER_BOUND.write(tmp_path / "t.json"), "--html", page)
    monkeypatch.setattr("webbrowser.open", lambda _address: False)

    with pytest.raises(TbperfError, match=r"r\.html: no browser"):
        run(page)


def test_a_pipe_is_read_once_and_whole(tmp_path, shown, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    pipe = tmp_path / "pipe.json"
    os.mkfifo(pipe)
    content = LOADER_BOUND.write(tmp_path / "t.json").read_bytes()
    writer = threading.Thread(target=lambda: pipe.write_bytes(content))
    writer.start()

    assert run(pipe).exit_code == 0
    writer.join()
    assert len(shown) == 1
