"""Records of what loading a batch was spent on: kept small, written around windows, read back exactly."""

import os
import threading
import types

import pytest
from tbperf_inside import fetches, hooks_loader
from tbperf_inside.fetches import FetchLog, WindowFlag
from tbperf_inside.guard import Guard

from tbperf.readers.beside import read_fetches


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "journal").mkdir()
    return tmp_path


@pytest.fixture
def clock(monkeypatch):
    class Clock:
        now = 0

        def time_ns(self):
            return self.now

    clock = Clock()
    monkeypatch.setattr(fetches, "time", clock)
    return clock


def load_a_batch(log, clock, images=2):
    fetch = log.begin("fetch")
    for _ in range(images):
        clock.now += 1
        image = log.begin("load_image")
        clock.now += 10
        log.end(image)
    clock.now += 5
    log.end(fetch)


def read(folder):
    return list(read_fetches(folder / f"loader.{os.getpid()}.bin"))


def test_records_nest_and_come_back_as_they_were_written(folder, clock):
    WindowFlag(str(folder)).raise_()
    load_a_batch(FetchLog(str(folder)), clock)
    (fetch,) = read(folder)
    assert (fetch.about.worker, fetch.about.pid, fetch.about.parent) == (None, os.getpid(), os.getpid())
    named = [(fetch.about.names[name], start, dur, depth) for start, dur, name, depth in fetch.records.tolist()]
    assert named == [("load_image", 1, 10, 1), ("load_image", 12, 10, 1), ("fetch", 0, 27, 0)]


def test_only_batches_around_a_window_are_written_with_those_that_lay_ready(folder, clock):
    flag, log = WindowFlag(str(folder)), FetchLog(str(folder))
    for number in range(40):
        if number == 20:
            flag.raise_()
        if number == 22:
            flag.lower()
        load_a_batch(log, clock)
    assert [fetch.about.batch for fetch in read(folder)] == list(range(13, 23))


def test_without_a_window_nothing_is_written(folder, clock):
    load_a_batch(FetchLog(str(folder)), clock)
    assert [path.name for path in folder.iterdir()] == ["journal"]


def test_while_no_window_is_near_nothing_is_recorded_or_kept(folder, clock):
    flag, log = WindowFlag(str(folder)), FetchLog(str(folder))
    load_a_batch(log, clock)
    flag.rest()
    assert log.begin("fetch") == 0
    assert not log.loading
    flag.lower()
    load_a_batch(log, clock)
    flag.raise_()
    load_a_batch(log, clock)
    assert [fetch.about.batch for fetch in read(folder)] == [1, 2]


class Transform:
    def __call__(self, value):
        if value is None:
            raise TypeError("theirs")
        return value + 1


class Subclass(Transform):
    def __call__(self, value):
        return super().__call__(value)


@pytest.fixture
def timed(folder, monkeypatch):
    """Transforms with their records around them, and the log that takes them."""
    WindowFlag(str(folder)).raise_()
    recorder = types.SimpleNamespace(fetches=FetchLog(str(folder)), guard=Guard(lambda _error, _trace: None))
    for kind in (Transform, Subclass):
        monkeypatch.setattr(kind, "__call__", hooks_loader._timed(vars(kind)["__call__"], None, recorder))
    return recorder


def names(fetch):
    return [fetch.about.names[record["name"]] for record in fetch.records]


def test_transforms_are_timed_inside_a_fetch_only_and_a_subclass_with_its_parent_once(timed, folder):
    assert Transform()(1) == 2
    fetch = timed.fetches.begin("fetch")
    assert (Transform()(1), Subclass()(2)) == (2, 3)
    timed.fetches.end(fetch)
    assert [names(fetch) for fetch in read(folder)] == [["Transform", "Subclass", "fetch"]]


def test_an_exception_of_the_program_passes_and_leaves_the_records_balanced(timed, folder):
    fetch = timed.fetches.begin("fetch")
    with pytest.raises(TypeError, match="theirs"):
        Subclass()(None)
    timed.fetches.end(fetch)
    assert not timed.fetches.loading
    assert [names(fetch) for fetch in read(folder)] == [["Subclass", "fetch"]]


def test_another_thread_has_no_part_in_a_fetch(timed, folder):
    fetch = timed.fetches.begin("fetch")
    thread = threading.Thread(target=Transform(), args=(1,))
    thread.start()
    thread.join()
    timed.fetches.end(fetch)
    assert [names(fetch) for fetch in read(folder)] == [["fetch"]]


@pytest.mark.parametrize("method", ["begin", "end"])
def test_a_failure_of_ours_changes_nothing_and_is_told_once(timed, method, monkeypatch, capsys):
    timed.fetches.begin("fetch")

    def fail(_self, _argument):
        raise ValueError("planted")

    monkeypatch.setattr(FetchLog, method, fail)
    assert [Transform()(value) for value in (1, 2)] == [2, 3]
    assert timed.guard.tripped
    assert capsys.readouterr().err.count("planted") == 1


def test_a_file_that_is_cut_anywhere_is_read_up_to_its_last_whole_batch(folder, clock):
    WindowFlag(str(folder)).raise_()
    log = FetchLog(str(folder))
    for _ in range(2):
        load_a_batch(log, clock)
    path = folder / f"loader.{os.getpid()}.bin"
    content = path.read_bytes()
    first = len(content) // 2
    for length in range(len(content)):
        path.write_bytes(content[:length])
        assert len(read(folder)) == (length >= first)


def test_a_damaged_file_is_no_worse_than_a_missing_one(folder):
    path = folder / f"loader.{os.getpid()}.bin"
    for content in (
        b"",
        b"\n",
        b"\xff\n",
        b"{}\n",
        b'{"pid": 1, "parent": 1, "records": -1, "names": []}\n',
        b'{"pid": 1, "parent": 1, "records": 1, "names": []}\n' + bytes(20),
    ):
        path.write_bytes(content)
        assert read(folder) == []
    path.unlink()
    assert read(folder) == []
