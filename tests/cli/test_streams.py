"""Whatever standard output and error are, a command ends with its exit code and one line at most."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.test_analyze import LOADER_BOUND

NOBODY_READS = 141
TRACEBACK = re.compile(r"Traceback|Exception ignored|\w+Error\b")


@pytest.fixture(scope="module")
def trace(tmp_path_factory):
    return LOADER_BOUND.write(tmp_path_factory.mktemp("traces") / "t.json")


def commands(trace):
    """Return a command for each way in which commands write to standard output."""
    return {
        "help": ["--help"],
        "help of a command": ["analyze", "--help"],
        "version": ["--version"],
        "analyze": ["analyze", trace],
        "analyze to JSON": ["analyze", trace, "--format", "json"],
        "compare": ["compare", trace, trace],
        "history": ["history", trace, trace],
        "monitor": ["monitor", "--count", "1", "--interval", "0.1"],
    }


def run(words, **streams):
    """Run a command with these streams, None for a closed one; return its exit code and what standard error got."""
    closed = [number for number, name in enumerate(("stdin", "stdout", "stderr")) if streams.get(name, 1) is None]
    opened = {name: stream for name, stream in streams.items() if stream is not None}
    done = subprocess.run(
        [sys.executable, "-m", "tbperf", *map(str, words)],
        check=False,
        preexec_fn=lambda: [os.close(number) for number in closed],
        **{"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, **opened},
    )
    return done.returncode, (done.stderr or b"").decode()


@pytest.fixture
def full():
    with Path("/dev/full").open("wb") as file:
        yield file


@pytest.fixture
def gone():
    """A pipe whose reader has gone."""
    reading, writing = os.pipe()
    os.close(reading)
    yield writing
    os.close(writing)


EACH = list(commands(""))


@pytest.mark.parametrize("name", EACH)
def test_a_full_output_is_one_line_and_exit_code_1(trace, full, name):
    code, said = run(commands(trace)[name], stdout=full)
    assert (code, said) == (1, "tbperf: standard output: no space left on device\n")


@pytest.mark.parametrize("name", ["help", "analyze to JSON", "compare", "monitor"])
def test_an_output_that_nobody_reads_ends_without_a_word_as_in_any_pipe(trace, gone, name):
    assert run(commands(trace)[name], stdout=gone) == (NOBODY_READS, "")


@pytest.mark.parametrize("name", ["help of a command", "version", "analyze", "history"])
def test_a_closed_output_is_one_line_and_exit_code_1(trace, name):
    code, said = run(commands(trace)[name], stdout=None)
    assert (code, said) == (1, "tbperf: standard output: it is closed\n")


def test_an_output_in_whose_middle_the_reader_goes_ends_without_a_word(trace):
    process = subprocess.Popen(
        [sys.executable, "-m", "tbperf", "analyze", trace, "--format", "json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        pipesize=4096,
    )
    assert process.stdout.read(1) == b"{"
    process.stdout.close()
    _, said = process.communicate()
    assert (process.returncode, said) == (NOBODY_READS, b"")


@pytest.mark.parametrize("error", ["full", "gone", None])
def test_without_a_standard_error_all_goes_its_way(trace, tmp_path, request, error):
    stream = None if error is None else request.getfixturevalue(error)
    code, _ = run(["analyze", trace, "--out", tmp_path / "report.txt"], stderr=stream)
    assert code == 0
    assert (tmp_path / "report.txt").read_text()


@pytest.mark.parametrize(
    ("words", "code", "error"),
    [
        (["analyze", "/no/such/file"], 3, "full"),
        (["analyze"], 2, "gone"),
        (["nothing"], 2, None),
        (["scrub", "/no/such/file", "out"], 3, "full"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else str(value),
)
def test_without_a_standard_error_an_error_keeps_its_exit_code(request, words, code, error):
    stream = None if error is None else request.getfixturevalue(error)
    assert run(words, stderr=stream)[0] == code


@pytest.mark.parametrize("name", ["help", "analyze"])
def test_with_no_stream_at_all_the_exit_code_says_it(trace, name):
    assert run(commands(trace)[name], stdin=None, stdout=None, stderr=None)[0] == 1


def test_a_report_never_gets_the_number_of_a_closed_stream(trace, tmp_path):
    """Else a page would hold what is said, and a text would end in another file."""
    alone = tmp_path / "alone.html"
    run(["analyze", trace, "--html", alone])
    for closed in ({"stderr": None}, {"stdout": None, "stderr": None}, {"stdin": None, "stdout": None, "stderr": None}):
        page = tmp_path / "page.html"
        run(["analyze", trace, "--html", page], **closed)
        assert page.read_bytes() == alone.read_bytes()


def test_a_command_that_writes_a_file_needs_no_output(trace, tmp_path):
    code, said = run(["analyze", trace, "--out", tmp_path / "report.txt"], stdout=None)
    assert (code, said) == (0, f"tbperf  report written to {tmp_path / 'report.txt'}\n")


@pytest.fixture(scope="module")
def odd_name(trace):
    """A trace whose name is no text, and holds what a terminal would obey."""
    name = os.fsdecode(b"tra\xffce \xc3\xa9\xf0\x9f\x98\x80\x1b.json")
    shutil.copy(trace, trace.parent / name)
    return trace.parent / name


ENCODINGS = {
    "ascii, strict": {"PYTHONIOENCODING": "ascii:strict"},
    "latin-1": {"PYTHONIOENCODING": "latin-1"},
    "utf-8, strict": {"PYTHONIOENCODING": "utf-8:strict"},
    "utf-16": {"PYTHONIOENCODING": "utf-16"},
    "locale of C": {"LC_ALL": "C"},
    "locale of C without a way out": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    "POSIX": {"LC_ALL": "POSIX", "PYTHONUTF8": "0"},
}


@pytest.mark.parametrize(
    ("encoding", "form"),
    [
        *((name, "text") for name in ENCODINGS),
        ("ascii, strict", "json"),
        ("utf-8, strict", "json"),
        ("latin-1", "markdown"),
    ],
)
def test_what_an_encoding_lacks_is_escaped(odd_name, tmp_path, encoding, form):
    others = {name: value for name, value in os.environ.items() if not name.startswith(("LC_", "LANG", "PYTHONIO"))}
    variables = ENCODINGS[encoding]
    done = subprocess.run(
        [sys.executable, "-m", "tbperf", "analyze", odd_name, "--format", form, "--html", tmp_path / "page.html"],
        env=others | variables,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert not TRACEBACK.search(done.stderr.decode(errors="replace"))
    text = done.stdout.decode(variables.get("PYTHONIOENCODING", "utf-8").partition(":")[0])
    assert "tra\\xffce" in (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "\x1b" not in text
    if form == "json":
        path = json.loads(text)["traces"][0]["path"]
        assert "tra\\xffce" in path
        path.encode()


def test_an_error_names_such_a_file_with_its_codes(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "tbperf", "analyze", b"no\xff\x1b]0;\x07such\nfile"], capture_output=True, check=False
    )
    what, _ = done.stderr.decode().splitlines()
    assert (done.returncode, what) == (3, r"tbperf: no\xff\x1b]0;\x07such\x0afile: no such file or directory")


def test_a_report_in_json_of_such_a_file_can_be_read_again(odd_name, tmp_path):
    report = tmp_path / "report.json"
    subprocess.run(
        [sys.executable, "-m", "tbperf", "analyze", odd_name, "--format", "json", "--out", report], check=True
    )
    done = subprocess.run(
        [sys.executable, "-m", "tbperf", "compare", report, report], capture_output=True, check=False, text=True
    )
    assert done.returncode == 0, done.stderr


def test_an_output_that_does_not_block_is_waited_for(trace):
    """As some terminals and pipes are left behind by other programs."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    process = subprocess.Popen(
        [sys.executable, "-m", "tbperf", "analyze", trace, "--format", "json"], stdout=writing, stderr=subprocess.PIPE
    )
    os.close(writing)
    with os.fdopen(reading, "rb") as file:
        first = file.read(10)
        content = first + file.read()
    _, said = process.communicate()
    assert (process.returncode, said) == (0, b"")
    assert json.loads(content)["traces"]
