"""``tbperf compare`` and ``tbperf history`` as a user meets them: a real process, its output, its exit code."""

import json

import jsonschema
import pytest

from tbperf.render import render_json
from tbperf.render.schema import DOCUMENTS, json_schema
from tests.cli.test_analyze import LOADER_BOUND, tbperf
from tests.comparison.runs import report


@pytest.fixture(scope="module")
def reports(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reports")
    made = {
        "before": report(1, device=True),
        "same": report(2, device=True),
        "after": report(3, device=True, dataload=1.0),
        "slower": report(4, device=True, loss=30.0),
        "other": report(5, device=True, gpu="V100"),
    }
    for name, one in made.items():
        (folder / f"{name}.json").write_text(render_json(one))
    return {name: folder / f"{name}.json" for name in made}


def test_the_text_starts_with_what_changed_and_why(reports):
    done = tbperf("compare", reports["before"], reports["after"])

    assert done.returncode == 0, done.stderr
    first = " ".join(done.stdout.split("\n\n", 1)[0].split())
    assert first.startswith("A training step takes 125.9 ms instead of 154.9 ms (−18.7 %, 99 % interval −2")
    assert "waiting for a batch fell from 28.2 ms to 0." in first
    assert "Same hardware, versions, arguments, profiler options." in first
    assert "dataload" in done.stdout
    assert not done.stderr


def test_json_keeps_to_its_schema(reports, tmp_path):
    done = tbperf("compare", reports["before"], reports["after"], "--format", "json")

    document = json.loads(done.stdout)
    jsonschema.validate(document, json_schema(DOCUMENTS["compare"]))
    assert document["schema"] == "tbperf-comparison/1"
    assert document["named_cause"] == "dataloader"
    history = json.loads(tbperf("history", *reports.values(), "--format", "json").stdout)
    jsonschema.validate(history, json_schema(DOCUMENTS["history"]))


def test_markdown_holds_the_verdict_and_folds_the_rest(reports):
    text = tbperf("compare", reports["before"], reports["after"], "--format", "markdown").stdout

    assert text.startswith("**A training step takes 125.9 ms instead of")
    assert "| step time | 154.9 ms | 125.9 ms |" in text
    assert text.index("<details>") < text.index("| dataload |") < text.index("</details>")


@pytest.mark.parametrize("format_", ["text", "json", "markdown"])
def test_a_failed_gate_ends_in_exit_code_4_and_a_line(reports, format_):
    done = tbperf(
        "compare",
        *(reports["before"], reports["slower"], "--format", format_),
        *("--fail-on", "step_time>+3%", "--fail-on", "stage.loss>+10%", "--fail-on", "throughput<1"),
    )

    assert done.returncode == 4
    lines = done.stderr.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("tbperf  gate failed: step_time>+3%: step_time changed by +")
    assert lines[1].startswith("tbperf  gate failed: stage.loss>+10%: stage.loss changed by +")
    if format_ == "json":
        json.loads(done.stdout)


def test_gates_that_hold_pass(reports):
    done = tbperf("compare", reports["before"], reports["same"], "--fail-on", "step_time>+3%")

    assert (done.returncode, done.stderr) == (0, "")


def test_analyze_has_gates_too(tmp_path):
    path = LOADER_BOUND.write(tmp_path / "t.json")

    failed = tbperf("analyze", path, "--fail-on", "idle>30%", "--fail-on", "gpu_busy<10%", "--format", "json")
    held = tbperf("analyze", path, "--fail-on", "idle>90%")
    unknown = tbperf("analyze", path, "--fail-on", "throughput<100", "--fail-on", "idle>90%")
    wrong = tbperf("analyze", path, "--fail-on", "idle>+3pp")

    assert failed.returncode == 4
    assert failed.stderr == "tbperf  gate failed: idle>30%: idle is 54.3 %\n"
    json.loads(failed.stdout)
    assert (held.returncode, held.stderr) == (0, "")
    assert unknown.returncode == 1
    assert unknown.stderr.startswith("tbperf  gate not judged: throughput<100: the recording has no number of images")
    assert wrong.returncode == 2
    assert wrong.stderr.startswith("tbperf: --fail-on idle>+3pp: there is no baseline\nhint: ")


def test_the_exit_code_prefers_what_failed(tmp_path):
    path = LOADER_BOUND.write(tmp_path / "t.json")

    assert tbperf("analyze", path, "--fail-on", "throughput<100", "--fail-on", "idle>30%").returncode == 4


def test_what_is_not_comparable_ends_in_one_line_and_exit_code_2(reports):
    done = tbperf("compare", reports["before"], reports["other"])
    forced = tbperf("compare", reports["before"], reports["other"], "--force")

    assert done.returncode == 2
    what, hint = done.stderr.splitlines()
    assert what == "tbperf: not comparable: gpu: H100 against V100: another GPU explains any difference"
    assert hint == "hint: --force compares them all the same"
    assert forced.returncode == 0
    assert "! gpu: H100 against V100" in forced.stdout


def test_replicas_stand_beside_their_side(reports):
    done = tbperf("compare", reports["before"], reports["after"], "--against", reports["same"], "--format", "json")

    document = json.loads(done.stdout)
    assert [len(document[side]["runs"]) for side in "ab"] == [2, 1]


def test_a_report_of_another_tool_ends_in_exit_code_3(reports, tmp_path):
    path = tmp_path / "other.json"
    path.write_text('{"metrics": {"fps": 30}}')

    done = tbperf("compare", reports["before"], path)

    assert done.returncode == 3
    assert done.stderr.startswith(f"tbperf: {path}: ")
    assert len(done.stderr.splitlines()) == 2


def test_a_recording_of_nothing_is_refused(reports, tmp_path):
    path = tmp_path / "nothing.json"
    path.write_text("[]")

    compared, shown = tbperf("compare", path, path), tbperf("history", path, path)

    assert compared.returncode == shown.returncode == 2
    assert compared.stderr.splitlines()[0] == f"tbperf: {path}: holds no step, no device work and no host events"
    assert compared.stderr == shown.stderr


def test_names_from_the_trace_reach_the_terminal_harmlessly(tmp_path):
    evil = "evil\x1b[31m\x07[bold]<script>|\u202e"
    paths = []
    for seed, ms in ((1, 20.0), (2, 60.0)):
        path = tmp_path / f"{seed}.json"
        path.write_text(render_json(report(seed, device=True, folder=evil + str(seed), **{evil: ms})))
        paths.append(path)

    texts = [
        tbperf("compare", *paths).stdout,
        tbperf("compare", *paths, "--format", "markdown").stdout,
        tbperf("history", *paths).stdout,
    ]

    for text in texts:
        assert "script" in text
        assert not {"\x1b", "\x07", "\u202e"} & set(text)
    assert "<script>" not in texts[1]


def test_history_shows_a_line_a_run(reports):
    done = tbperf("history", *reports.values())

    assert done.returncode == 0, done.stderr
    assert all(f"run-{seed} " in done.stdout for seed in range(1, 6))
