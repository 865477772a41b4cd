"""A command is found, started and refused as a shell does it, down to the exit code."""

import errno
import os
import shutil
import subprocess
import sys

import pytest

from tbperf.capture import CommandNotExecutableError, NoProcessError, RecordOptions, command, record
from tbperf.errors import TbperfError

SCRIPT = 'echo "$0" "$@"\nexit 5\n'


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A folder with one file of each kind that can be named as a command."""
    folder = tmp_path_factory.mktemp("commands")
    executable = {
        "script": SCRIPT,
        "shebang": f"#!/bin/sh\n{SCRIPT}",
        "no-interpreter": "#!/no/such/interpreter\n",
        "interpreter-is-a-folder": f"#!{folder}\n",
        "interpreter-not-executable": f"#!{folder}/readable\n",
        "empty-interpreter": f"#!\n{SCRIPT}",
        "binary": "\x7fELF\0\0\0",
        "nul-in-the-second-line": f"{SCRIPT}\0\0",
        "empty": "",
    }
    for name, content in executable.items():
        (folder / name).write_text(content)
        (folder / name).chmod(0o755)
    (folder / "readable").write_text(SCRIPT)
    (folder / "folder").mkdir()
    (folder / "loop").symlink_to("loop")
    (folder / "dangling").symlink_to("nowhere")
    (folder / "link").symlink_to("script")
    for place in ("first", "second"):
        (folder / place).mkdir()
    shutil.copy(folder / "readable", folder / "first" / "tool")
    shutil.copy(folder / "script", folder / "second" / "tool")
    shutil.copy(folder / "readable", folder / "first" / "only-readable")
    (folder / "first" / "only-a-folder").mkdir()
    return folder


@pytest.fixture
def here(files, monkeypatch, capfd, tmp_path):
    """Return a function that runs a command in bash and under the recorder, and returns what both showed."""
    monkeypatch.chdir(files)

    def both(*words):
        shell = subprocess.run(["/bin/bash", "-c", '"$@"', "bash", *words], check=False)
        in_bash = shell.returncode, capfd.readouterr().out
        try:
            code = record(words, RecordOptions(out=tmp_path / "run")).exit_code
        except TbperfError as error:
            code = error.exit_code
            assert not (tmp_path / "run").exists()
        return in_bash, (code, capfd.readouterr().out)

    return both


@pytest.mark.parametrize(
    "name",
    [
        *("./script", "./shebang", "./no-interpreter", "./interpreter-is-a-folder", "./interpreter-not-executable"),
        *("./empty-interpreter", "./binary", "./nul-in-the-second-line", "./empty", "./readable", "./folder"),
        *("folder/", "./loop", "./dangling", "./link", "./nothing", "script/x", "nothing", "", "..", "/", "/dev/null"),
        *("a" * 300, "./" + "a" * 300, "first/tool", "second/tool"),
    ],
    ids=lambda name: name[:30] or "(empty)",
)
def test_whatever_is_named_ends_as_in_bash(here, name):
    in_bash, recorded = here(name, "an argument", "")
    assert recorded == in_bash


@pytest.mark.parametrize(
    "path", ["first:second", "second:first", "nowhere::first", "", ":", "second", "second:nowhere:"]
)
@pytest.mark.parametrize("name", ["tool", "only-readable", "only-a-folder", "second"])
def test_the_path_is_searched_as_bash_searches_it(here, monkeypatch, path, name):
    monkeypatch.setenv("PATH", path)
    in_bash, recorded = here(name)
    assert recorded[0] == in_bash[0]
    assert os.path.normpath(recorded[1]) == os.path.normpath(in_bash[1])  # ./ in front, or none


def test_without_a_path_the_system_s_own_is_searched(here, monkeypatch):
    monkeypatch.delenv("PATH")
    in_bash, recorded = here("true")
    assert recorded == in_bash == (0, "")


@pytest.mark.parametrize("name", ["./readable", "./folder", "./binary", "./no-interpreter", "nothing"])
def test_a_refusal_is_one_line_a_hint_and_no_folder(files, run_tbperf, name):
    result = run_tbperf("record", "--out", "run", "--", name, cwd=files)
    what, *hints = result.stderr.splitlines()
    if what.startswith("tbperf  records"):
        what, *hints = hints
    assert what.startswith(f"tbperf: {name}: ")
    assert [hint.startswith("hint: ") for hint in hints] == [True]
    assert result.returncode in (126, 127)
    assert not (files / "run").exists()


def fits(words):
    try:
        subprocess.run(words, check=False)
    except OSError:
        return False
    return True


def test_where_there_is_no_room_for_our_variables_the_command_runs_unrecorded(tmp_path):
    """The longest arguments and environment that a command can be started with."""
    code = "import os, sys; sys.exit(7 if 'TBPERF_CAPTURE' not in os.environ else 8)"
    python = [sys.executable, "-c", code]
    longest = 131_071  # of one word
    words = [*python, *(["x" * longest] * 14)]
    low, high = 0, longest
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits([*words, "x" * middle, "y" * middle]) else (low, middle)
    recording = record([*words, "x" * low, "y" * low], RecordOptions(out=tmp_path / "run"))
    assert recording.exit_code == 7
    assert any("no room" in note for note in recording.notes)
    with pytest.raises(CommandNotExecutableError, match="argument list too long"):
        record([*words, "x" * high, "y" * high], RecordOptions(out=tmp_path / "other"))


NO_ROOM = """
import errno, os, subprocess, sys
from tbperf.cli import main

def full(*_args, **_kwargs):
    raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))

subprocess.Popen = full
sys.argv = ["tbperf", "record", "--out", sys.argv[1], "--", "sh", "-c", "echo ran $$; exit 7"]
print(os.getpid(), flush=True)
main()
"""


def test_where_there_is_no_room_for_a_process_the_command_takes_our_place(tmp_path, plain_environment):
    command = [sys.executable, "-c", NO_ROOM, str(tmp_path / "run")]
    done = subprocess.run(command, env=plain_environment, capture_output=True, text=True, check=False)
    own, ran, *_ = done.stdout.split("\n")
    assert (done.returncode, ran) == (7, f"ran {own}"), done.stderr
    assert "not recording: no process can be started" in done.stderr


def test_a_library_call_without_room_for_a_process_says_so(monkeypatch, tmp_path):
    def full(*_args, **_kwargs):
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr(command.subprocess, "Popen", full)
    with pytest.raises(NoProcessError):
        record(["true"], RecordOptions(out=tmp_path / "run"))
    assert not (tmp_path / "run").exists()
