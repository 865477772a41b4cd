"""A comparison as a page: harmless whatever the recordings hold, with the numbers of the JSON."""

import json

import pytest

from tbperf.comparison import compare_reports
from tbperf.history import history_of
from tbperf.render import render_json
from tbperf.render.html import render_comparison_html, render_history_html
from tests.comparison.runs import report
from tests.render.test_html import HOSTILE, embedded
from tests.test_history import runs


@pytest.fixture(scope="module")
def found():
    before = report(1, device=True, arguments={"workers": 0})
    return compare_reports([before], [report(3, device=True, dataload=1.0, loss=18.0)])


def test_the_page_holds_the_document_and_fetches_nothing(found):
    page = render_comparison_html(found)

    assert embedded(page, "comparison") == json.loads(render_json(found))
    assert "http" not in page.replace("http-equiv", "").replace("http://www.w3.org/2000/svg", "")
    assert len(page) < 300_000


def test_what_the_page_shows_is_what_the_json_holds(found, browser, tmp_path, artefacts):
    file = tmp_path / "comparison.html"
    file.write_text(render_comparison_html(found))

    browser.get(file.as_uri())

    assert not [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
    assert browser.find_element("css selector", "h1").text == found.verdict[0]
    for section, rows in (("stages", found.stages), ("figures", found.figures)):
        shown = browser.execute_script(
            "return [...document.querySelectorAll(arguments[0])].map((cell) => Number(cell.dataset.value))",
            f"#{section} td[data-key=b]",
        )
        assert shown == pytest.approx([row.b for row in rows if row.a or row.b])
    words = browser.execute_script("return [...document.querySelectorAll('#stages .word')].map((e) => e.textContent)")
    assert words[:2] == ["better", "worse"]
    assert set(words[2:]) == {"noise"}
    for theme in ("light", "dark"):
        browser.execute_script("document.documentElement.dataset.theme = arguments[0]", theme)
        browser.save_screenshot(str(artefacts / f"comparison-{theme}.png"))


def test_a_history_draws_its_runs_to_scale(browser, tmp_path, artefacts):
    found = history_of(runs(8, shift_at=4, device=True, dataload=60.0, arguments={"workers": 0}))
    file = tmp_path / "history.html"
    file.write_text(render_history_html(found))

    browser.get(file.as_uri())

    assert not [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
    assert browser.find_element("css selector", "h1").text == found.verdict[0]
    widths = browser.execute_script(
        "return [...document.querySelectorAll('.run-bar')].map((bar) => bar.getBoundingClientRect().width)"
    )
    steps = [run.figures["step_time"] for run in found.runs]
    assert widths == pytest.approx([max(widths) * step / max(steps) for step in steps], abs=2)
    shifted = browser.execute_script("return document.querySelectorAll('td[data-key=shift]')[4].textContent")
    assert "dataload" in shifted
    browser.save_screenshot(str(artefacts / "history-light.png"))


def test_hostile_names_do_nothing_on_the_page(browser, tmp_path):
    stages = dict.fromkeys(HOSTILE, 20.0)
    slow = dict.fromkeys(HOSTILE, 60.0)
    hostile = compare_reports(
        [report(1, device=True, folder=HOSTILE[0], arguments={"name_": HOSTILE[1]}, **stages)],
        [report(2, device=True, folder=HOSTILE[1], **slow)],
    )
    file = tmp_path / "comparison.html"
    file.write_text(render_comparison_html(hostile))

    browser.get(file.as_uri())

    assert browser.execute_script("return window.harmed") is None
    text = browser.find_element("css selector", "main").text
    assert "<script>" in text
    assert not {"\x1b", "\x07", "\u202e"} & set(text)
