"""Nothing but a regular file is ever replaced, and that as a whole or not at all."""

import os
import re
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tbperf.errors import TbperfError, UsageError
from tbperf.outputs import open_output, write_output

NULL, FULL = os.makedev(1, 3), os.makedev(1, 7)


def device(path, number):
    """Make a node like one of the machine's own, which no test may touch."""
    try:
        os.mknod(path, stat.S_IFCHR | 0o666, number)
        path.write_bytes(b"")
    except OSError as error:
        pytest.skip(f"devices cannot be made or used here: {error}")
    return path


def test_a_new_file_has_the_usual_rights(tmp_path):
    mask = os.umask(0o027)
    try:
        write_output(tmp_path / "new", b"content")
    finally:
        os.umask(mask)
    assert (tmp_path / "new").read_bytes() == b"content"
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o640


def test_a_regular_file_is_replaced_and_keeps_its_rights_and_owner(tmp_path):
    path = tmp_path / "old"
    path.write_text("before")
    path.chmod(0o604)
    if os.geteuid() == 0:
        os.chown(path, 1234, 1235)
    before = path.stat()
    write_output(path, b"after")
    after = path.stat()
    assert path.read_bytes() == b"after"
    assert after.st_ino != before.st_ino
    assert (after.st_mode, after.st_uid, after.st_gid) == (before.st_mode, before.st_uid, before.st_gid)


def write_half(path, failure):
    with open_output(path) as file:
        file.write(b"half")
        raise failure


@pytest.mark.parametrize("failure", [ValueError, KeyboardInterrupt, OSError])
def test_what_fails_half_way_leaves_the_file_as_it_was_and_nothing_else(tmp_path, failure):
    path = tmp_path / "old"
    path.write_text("before")
    with pytest.raises((failure, TbperfError)):
        write_half(path, failure)
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_of_the_user_s_is_never_taken_for_an_unfinished_one_of_ours(tmp_path):
    (tmp_path / "report.json.part").write_text("mine")
    write_output(tmp_path / "report.json", b"{}")
    assert (tmp_path / "report.json.part").read_text() == "mine"


def test_a_name_as_long_as_names_can_be_is_written(tmp_path):
    write_output(tmp_path / ("n" * 255), b"content")
    assert (tmp_path / ("n" * 255)).read_bytes() == b"content"


def test_a_device_takes_what_is_written_and_stays(tmp_path):
    node = device(tmp_path / "null", NULL)
    write_output(node, b"content")
    assert stat.S_ISCHR(node.stat().st_mode)
    assert node.stat().st_rdev == NULL
    assert list(tmp_path.iterdir()) == [node]


def test_a_full_device_is_an_error_of_one_line(tmp_path):
    node = device(tmp_path / "full", FULL) if os.geteuid() == 0 else pytest.skip("only root can make devices")
    with pytest.raises(TbperfError, match=r"full: no space left on device$"):
        write_output(node, b"content" * 100_000)
    with pytest.raises(TbperfError, match=r"full: no space left on device$"):
        write_output(node, b"little")
    assert node.stat().st_rdev == FULL


def test_a_fifo_is_written_to_its_reader(tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    read = []
    reader = threading.Thread(target=lambda: read.append(fifo.read_bytes()))
    reader.start()
    write_output(fifo, b"content" * 100_000)
    reader.join()
    assert read == [b"content" * 100_000]
    assert stat.S_ISFIFO(fifo.stat().st_mode)


def write_when(ready, path):
    with open_output(path) as file:
        ready()
        file.write(b"content" * 100_000)


def test_a_reader_that_goes_away_is_an_error_of_one_line(tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reader = threading.Thread(target=lambda: os.close(os.open(fifo, os.O_RDONLY)))
    reader.start()
    with pytest.raises(TbperfError, match=r"fifo: broken pipe$"):
        write_when(reader.join, fifo)


@pytest.mark.parametrize("there", [True, False], ids=["to a file", "to nothing"])
def test_a_link_stays_and_what_it_leads_to_is_written(tmp_path, there):
    (tmp_path / "place").mkdir()
    target, link = tmp_path / "place" / "target", tmp_path / "link"
    if there:
        target.write_text("before")
    link.symlink_to("second")
    (tmp_path / "second").symlink_to(target)
    write_output(link, b"after")
    assert link.readlink() == Path("second")
    assert target.read_bytes() == b"after"
    assert list(target.parent.iterdir()) == [target]


@pytest.mark.parametrize(
    ("make", "error", "says"),
    [
        (lambda path: path.mkdir(), UsageError, "is a directory"),
        (lambda path: path.symlink_to(path), TbperfError, "too many levels of symbolic links"),
        (lambda path: path.symlink_to("no/such/folder"), TbperfError, "no such file or directory"),
        (lambda path: path.symlink_to("/proc/self/nothing"), TbperfError, "no such file or directory"),
    ],
    ids=["a folder", "a loop", "a link to a folder that is not there", "a link to where nothing can be made"],
)
def test_what_cannot_be_written_is_said(tmp_path, make, error, says):
    path = tmp_path / "out"
    make(path)
    with pytest.raises(error, match=re.escape(f"{path}: {says}")):
        write_output(path, b"content")


@pytest.mark.parametrize("name", ["missing/out", "file/out", "n" * 300])
def test_a_name_that_cannot_be_is_said(tmp_path, name):
    (tmp_path / "file").write_text("")
    with pytest.raises(TbperfError) as caught:
        write_output(tmp_path / name, b"content")
    assert caught.value.exit_code == 1
    assert caught.value.message.startswith(f"{tmp_path / name}: ")


def test_a_writable_file_in_a_folder_that_is_not_is_written_in_place(tmp_path):
    if os.geteuid():
        folder = tmp_path
    else:
        # Below a folder that everybody may enter: that of the tests is for its owner alone.
        folder = Path("/tmp") / f"tbperf-{os.getpid()}"  # noqa: S108
        folder.mkdir()
    try:
        path = folder / "out"
        path.write_text("before, and longer")
        path.chmod(0o666)
        folder.chmod(0o555)
        child = os.fork()
        if not child:
            code = 1
            try:
                if os.geteuid() == 0:
                    os.setgroups([])
                    os.setgid(65534)
                    os.setuid(65534)
                write_output(path, b"after")
                code = 0
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert path.read_bytes() == b"after"
    finally:
        folder.chmod(0o755)
        path.unlink()
        if folder != tmp_path:
            folder.rmdir()


def test_a_file_that_is_mounted_by_itself_is_written_in_place(tmp_path):
    """As containers are given single files."""
    outside, inside = tmp_path / "outside", tmp_path / "inside"
    outside.write_text("before, and longer")
    inside.write_text("")
    mounted = subprocess.run(["mount", "--bind", outside, inside], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip(f"nothing can be mounted here: {mounted.stderr.decode().strip()}")
    try:
        write_output(inside, b"after")
        assert outside.read_bytes() == b"after"
        assert sorted(path.name for path in tmp_path.iterdir()) == ["inside", "outside"]
    finally:
        subprocess.run(["umount", inside], check=True)


@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1", "link"])
def test_our_own_standard_output_is_continued_and_not_begun_anew(tmp_path, name):
    (tmp_path / "link").symlink_to("/dev/stdout")
    log = tmp_path / "log"
    log.write_text("from before\n")
    code = (
        "import sys; from pathlib import Path; from tbperf.outputs import write_output\n"
        "write_output(Path(sys.argv[1]), b'ours\\n')"
    )
    with log.open("a") as file:
        subprocess.run([sys.executable, "-c", code, name], stdout=file, cwd=tmp_path, check=True)
    assert log.read_text() == "from before\nours\n"
