"""A trace in a run folder: loader workers and hardware come on its clock."""

import json
import struct

import numpy as np
import pytest

from tbperf.readers import find_traces, read_trace
from tests.draw import Timeline

BASE = 1_790_000_000_000_000_000
PID = 1


@pytest.fixture
def folder(tmp_path):
    """A run folder with one trace of 1 ms, whose origin is 100 µs after its base."""
    (tmp_path / "trace").mkdir()
    (tmp_path / "run.json").write_text(json.dumps({"schema": "tbperf-run/1", "versions": {"torch": "9.9"}}))
    write_trace(tmp_path, {"prefetch": 2})
    return tmp_path


def write_trace(folder, about):
    content = Timeline().step(7, 100, 600).step(8, 600, 1100).kineto()
    content |= {"baseTimeNanoseconds": BASE, "tbperf": about}
    (folder / "trace" / "h_1.5.pt.trace.json").write_text(json.dumps(content))


def fetched(*spans, worker=0, parent=PID, pid=50):
    """What a worker writes: fetches with one image inside, in µs on the trace's clock."""
    content = b""
    for number, (start, end) in enumerate(spans):
        about = {"worker": worker, "pid": pid, "parent": parent, "batch": number, "records": 2}
        about["names"] = ["load_image", "fetch"]
        content += json.dumps(about).encode() + b"\n"
        for at, dur, name in ((start + 1, 2, 0), (start, end - start, 1)):
            content += struct.pack("<QQHH", BASE + (100 + at) * 1000, dur * 1000, name, 1 - name)
    return content


def read(folder):
    (source,) = find_traces(folder)
    return read_trace(source)


def loads(trace):
    rows = trace.ranges.rows(trace.named(trace.ranges, lambda name: name == "loader/fetch"))
    return [
        (trace.threads[thread].name, start // 1000, dur // 1000)
        for start, dur, thread in zip(*(rows[name].tolist() for name in ("start_ns", "dur_ns", "thread")), strict=True)
    ]


def test_what_workers_did_in_the_window_and_what_lay_ready_before_it_are_ranges(folder):
    spans = [(-900, -800), (-700, -600), (-500, -400), (-50, 10), (200, 300), (990, 1200), (1300, 1400)]
    (folder / "loader.50.bin").write_bytes(fetched(*spans))
    trace = read(folder)
    name = "loader worker 0"
    assert loads(trace) == [
        (name, -700, 100),
        (name, -500, 100),
        (name, -50, 60),
        (name, 200, 100),
        (name, 990, 210),
    ]
    images = trace.ranges.rows(trace.named(trace.ranges, lambda name: name == "loader/load_image"))
    assert images["start_ns"].tolist() == [start * 1000 + 1000 for start, _ in spans[1:6]]
    assert len(trace.steps) == 2
    assert trace.versions["torch"] == "9.9"


def test_batches_that_lay_ready_count_even_if_nothing_was_loaded_meanwhile(folder):
    (folder / "loader.50.bin").write_bytes(fetched((-900, -800), (-700, -600), (-500, -400), (2000, 2100)))
    assert [start for _, start, _ in loads(read(folder))] == [-700, -500]


def test_workers_of_another_process_are_not_this_traces(folder):
    (folder / "loader.50.bin").write_bytes(fetched((10, 20), parent=99))
    (folder / "loader.51.bin").write_bytes(fetched((10, 20), pid=51, worker=1))
    (folder / "loader.1.bin").write_bytes(fetched((30, 40), pid=PID, worker=None))
    assert loads(read(folder)) == [("loader, in the process itself", 30, 10), ("loader worker 1", 10, 10)]


def hardware(folder, rows, columns=(("cpu_percent", -1), ("power_watts", 0), ("power_watts", 1))):
    lines = [json.dumps({"schema": "tbperf-hardware/1", "columns": columns, "absent": {}})]
    lines += [json.dumps([BASE + (100 + at) * 1000, *values]) for at, values in rows]
    (folder / "hardware.jsonl").write_text("\n".join(lines) + "\n")


def samples(trace):
    table = trace.samples
    return [
        (trace.strings[series], device, start // 1000, value)
        for series, device, start, value in zip(
            *(table[name].tolist() for name in ("series", "device", "start_ns", "value")), strict=True
        )
    ]


def test_samples_of_the_window_come_with_one_on_each_side(folder):
    hardware(folder, [(at, [at, None, None]) for at in (-2000, -1000, 0, 500, 1000, 2000, 3000)])
    assert samples(read(folder)) == [("cpu_percent", -1, at, at) for at in (-1000, 0, 500, 1000)]


def test_what_was_not_measured_every_time_has_its_own_neighbours(folder):
    hardware(folder, [(-2000, [1, 50, None]), (-1000, [2, None, None]), (2000, [3, None, None]), (3000, [4, 60, 9])])
    assert samples(read(folder)) == [
        ("cpu_percent", -1, -1000, 2),
        ("cpu_percent", -1, 2000, 3),
        ("power_watts", 0, -2000, 50),
        ("power_watts", 0, 3000, 60),
        ("power_watts", 1, 3000, 9),
    ]


def test_a_gpu_has_the_ordinal_that_the_program_knew_it_by(folder):
    write_trace(folder, {"visible_devices": "1"})
    hardware(folder, [(0, [1, 50, 70])])
    assert samples(read(folder)) == [("cpu_percent", -1, 0, 1), ("power_watts", 0, 0, 70)]


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff\n\n", b'{"columns": [["a", 0]]}\n[1]\n', b'{"columns": []}\nx'])
def test_a_damaged_log_of_the_hardware_is_no_worse_than_none(folder, content):
    (folder / "hardware.jsonl").write_bytes(content)
    assert len(read(folder).samples) == 0


def test_a_log_that_is_cut_counts_up_to_its_last_whole_line(folder):
    hardware(folder, [(0, [1, 2, 3]), (10, [4, 5, 6])])
    path = folder / "hardware.jsonl"
    path.write_bytes(path.read_bytes()[:-8])
    assert {value for *_, value in samples(read(folder))} == {1, 2, 3}


def test_a_trace_in_no_run_folder_has_neither(folder):
    (folder / "loader.50.bin").write_bytes(fetched((10, 20)))
    hardware(folder, [(0, [1, 2, 3])])
    (folder / "run.json").unlink()
    trace = read(folder)
    assert (loads(trace), len(trace.samples), trace.run) == ([], 0, None)


def test_times_are_exact_integers(folder):
    (folder / "loader.50.bin").write_bytes(fetched((10, 20)))
    trace = read(folder)
    assert trace.origin_unix_ns == BASE + 100_000
    assert trace.ranges["start_ns"].dtype == np.int64
