"""``tbperf analyze`` as a user meets it: a real process, its output, its exit code."""

import contextlib
import copy
import gzip
import json
import os
import subprocess
import sys

import pytest

from tbperf import analyze
from tbperf.errors import TraceFormatError
from tests.draw import Timeline

LOADER_BOUND = (
    Timeline()
    .step(1, 0, 1000)
    .step(2, 1000, 2000)
    .stage("dataload", 0, 600)
    .stage("forward", 600, 1000)
    .stage("dataload", 1000, 1600)
    .stage("forward", 1600, 2000)
    .copy("HtoD", 610, 660, memory="pageable", size=4096, call=(605, 665))
    .kernel(700, 990, name="void at::native::vectorized_elementwise_kernel<4>(int)", call=(690, 695))
    .kernel(1700, 1990, name="gemm", call=(1690, 1695))
)


def tbperf(*args, stdin=None):
    command = [sys.executable, "-m", "tbperf", *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, input=stdin, check=False)


def test_the_text_starts_with_the_verdict_and_ends_with_what_was_seen(tmp_path):
    done = tbperf("analyze", LOADER_BOUND.write(tmp_path / "t.json"))

    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "The GPU is idle 54 % of the time: 0.375 ms of each 0.690 ms step."
    assert lines[1] == "80 % of that it is waiting for a batch."
    assert "Seen: 12 events, 100.0 % of GPU work linked to its launch" in done.stdout
    (unseen,) = [at for at, line in enumerate(lines) if line.startswith("Not seen: ")]
    assert lines[unseen].startswith("Not seen: the trace has no framework operators;")
    assert " ".join(lines[unseen:-1]).endswith("the hardware was not sampled.")
    assert not done.stderr


def test_json_is_the_only_thing_on_standard_output(tmp_path):
    done = tbperf("analyze", LOADER_BOUND.write(tmp_path / "t.json"), "--format", "json")

    (trace,) = json.loads(done.stdout)["traces"]
    assert trace["devices"][0]["window_ns"] == 1_380_000
    assert trace["idle"][0]["cause"] == "dataloader"


def test_gzip_and_any_name_give_the_same_report(tmp_path):
    plain = LOADER_BOUND.write(tmp_path / "t.json")
    other = tmp_path / "recording"
    other.write_bytes(gzip.compress(plain.read_bytes()))

    reports = [json.loads(tbperf("analyze", p, "--format", "json").stdout) for p in (plain, other)]

    for report in reports:
        for key in ("path", "bytes"):
            del report["traces"][0][key]
    assert reports[0] == reports[1]


def test_a_folder_stands_for_the_traces_in_it(tmp_path):
    for rank in (1, 0):
        LOADER_BOUND.write(tmp_path / f"host_1_rank{rank}.17.pt.trace.json")
    (tmp_path / "run.json").write_text("{}")

    report = json.loads(tbperf("analyze", tmp_path, "--format", "json").stdout)

    assert [trace["rank"] for trace in report["traces"]] == [0, 1]


def test_one_broken_file_does_not_hide_the_others(tmp_path):
    LOADER_BOUND.write(tmp_path / "host_1_rank0.17.pt.trace.json")
    (tmp_path / "host_1_rank1.17.pt.trace.json").write_bytes(b"\x89PNG")

    done = tbperf("analyze", tmp_path)

    assert done.returncode == 0
    unwrapped = "".join(done.stdout.split())  # a long path is broken anywhere
    assert "rank1.17.pt.trace.jsoncouldnotberead:notatrace" in unwrapped


def test_what_makes_figures_doubtful_stands_under_the_verdict(tmp_path):
    path = copy.deepcopy(LOADER_BOUND).kernel(1991, 1999).kernel(2000, 2001).write(tmp_path / "t.json")
    path.write_text(path.read_text()[:-40])

    lines = tbperf("analyze", path).stdout.splitlines()

    assert any(line.startswith("! the file is cut short") for line in lines[3:8])
    assert any(line.startswith("! only 40 % of the GPU work is linked") for line in lines[3:8])


def test_sections_are_shown_on_request(tmp_path):
    path = LOADER_BOUND.write(tmp_path / "t.json")

    brief, whole, idle = (tbperf("analyze", path, *more).stdout for more in ([], ["--details"], ["--only", "idle"]))

    assert "\nCopies " not in brief
    assert "\nCopies " in whole
    assert "What removing a cause would save" in whole
    assert "Why it idles" in idle
    assert "Stages" not in idle
    assert tbperf("analyze", path, "--only", "nothing").returncode == 2


def test_a_report_is_written_to_a_file(tmp_path):
    out = tmp_path / "report.json"

    done = tbperf("analyze", LOADER_BOUND.write(tmp_path / "t.json"), "--format", "json", "--out", out)

    assert done.returncode == 0
    assert not done.stdout
    assert json.loads(out.read_text())["traces"]


def test_one_device_can_be_asked_for(tmp_path):
    path = Timeline().kernel(0, 10).kernel(0, 30, device=1).write(tmp_path / "t.json")

    report = json.loads(tbperf("analyze", path, "--device", 1, "--format", "json").stdout)
    wrong = tbperf("analyze", path, "--device", 5)

    assert [d["device"] for d in report["traces"][0]["devices"]] == [1]
    assert (wrong.returncode, wrong.stderr) == (
        2,
        "tbperf: --device 5: no trace has work of this GPU\nhint: it has 0, 1\n",
    )


def test_top_is_the_number_of_rows(tmp_path):
    timeline = Timeline()
    for i in range(9):
        timeline.kernel(i * 10, i * 10 + 5, name=f"kernel_{i}")
    path = timeline.write(tmp_path / "t.json")

    assert tbperf("analyze", path, "--top", 3).stdout.count("kernel_") == 3
    assert tbperf("analyze", path, "--top", 8).stdout.count("kernel_") == 8


def test_launches_without_gpu_work_are_a_failed_recording_and_not_an_idle_gpu(tmp_path):
    path = Timeline().call("cudaLaunchKernel", 0, 10).op("aten::add", 0, 20).write(tmp_path / "t.json")

    text = " ".join(tbperf("analyze", path).stdout.split())

    assert text.startswith("The recording failed: kernel launches: 1, but no GPU activity")
    assert "is idle" not in text
    assert "above the noise" not in text


def test_names_from_the_trace_reach_the_terminal_harmlessly(tmp_path):
    name = "evil\x1b[31m\x07[bold]kernel\u202e"
    path = Timeline().kernel(0, 10, name=name).write(tmp_path / "t.json")

    text = tbperf("analyze", path).stdout

    assert "\x1b" not in text
    assert "\x07" not in text
    assert "\u202e" not in text
    assert "[bold]kernel" in text


@contextlib.contextmanager
def nobody():
    """Give up the rights of root, who may read everything, for a while."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


PNG = b"\x89PNG\r\n\x1a\n" + bytes(64)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "no such file or directory"),
        (b"", "the file is empty"),
        (PNG, "not a trace that tbperf can read"),
        (b"{}", "it holds no list of trace events"),
        (b'{"events": 3}', "it holds no list of trace events"),
        (gzip.compress(b""), "the file is empty"),
        (gzip.compress(PNG), "not a trace that tbperf can read"),
    ],
    ids=["missing", "empty", "png", "no key", "other json", "empty gzip", "zipped png"],
)
def test_bad_files_end_in_one_line_a_hint_and_exit_code_3(tmp_path, content, says):
    path = tmp_path / "trace.json"
    if content is not None:
        path.write_bytes(content)

    done = tbperf("analyze", path)

    what, hint = done.stderr.splitlines()
    assert done.returncode == 3
    assert what.startswith(f"tbperf: {path}: ")
    assert says in what
    assert hint.startswith("hint: ")
    assert not done.stdout


def test_a_folder_without_traces_is_said_to_be_one(tmp_path):
    (tmp_path / "notes.txt").write_text("nothing")
    (tmp_path / "other.json").write_text("{}")

    done = tbperf("analyze", tmp_path)

    what, hint = done.stderr.splitlines()
    assert (done.returncode, what) == (3, f"tbperf: {tmp_path}: no traces in this folder")
    assert hint.startswith("hint: ")


def test_a_folder_or_file_without_rights_is_said_to_be_one(tmp_path):
    folder = tmp_path / "closed"
    folder.mkdir()
    path = LOADER_BOUND.write(folder / "a.pt.trace.json")
    path.chmod(0)
    for parent in (tmp_path, *list(tmp_path.parents)[:3]):
        parent.chmod(0o755)

    with nobody(), pytest.raises(TraceFormatError, match="permission denied") as closed_file:
        analyze(path)
    folder.chmod(0)
    with nobody(), pytest.raises(TraceFormatError, match="permission denied") as closed_folder:
        analyze(folder)
    folder.chmod(0o700)

    assert (closed_file.value.exit_code, closed_folder.value.exit_code) == (3, 3)


def test_usage_errors_have_exit_code_2(tmp_path):
    assert tbperf("analyze").returncode == 2
    assert tbperf("analyze", tmp_path, "--format", "pdf").returncode == 2
    assert tbperf("nonsense").returncode == 2


def test_a_report_is_never_written_over_a_folder(tmp_path):
    done = tbperf("analyze", LOADER_BOUND.write(tmp_path / "t.json"), "--out", tmp_path)

    assert done.returncode == 2
    assert "is a directory" in done.stderr
