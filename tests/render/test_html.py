"""The HTML report: one file, harmless whatever a trace holds, with the numbers of the JSON report."""

import json
import re
from pathlib import Path

import pytest

import tbperf
from tbperf.analyses.examine import examine
from tbperf.render.glossary import words
from tbperf.render.html import bundle, embeddable, page, render_html
from tbperf.render.timeline import timeline
from tbperf.report import analyze_and, report_on
from tests.cli.test_analyze import LOADER_BOUND
from tests.cli.test_analyze import tbperf as command
from tests.draw import Timeline

SAMPLES = Path(__file__).parents[2] / "sample_traces"
HOSTILE = (
    "</script><script>window.harmed = 1</script>",
    '"><img src=x onerror="window.harmed = 2">',
    "\x1b[31mred\x1b]8;;http://example.invalid\x07\u202e<!--",
    "${window.harmed = 3}{{ 7 * 7 }}\u2028'`",
)


def page_of(path, into):
    report, timelines = analyze_and(path, timeline)
    file = into / "report.html"
    file.write_text(render_html(report, timelines))
    return file, json.loads(tbperf_json(report))


def tbperf_json(report):
    from tbperf.render import render_json

    return render_json(report)


def embedded(text, name):
    (found,) = re.findall(rf'<script type="application/json" id="{name}">(.*?)</script>', text)
    return json.loads(found)


def opened(browser, file):
    browser.get(file.as_uri())
    browser.execute_async_script("const done = arguments[0]; window.tbperf.ready.then(() => done())")
    assert not [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]


def values(browser, selector):
    """The exact values that the cells under a selector carry, by row."""
    return browser.execute_script(
        """const exact = (row) => [...row.querySelectorAll("[data-value]")];
           const pair = (cell) => [cell.dataset.key, Number(cell.dataset.value)];
           const rows = [...document.querySelectorAll(arguments[0])];
           return rows.map((row) => Object.fromEntries(exact(row).map(pair)))""",
        selector,
    )


def test_the_page_holds_the_whole_json_report(tmp_path):
    file, report = page_of(LOADER_BOUND.write(tmp_path / "t.json"), tmp_path)
    text = file.read_text()

    assert embedded(text, "report") == report
    assert embedded(text, "timelines")[0]["schema"] == "tbperf-timeline/1"


def test_the_page_needs_nothing_else(tmp_path):
    text = page_of(LOADER_BOUND.write(tmp_path / "t.json"), tmp_path)[0].read_text()
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)[1]

    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert not re.search(r'(?:src|href)="(?!#)|@import|url\(', text.split("<script", 1)[0])
    assert not re.search(r"^import |\bfetch\(", bundle("page.js"), re.MULTILINE)


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_embedded_neither_ends_its_element_nor_changes(name):
    text = embeddable({"name": name})

    assert not set("<>&\u2028\u2029") & set(text)
    assert json.loads(text) == {"name": name}


def test_every_module_can_be_joined_and_each_once():
    script = bundle("page.js")

    names = re.findall(r"^const (\$\w+) = ", script, re.MULTILINE)
    assert names[-1] == "$page"
    assert len(names) == len(set(names)) > 5


def test_numbers_in_the_page_are_those_of_the_json_report(tmp_path, browser, artefacts):
    file, report = page_of(LOADER_BOUND.write(tmp_path / "t.json"), tmp_path)
    opened(browser, file)
    (trace,) = report["traces"]

    assert browser.find_element("css selector", "h1").text == report["verdict"][0]
    parts = browser.execute_script(
        """return [...document.querySelectorAll("#time [data-part]")]
             .map((part) => [part.dataset.part, Number(part.dataset.value)])"""
    )
    (device,) = trace["devices"]
    assert parts == [[key, device[key]] for key, _ in parts]
    assert sum(value for _, value in parts) == device["window_ns"]
    idle = values(browser, "#idle .bars tbody tr")
    assert [row["idle_ns"] for row in idle] == [row["idle_ns"] for row in trace["idle"]]
    kernels = values(browser, "#work tbody tr")
    assert [row["total_ns"] for row in kernels[: len(trace["kernels"])]] == [k["total_ns"] for k in trace["kernels"]]
    costs = browser.execute_script(
        "return [...document.querySelectorAll('.finding .cost')].map((cost) => Number(cost.dataset.value))"
    )
    assert costs == [finding["cost_ns"] for finding in report["findings"]]
    browser.save_screenshot(str(artefacts / "report-drawn.png"))


def test_a_hostile_trace_harms_no_page(tmp_path, browser):
    timeline_ = Timeline().step(1, 0, 1000)
    for at, name in enumerate(HOSTILE):
        timeline_.kernel(at * 100, at * 100 + 50, name=name, call=(at * 100, at * 100 + 5))
        timeline_.op(name, at * 100, at * 100 + 20).range(name, 500 + at, 900 - at)
    file, _ = page_of(timeline_.write(tmp_path / "<img src=x onerror=alert(1)>.json"), tmp_path)
    opened(browser, file)

    assert browser.execute_script("return window.harmed") is None
    assert browser.execute_script("return document.querySelectorAll('img, iframe, main script').length") == 0
    text = browser.execute_script("return document.getElementById('page').textContent")
    assert "</script><script>window.harmed = 1</script>" in text
    assert not set("\x1b\x07\u202e\u2028") & set(text)


def test_a_run_on_the_cpu_has_a_page_too(tmp_path, browser, artefacts):
    file, report = page_of(SAMPLES / "tbperf" / "0.1.0" / "yolov8n-train-cpu", tmp_path)
    opened(browser, file)

    stages = values(browser, "#steps .table:last-of-type tbody tr")
    assert [row["host_ns"] for row in stages] == [row["host_ns"] for row in report["traces"][0]["stages"]]
    for theme in ("light", "dark"):
        browser.execute_script("document.documentElement.dataset.theme = arguments[0]", theme)
        browser.save_screenshot(str(artefacts / f"report-cpu-{theme}.png"))


def test_the_command_writes_the_page_beside_its_own_output(tmp_path):
    page = tmp_path / "report.html"

    done = command("analyze", LOADER_BOUND.write(tmp_path / "t.json"), "--html", page, "--format", "json")

    assert done.returncode == 0, done.stderr
    assert f"page written to {page}" in done.stderr
    assert embedded(page.read_text(), "report") == json.loads(done.stdout)


def test_analyze_and_answers_in_the_order_of_the_report(tmp_path):
    for rank in (1, 0):
        LOADER_BOUND.write(tmp_path / f"host_1_rank{rank}.17.pt.trace.json")

    report, answers = analyze_and(tmp_path, _path_of)

    assert [trace.path for trace in report.traces] == list(answers)
    assert tbperf.analyze(tmp_path) == report


def _path_of(trace):
    return trace.path


def test_colours_have_the_form_that_the_timeline_reads():
    style = (Path(tbperf.__file__).parent / "render" / "web" / "style.css").read_text()

    for name, value in re.findall(r"(--[\w-]+):\s*([^;]+);", style):
        assert re.fullmatch(r"#[0-9a-f]{6}|\d+(\.\d+)?px", value), name


def loaded_and_measured():
    """Two steps with loader workers, hardware, memory and copies."""
    drawn = Timeline()
    for step in range(2):
        at = step * 2000
        drawn.step(step, at, at + 2000).stage("dataload", at, at + 800).stage("forward", at + 800, at + 2000)
        drawn.copy("HtoD", at + 810, at + 900, memory="pageable", size=12_000_000, call=(at + 805, at + 905))
        drawn.kernel(at + 910, at + 1900, name="gemm", call=(at + 900, at + 905))
        drawn.loaded("fetch", at, at + 750).loaded("load_image", at + 50, at + 600)
        for moment in range(10):
            drawn.sample(at + 200 * moment, "power_watts", 200.5 + moment, device=0)
            drawn.allocation(at + 200 * moment, 64, allocated=1_000_000 * (moment + 1), reserved=20_000_000)
    return drawn.trace()


def test_whatever_the_report_holds_is_shown_in_words(tmp_path, browser):
    trace = loaded_and_measured()
    report = json.loads(tbperf_json(report_on([examine(trace)])))
    report["traces"][0]["grown_rows"] = [{"name": "new", "cost_ns": 5_000_000, "ns": {"mean": 2000, "max": 3000}}]
    report["traces"][0]["grown_facts"] = {"some_share": 0.25, "some_ns": 7_000_000, "some_bytes": 2_000_000}
    file = tmp_path / "report.html"
    file.write_text(page("t", {"report": report, "words": words(), "timelines": [timeline(trace)]}, "page.js"))
    opened(browser, file)

    text = browser.execute_script("return document.getElementById('page').innerText")
    for shown in ("Loader", "load_image", "Hardware", "Over time", "power", "Longest copies", "Grown rows", "5.00"):
        assert shown in text, shown
    facts = dict(
        browser.execute_script(
            """const pairs = [...document.querySelectorAll("dl.facts-list > div")];
               return pairs.map((pair) => [pair.dataset.key, pair.querySelector("dd").textContent])"""
        )
    )
    assert [facts[f"some_{unit}"] for unit in ("share", "ns", "bytes")] == ["25\u202f%", "7.00\u202fms", "2.0\u202fMB"]
    assert not re.search(r"\[object|NaN|undefined|\bnull\b", text)
    assert not browser.execute_script(
        """const alone = (node) => node.nodeType === Node.TEXT_NODE && node.textContent === "0";
           const boxes = [...document.querySelectorAll("section, details, div, article")];
           return boxes.some((box) => [...box.childNodes].some(alone))"""
    )


def test_no_section_of_a_real_trace_is_garbled(tmp_path, browser):
    for sample in sorted((SAMPLES / "tbperf" / "0.1.0").iterdir()):
        file, report = page_of(sample, tmp_path)
        opened(browser, file)
        for at in range(len(report["traces"])):
            browser.execute_script("window.tbperf.select(arguments[0])", at)
            text = browser.execute_script("return document.getElementById('page').textContent")
            assert not re.search(r"\[object|NaN|undefined", text), (sample, at)
