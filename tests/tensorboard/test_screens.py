"""What a browser shows of the exports: TensorBoard's own dashboards and the Profile tab's trace viewer."""

import os
import time
from pathlib import Path

import pytest

import tbperf
from tbperf.tensorboard.exports import TENSORBOARD, XPROF, export
from tests.readers.test_corpus import CORPUS
from tests.tensorboard.serving import tensorboard

TRACE = CORPUS / "kineto" / "nccl-a100-base-time-ns.json.gz"
RUN = "nccl-a100-base-time-ns"

ALL_TEXT = """
const texts = [];
const visit = (node) => {
  if (node.nodeType === Node.TEXT_NODE && node.textContent.trim()) texts.push(node.textContent.trim());
  if (node.shadowRoot) node.shadowRoot.childNodes.forEach(visit);
  if (node.tagName === 'IFRAME' && node.contentDocument) visit(node.contentDocument.body || node.contentDocument);
  if (node.tagName !== 'SCRIPT' && node.tagName !== 'STYLE') node.childNodes.forEach(visit);
};
visit(document.body);
return texts.join('\\n');
"""
"""The text of a page with its shadow trees and frames."""


@pytest.fixture(scope="module")
def board(tmp_path_factory):
    if not TRACE.is_file():
        pytest.skip("no ../shared/corpus here")
    pytest.importorskip("xprof", reason="no Profile tab (pip install 'tbperf[tensorboard]')")
    folder = tmp_path_factory.mktemp("screens")
    export(TRACE, [TENSORBOARD, XPROF], folder)
    with tensorboard(folder) as served:
        yield served


@pytest.fixture(scope="module")
def look(board, browser):
    """Open a place, wait for some texts, keep a screenshot, and return all text."""
    artefacts = Path(os.environ.get("TBPERF_ARTEFACTS", Path(__file__).parents[2] / "build" / "screenshots"))
    artefacts.mkdir(parents=True, exist_ok=True)

    def open_page(place, name, *awaited):
        browser.get("about:blank")
        browser.get(board.address + place)
        until = time.monotonic() + 120
        while True:
            text = browser.execute_script(ALL_TEXT)
            if all(words in text for words in awaited):
                time.sleep(2)  # what is drawn comes after what is written
                browser.save_screenshot(str(artefacts / f"{name}.png"))
                return browser.execute_script(ALL_TEXT)
            assert time.monotonic() < until, f"{awaited} not in:\n{text[:2000]}"
            time.sleep(0.5)

    return open_page


def test_the_scalars_dashboard_has_a_chart_for_each_series(look):
    text = look("#scalars", "scalars", "tbperf/gpu_busy_percent")

    assert {"tbperf/step_time_ms", "tbperf/idle_ms/host_op"} <= set(text.split("\n"))


def test_the_text_dashboard_has_the_verdict_and_the_findings(look):
    report = tbperf.analyze(TRACE)
    text = look("#text", "text", report.verdict[0])

    assert all(finding.code in text for finding in report.findings)


def test_the_trace_viewer_shows_steps_streams_stages_and_threads(look):
    place = f"data/plugin/profile/index.html?run={RUN}&tag=trace_viewer@&host=rank0"
    text = look(place, "profile-tab", "Stages and modules", "rank0 /device:GPU:0")

    assert {"Steps", "Stream 7", "Operators"} <= set(text.split("\n"))
    assert "thread 2910249 (pt_main_thread)" in text
