"""Records of what loading a batch was spent on: kept small, written around windows, read back exactly."""

import os

import pytest
from tbperf_inside import fetches
from tbperf_inside.fetches import FetchLog, WindowFlag

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
    ends = [log.begin("fetch")]
    for _ in range(images):
        clock.now += 1
        ends.append(log.begin("load_image"))
        clock.now += 10
        ends.pop()(None)
    clock.now += 5
    ends.pop()(None)


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


def test_what_an_exception_left_open_ends_with_its_fetch(folder, clock):
    WindowFlag(str(folder)).raise_()
    log = FetchLog(str(folder))
    end = log.begin("fetch")
    log.begin("load_image")
    end(None)
    assert log.innermost is None
    load_a_batch(log, clock, images=1)
    assert [len(fetch.records) for fetch in read(folder)] == [1, 2]


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
