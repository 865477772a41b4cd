"""Whatever becomes of our streams, folder and names: the command runs, and its exit code and output are its own."""

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

COMMAND = ["sh", "-c", "echo out; echo err >&2; touch ran; exit 7"]
OUR_LINE = b"tbperf"


@pytest.fixture
def run(plain_environment, tmp_path):
    """Return a function that records a command in a folder of its own, and returns exit code and outputs."""

    def record(*options, command=COMMAND, closed=(), environment=(), **streams):
        for name in ("run", "ran"):
            shutil.rmtree(tmp_path / name, ignore_errors=True)
            (tmp_path / name).unlink(missing_ok=True)
        recorder = [sys.executable, "-m", "tbperf", "record", *(options or ("--out", "run")), "--"]
        done = subprocess.run(
            [*recorder, *command],
            env=plain_environment | dict(environment),
            cwd=tmp_path,
            check=False,
            timeout=120,
            preexec_fn=lambda: [os.close(number) for number in closed],
            **{"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams},
        )
        theirs = None
        if done.stderr is not None:
            theirs = b"".join(line for line in done.stderr.splitlines(keepends=True) if not line.startswith(OUR_LINE))
        return done.returncode, done.stdout, theirs, done.stderr

    return record


def gone():
    """Return a pipe to somebody who has gone."""
    reading, writing = os.pipe()
    os.close(reading)
    return writing


@pytest.mark.parametrize("error", ["full", "gone", "closed", "all closed"])
def test_the_command_runs_where_our_lines_cannot_be_written(run, tmp_path, error):
    with Path("/dev/full").open("wb") as full:
        streams = {
            "full": {"stderr": full},
            "gone": {"stderr": gone()},
            "closed": {"closed": [2]},
            "all closed": {"closed": [0, 1, 2]},
        }[error]
        code, out, _, _ = run(command=["sh", "-c", "echo out; touch ran; exit 7"], **streams)
    assert code == 7
    assert (tmp_path / "ran").exists()
    assert out == (b"" if error == "all closed" else b"out\n")
    assert (tmp_path / "run" / "run.json").read_text().count('"status": "ended"') == 1


def test_the_command_runs_on_where_somebody_reads_our_first_line_alone(plain_environment, tmp_path):
    recorder = [sys.executable, "-m", "tbperf", "record", "--out", "run", "--"]
    process = subprocess.Popen(
        [*recorder, "sh", "-c", "sleep 0.3; touch ran; exit 7"],
        env=plain_environment,
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        bufsize=0,
    )
    while process.stderr.read(1) != b"\n":
        pass
    process.stderr.close()
    assert process.wait(timeout=60) == 7
    assert (tmp_path / "ran").exists()
    assert '"status": "ended"' in (tmp_path / "run" / "run.json").read_text()


def test_a_command_s_own_broken_pipe_is_its_own(run):
    """``yes`` dies of SIGPIPE where Python would ignore it."""
    code, _, said, _ = run(command=["yes"], stdout=gone())
    assert (code, said) == (-13, b"")


@pytest.mark.parametrize(
    "variables",
    [{"PYTHONIOENCODING": "ascii:strict"}, {"LC_ALL": "C", "PYTHONUTF8": "0"}, {"PYTHONIOENCODING": "utf-16"}],
    ids=lambda variables: "-".join(variables.values()),
)
@pytest.mark.parametrize("name", [b"gr\xc3\xbc\xc3\x9fe", b"no\xff\ntext"], ids=["text", "no text"])
def test_names_that_cannot_be_encoded_reach_the_command_as_they_are(run, tmp_path, variables, name):
    script = tmp_path / os.fsdecode(name)
    script.write_text('#!/bin/sh\nprintf "%s" "$1"\nexit 7\n')
    script.chmod(0o755)
    command = [os.fsencode(script), name]
    folder = os.fsencode(tmp_path) + b"/" + name + b"-run"
    code, out, _, said = run("--out", folder, command=command, environment=variables)
    assert (code, out) == (7, name)
    assert b"Traceback" not in said
    assert Path(os.fsdecode(folder), "run.json").exists()


NO_FOLDERS = {
    "nothing": "",
    "here": ".",
    "above": "..",
    "root": "/",
    "above a new one": "new/..",
    "a file": "file",
    "a FIFO": "fifo",
    "a device": "device",
    "a dangling link": "dangling",
    "a link to itself": "loop",
    "a link to a file": "link",
}


@pytest.mark.parametrize("name", NO_FOLDERS.values(), ids=NO_FOLDERS)
def test_a_name_that_no_new_folder_can_have_is_refused_before_anything_starts(run, tmp_path, name):
    (tmp_path / "file").write_text("mine")
    os.mkfifo(tmp_path / "fifo")
    for link, target in (("dangling", "nowhere"), ("loop", "loop"), ("link", "file")):
        (tmp_path / link).symlink_to(target)
    if name == "device":
        try:
            os.mknod(tmp_path / "device", stat.S_IFCHR | 0o666, os.makedev(1, 3))
        except OSError as error:
            pytest.skip(f"devices cannot be made here: {error}")
    before = sorted(tmp_path.iterdir())
    code, out, hint, said = run("--out", name)
    assert (code, out) == (2, b"")
    assert len(said.splitlines()) == 2
    assert hint.startswith(b"hint: ")
    assert sorted(tmp_path.iterdir()) == before
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("name", ["n" * 300, "file/below", "full/run", "closed/run"])
def test_where_the_system_refuses_the_folder_the_command_runs_unrecorded(run, tmp_path, name):
    (tmp_path / "file").write_text("mine")
    if name.startswith("full"):
        (tmp_path / "full").mkdir()
        options = ["mount", "-t", "tmpfs", "-o", "size=4k,nr_inodes=1", "tmpfs", tmp_path / "full"]
        mounted = subprocess.run(options, capture_output=True, check=False)
        if mounted.returncode:
            pytest.skip(f"file systems cannot be mounted here: {mounted.stderr.decode().strip()}")
    if name.startswith("closed"):
        (tmp_path / "closed").symlink_to("/proc/self")  # where nobody may make folders
    try:
        code, out, theirs, said = run("--out", name)
    finally:
        if name.startswith("full"):
            subprocess.run(["umount", tmp_path / "full"], check=True)
    assert (code, out, theirs) == (7, b"out\n", b"err\n")
    assert (tmp_path / "ran").exists()
    notes = [line for line in said.splitlines() if line.startswith(OUR_LINE)]
    assert len(notes) == 1
    assert notes[0].startswith(b"tbperf  not recording: ")


def test_an_existing_folder_is_left_alone_and_the_first_line_names_the_other(run, tmp_path):
    (tmp_path / "there").mkdir()
    _, _, _, said = run("--out", "there")
    assert said.splitlines()[0].endswith("· there-2".encode())
    assert list((tmp_path / "there").iterdir()) == []


def test_the_folder_of_work_may_be_gone(plain_environment, tmp_path):
    recorder = f"{sys.executable} -m tbperf record -- sh -c 'exit 7'"
    command = ["sh", "-c", f"mkdir gone; cd gone; rmdir ../gone; exec {recorder}"]
    done = subprocess.run(command, cwd=tmp_path, env=plain_environment, capture_output=True, check=False)
    assert done.returncode == 7
    assert b"tbperf  not recording: " in done.stderr


def test_what_outlives_the_command_holds_nothing_of_ours(run, tmp_path):
    """A service that the command starts keeps running; nobody waits for it."""
    code = "(exec sleep 60 </dev/null >/dev/null 2>&1; :) & echo $!"
    exit_code, out, _, _ = run(command=["sh", "-c", code])
    pid = int(out)
    try:
        assert exit_code == 0
        files = [file.readlink() for file in Path(f"/proc/{pid}/fd").iterdir()]
        assert not [file for file in files if "run" in file.parts or "tbperf" in str(file)]
    finally:
        os.kill(pid, 9)


def test_standard_error_of_the_program_is_no_place_for_us_where_it_is_closed(run, tmp_path):
    """A program without a standard error would find our lines on its standard output."""
    code = "import shutil; shutil.rmtree('run/journal'); import torch; print('theirs')"
    (tmp_path / "torch.py").write_text("")
    _, out, _, _ = run(command=[sys.executable, "-c", code], closed=[2])
    assert out == b"theirs\n"
