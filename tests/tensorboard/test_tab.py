"""tbperf's tab in the real TensorBoard, looked at with a real browser."""

import json
import shutil
import subprocess
import sys
import time
import urllib.error
from pathlib import Path

import pytest

from tbperf import analyze
from tbperf.render import render_json
from tests.cli.test_analyze import LOADER_BOUND
from tests.draw import Timeline
from tests.tensorboard.serving import tensorboard

ROOT = Path(__file__).parents[2]
SAMPLES = ROOT / "sample_traces" / "tbperf" / "0.1.0"
CORPUS = ROOT.parent / "shared" / "corpus" / "kineto"
SECONDS = 120


def eventually(browser, script, *arguments):
    """What a script returns as soon as that is something."""
    until = time.monotonic() + SECONDS
    while not (found := browser.execute_script(script, *arguments)):
        assert time.monotonic() < until, script
        time.sleep(0.1)
    return found


def opened(browser, address):
    """Open the tab and go into its frame."""
    browser.switch_to.default_content()
    browser.get("about:blank")
    browser.get_log("browser")  # what pages before had to say
    browser.get(f"{address}#tbperf")
    until = time.monotonic() + SECONDS
    while not (frames := browser.find_elements("css selector", "iframe[id], iframe")):
        assert time.monotonic() < until
        time.sleep(0.1)
    browser.switch_to.frame(frames[0])
    eventually(browser, "return Boolean(window.tbperf)")


def choose(browser, which, name):
    """Choose a recording by the end of its name, and wait until its report is drawn."""
    eventually(
        browser,
        """const select = document.getElementById(arguments[0]);
           const option = [...select.options].find((one) => one.textContent.includes(arguments[1]));
           if (!option) return false;
           if (select.value !== option.value) {
             select.value = option.value;
             select.dispatchEvent(new Event("change"));
           }
           return true;""",
        which,
        name,
    )
    at = 0 if which == "first" else 1
    eventually(browser, "const c = window.tbperf.columns[arguments[0]]; return Boolean(c?.page?.timeline)", at)


def rows(browser, selector):
    return browser.execute_script(
        """const pair = (cell) => [cell.dataset.key ?? cell.dataset.part, Number(cell.dataset.value)];
           return [...document.querySelectorAll(arguments[0])].map((row) =>
             Object.fromEntries([...row.querySelectorAll("[data-value]")].map(pair)))""",
        selector,
    )


def exact(paths):
    return json.loads(render_json(analyze(paths)))


def check_numbers(browser, report):
    """Every view's numbers are those of the JSON report."""
    (trace, *_) = report["traces"]
    assert browser.find_element("css selector", "h1").text == report["verdict"][0]
    parts = browser.execute_script(
        """return [...document.querySelectorAll("[data-section=time] [data-part]")]
             .map((part) => [part.dataset.part, Number(part.dataset.value)])"""
    )
    if trace["devices"]:
        device = trace["devices"][0]
        assert dict(parts) == {key: device[key] for key, _ in parts}
        assert sum(value for _, value in parts) == device["window_ns"]
    assert [row["idle_ns"] for row in rows(browser, "[data-section=idle] .bars tbody tr")] == [
        r["idle_ns"] for r in trace["idle"]
    ]
    browser.execute_script("document.querySelectorAll('.more').forEach((more) => more.click())")
    for caption, key, column in (
        ("Kernels", "kernels", "total_ns"),
        ("Operators", "operators", "self_ns"),
        ("Copies", "memcpy", "exposed_ns"),
        ("Stages on the host", "stages", "host_ns"),
        ("Steps", "steps", "dur_ns"),
        ("Longest gaps", "gaps", "dur_ns"),
        ("Calls that wait for the GPU", "syncs", "host_ns"),
    ):
        drawn = browser.execute_script(
            """const named = (table) => table.caption?.firstChild?.textContent === arguments[0];
               const table = [...document.querySelectorAll("table")].find(named);
               const cells = table ? table.querySelectorAll(`td[data-key="${arguments[1]}"]`) : [];
               return [...cells].map((cell) => Number(cell.dataset.value));""",
            caption,
            column,
        )
        assert drawn == [row[column] for row in trace[key]], caption
    costs = "return [...document.querySelectorAll('.finding .cost')].map((cost) => Number(cost.dataset.value))"
    of_trace = [f for f in report["findings"] if f["trace"] == 0]
    assert browser.execute_script(costs) == [finding["cost_ns"] for finding in of_trace]


HOSTILE = '"><img src=x onerror="window.harmed = 1"></script><script>window.harmed = 2</script>\x1b[2J\u202e'


@pytest.fixture(scope="module")
def logs(tmp_path_factory):
    """A log folder with a recorded run, a trace of an H100, and a hostile one."""
    folder = tmp_path_factory.mktemp("logs")
    shutil.copytree(SAMPLES / "yolov8n-train-cpu", folder / "runs" / "recorded")
    if CORPUS.exists():
        (folder / "h100").mkdir()
        shutil.copy(CORPUS / "owlv2-h100.json.gz", folder / "h100")
    hostile = folder / "<img src=x onerror=alert(1)>"
    hostile.mkdir()
    drawn = Timeline().step(1, 0, 100).op(HOSTILE, 0, 90).stage(HOSTILE, 5, 50)
    drawn.kernel(10, 60, name=HOSTILE, call=(1, 5)).write(hostile / "<b>hostile.pt.trace.json")
    return folder


@pytest.fixture(scope="module")
def address(logs):
    """The real TensorBoard under a prefix."""
    with tensorboard(str(logs), "--path_prefix", "/some/where") as server:
        yield f"{server.address.rstrip('/')}/"


def complaints(browser):
    """What the browser's console has against the tab."""
    entries = browser.get_log("browser")
    return [entry for entry in entries if entry["level"] == "SEVERE" and "/plugin/tbperf/" in entry["message"]]


def test_the_numbers_of_a_recorded_run_are_those_of_the_json_report(browser, logs, address, artefacts):
    opened(browser, address)
    choose(browser, "first", "recorded")

    check_numbers(browser, exact(logs / "runs" / "recorded"))
    browser.save_screenshot(str(artefacts / "tab-recorded.png"))
    assert not complaints(browser)


def test_the_numbers_of_an_h100_are_those_of_the_json_report(browser, logs, address, artefacts):
    if not CORPUS.exists():
        pytest.skip("needs ../shared/corpus")
    opened(browser, address)
    choose(browser, "first", "owlv2")

    check_numbers(browser, exact(logs / "h100" / "owlv2-h100.json.gz"))
    browser.execute_script("window.scrollTo(0, 0)")
    browser.save_screenshot(str(artefacts / "tab-h100.png"))
    browser.execute_script("document.querySelector('.finding .jump').click()")
    gap = eventually(browser, "return window.tbperf.columns[0].page.timeline.marked")
    places = exact(logs / "h100" / "owlv2-h100.json.gz")["findings"][0]["places"]
    assert gap == [places[0]["start_ns"], places[0]["start_ns"] + places[0]["dur_ns"]]
    time.sleep(1)  # it scrolls there
    browser.save_screenshot(str(artefacts / "tab-h100-timeline.png"))
    assert not complaints(browser)


def test_two_recordings_beside_each_other(browser, logs, address, artefacts):
    LOADER_BOUND.write(logs / "before.pt.trace.json")
    slower = (
        Timeline()
        .step(1, 0, 1000)
        .step(2, 1000, 2000)
        .kernel(0, 900, call=(0, 1))
        .kernel(1000, 1900, call=(1000, 1001))
    )
    slower.write(logs / "after.pt.trace.json")
    opened(browser, address)
    choose(browser, "first", "before.pt.trace.json")
    choose(browser, "second", "after.pt.trace.json")
    eventually(browser, "return !window.tbperf.difference.hidden")

    cells = browser.execute_script(
        """const row = document.querySelector(".difference tr[data-key='busy_0']");
           return [...row.querySelectorAll("td")].map((cell) => Number(cell.dataset.value))"""
    )
    busy = [one["traces"][0]["devices"][0] for one in (exact(logs / f"{n}.pt.trace.json") for n in ("before", "after"))]
    shares = [device["busy_ns"] / device["window_ns"] for device in busy]
    assert cells == pytest.approx([*shares, shares[1] / shares[0] - 1])
    browser.save_screenshot(str(artefacts / "tab-compared.png"))
    assert not complaints(browser)


def test_a_recording_that_appears_while_the_tab_is_open(browser, logs, address):
    opened(browser, address)
    eventually(browser, "return document.querySelectorAll('#first option').length > 0")
    LOADER_BOUND.write(logs / "later.pt.trace.json")

    choose(browser, "first", "later.pt.trace.json")
    assert browser.find_element("css selector", "h1").text.startswith("The GPU is idle 54 %")


def test_dark_mode_is_that_of_tensorboard(browser, address, artefacts):
    opened(browser, address)
    choose(browser, "first", "recorded")
    browser.switch_to.default_content()
    browser.execute_script("document.body.classList.add('dark-mode')")
    browser.switch_to.frame(browser.find_elements("css selector", "iframe")[0])
    eventually(browser, "return document.documentElement.dataset.theme === 'dark'")

    ground = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert max(int(part) for part in ground[4:-1].split(",")) < 64
    browser.save_screenshot(str(artefacts / "tab-dark.png"))


def test_hostile_names_are_text(browser, address):
    opened(browser, address)
    choose(browser, "first", "<b>hostile.pt.trace.json")

    assert browser.execute_script("return window.harmed ?? window.parent.harmed ?? null") is None
    assert browser.execute_script("return document.querySelectorAll('img, b').length") == 0
    assert not set("\x1b\u202e") & set(browser.execute_script("return document.body.textContent"))


def test_without_a_network_perfetto_is_a_sentence(browser, address):
    opened(browser, address)
    choose(browser, "first", "recorded")
    browser.execute_cdp_cmd("Network.enable", {})
    offline = {"offline": True, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
    browser.execute_cdp_cmd("Network.emulateNetworkConditions", offline)
    try:
        browser.execute_script("window.tbperf.raw.click(); window.tbperf.perfetto.querySelector('button')?.click()")
        says = eventually(
            browser,
            "const s = window.tbperf.perfetto.textContent; return s.includes('cannot be reached') ? s : null",
        )
    finally:
        browser.execute_cdp_cmd("Network.emulateNetworkConditions", offline | {"offline": False})

    assert "https://ui.perfetto.dev" in says


BREAKS = """
import sys
class Broken:
    def find_spec(self, name, path=None, target=None):
        if name == {name!r} and "tbperf" in sys.modules:
            raise ImportError("broken on purpose")
sys.meta_path.insert(0, Broken())
"""


def test_a_broken_install_never_stops_tensorboard(tmp_path, monkeypatch):
    (tmp_path / "path").mkdir()
    (tmp_path / "path" / "sitecustomize.py").write_text(BREAKS.format(name="tbperf.tensorboard.captures"))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "path"))
    with tensorboard(str(tmp_path)) as server:
        listing = server.json("data/plugins_listing")
        index = server.get("data/plugin/tbperf/index.js")
        with pytest.raises(urllib.error.HTTPError) as refused:
            server.get("data/plugin/tbperf/captures")
        says = json.loads(refused.value.read())

    assert "scalars" in listing
    assert listing["tbperf"]["enabled"]
    assert b"export async function render" in index
    assert "broken on purpose" in says["error"]


ASKS = """
import types
from tensorboard.plugins.base_plugin import TBContext
from werkzeug.test import Client
from tbperf.tensorboard.plugin import Plugin
plugin = Plugin(TBContext(logdir={folder!r}, flags=types.SimpleNamespace(logdir_spec="")))
plugin.is_active()
for route, app in plugin.get_plugin_apps().items():
    answer = Client(app).open(route, buffered=True)
    print(route, answer.status_code, answer.headers["Content-Type"])
"""


@pytest.mark.parametrize("broken", ["msgspec", "numpy", "jinja2", "tbperf.readers", "tbperf.render", "tbperf.report"])
def test_whatever_is_broken_every_route_answers(tmp_path, broken):
    LOADER_BOUND.write(tmp_path / "t.json")
    code = BREAKS.format(name=broken) + ASKS.format(folder=str(tmp_path))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    answers = [line.split() for line in done.stdout.splitlines()]
    assert len(answers) == 7
    assert {int(status) for _, status, *_ in answers} <= {200, 404, 500}
    assert ["/index.js", "200", "text/javascript;", "charset=utf-8"] in answers
