"""Hardware over time, measured for real where there is something to measure."""

import itertools
import json
import os
import subprocess
import sys
import time
import types

import psutil
import pytest

from tbperf.capture import RecordOptions, record, sampler
from tbperf.capture.sampler import Sampler


def values(watched, rows=1):
    for _ in range(rows):
        found = dict(zip(watched.columns, watched.sample(), strict=True))
    return found


def test_the_machine_is_measured_and_agrees_with_what_is_known_of_it():
    block = bytearray(os.urandom(1 << 20)) * 64
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        found = values(Sampler(os.getpid()))
        child.communicate(b"\n")
    assert found["rss_bytes", -1] > len(block)
    assert found["processes", -1] >= 2
    assert 0 <= found["cpu_percent", -1] <= 100
    cores = [value for (name, _), value in found.items() if name == "core_percent"]
    assert len(cores) == psutil.cpu_count()
    assert found["cpu_percent", -1] == pytest.approx(sum(cores) / len(cores))
    assert 0 < found["memory_available_bytes", -1] < psutil.virtual_memory().total


def test_bytes_that_are_written_show_as_a_rate(tmp_path):
    watched = Sampler()
    if "disk_write_bytes_per_s" in watched.absent:
        pytest.skip("no disks are shown here")
    watched.sample()
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with (tmp_path / "block").open("wb") as file:
            file.write(os.urandom(8 << 20))
            os.fsync(file.fileno())
        time.sleep(1.05)
        if values(watched)["disk_write_bytes_per_s", -1]:
            return
    if psutil.disk_usage(str(tmp_path)).total == psutil.virtual_memory().total // 2:
        pytest.skip("the folder lies in memory")
    pytest.fail("nothing was seen of it")


def test_what_takes_long_to_ask_for_is_asked_once_a_second():
    watched = Sampler(os.getpid())
    first, second = values(watched), values(watched)
    assert first["rss_bytes", -1] is not None
    assert second["rss_bytes", -1] is None


def test_without_psutil_and_nvml_everything_is_absent_with_its_reason(monkeypatch):
    monkeypatch.setitem(sys.modules, "psutil", None)
    monkeypatch.setitem(sys.modules, "pynvml", None)
    watched = Sampler()
    assert watched.columns == ()
    assert watched.absent["power_watts"] == "nvidia-ml-py is not installed"
    assert watched.absent["cpu_percent"] == "psutil is not installed"


def test_what_is_asked_of_nvml_exists_in_nvml():
    """There is no GPU to ask here: names and constants, at least, are those of the real binding."""
    import pynvml

    class Recorded:
        def __getattr__(self, name):
            assert hasattr(pynvml, name), name
            return getattr(pynvml, name) if name.startswith("NVML_") else lambda *_: Answer()

    class Answer(int):
        gpu = used = 1

    for name, ask in (*sampler._GPU_READINGS, *sampler._PCIE_READINGS):
        assert ask(Recorded(), None) is not None, name


@pytest.fixture
def two_gpus(monkeypatch):
    """A stand-in for NVML: the second GPU knows no energy, and goes away when asked for its power again."""

    class NVMLError(Exception):
        pass

    asked = []

    def power(gpu):
        asked.append(gpu)
        if gpu == 1 and asked.count(1) > 1:
            raise NVMLError("GPU is lost")
        return 50_000 + gpu

    def energy(gpu):
        if gpu == 1:
            raise NVMLError("Not Supported")
        return 7000

    nvml = types.SimpleNamespace(
        NVMLError=NVMLError,
        NVML_CLOCK_SM=1,
        NVML_CLOCK_MEM=2,
        NVML_TEMPERATURE_GPU=0,
        NVML_PCIE_UTIL_RX_BYTES=1,
        NVML_PCIE_UTIL_TX_BYTES=0,
        nvmlInit=lambda: None,
        nvmlDeviceGetCount=lambda: 2,
        nvmlDeviceGetHandleByIndex=lambda index: index,
        nvmlDeviceGetUtilizationRates=lambda gpu: types.SimpleNamespace(gpu=90 + gpu),
        nvmlDeviceGetMemoryInfo=lambda _gpu: types.SimpleNamespace(used=1 << 30),
        nvmlDeviceGetClockInfo=lambda _gpu, which: 1000 * which,
        nvmlDeviceGetPowerUsage=power,
        nvmlDeviceGetEnforcedPowerLimit=lambda _gpu: 300_000,
        nvmlDeviceGetTemperature=lambda _gpu, _sensor: 61,
        nvmlDeviceGetCurrentClocksThrottleReasons=lambda _gpu: 4,
        nvmlDeviceGetTotalEnergyConsumption=energy,
        nvmlDeviceGetPcieThroughput=lambda _gpu, counter: 10 + counter,
    )
    monkeypatch.setitem(sys.modules, "pynvml", nvml)


def test_gpus_are_measured_in_the_units_of_their_names(two_gpus):
    watched = Sampler()
    found = values(watched)
    assert found["gpu_utilization_percent", 1] == 91
    assert found["sm_clock_mhz", 0] == 1000
    assert found["power_watts", 0] == 50
    assert found["energy_joules", 0] == 7
    assert found["pcie_rx_bytes_per_s", 0] == 11_000
    assert found["power_watts", 1] is None
    assert ("energy_joules", 1) not in found
    assert watched.absent["energy_joules"] == "GPU 1: Not Supported"


def test_a_recording_leaves_a_series_on_the_system_clock_more_often_in_windows(tmp_path):
    code = (
        "import json, os, time; folder = json.loads(os.environ['TBPERF_CAPTURE'])['folder']\n"
        "open(f'{folder}/journal/window.1', 'w').write('1'); time.sleep(1.5)\n"
        "open(f'{folder}/journal/window.1', 'w').write('0'); time.sleep(2.5)"
    )
    before = time.time_ns()
    folder = record([sys.executable, "-c", code], RecordOptions(out=tmp_path / "run")).folder
    header, *rows = map(json.loads, (folder / "hardware.jsonl").read_text().splitlines())
    assert header["schema"] == "tbperf-hardware/1"
    assert {len(row) for row in rows} == {1 + len(header["columns"])}
    moments = [row[0] for row in rows]
    assert before < moments[0] < moments[-1] < time.time_ns()
    assert moments == sorted(moments)
    gaps = [second - first for first, second in itertools.pairwise(moments)]
    assert min(gaps) < 0.9e9 < max(gaps)


def test_a_machine_without_room_for_a_thread_runs_the_command(monkeypatch, tmp_path):
    def refuse(_thread):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(sampler.threading.Thread, "start", refuse)
    recording = record([sys.executable, "-c", "exit(4)"], RecordOptions(out=tmp_path / "run"))
    assert recording.exit_code == 4
    assert "the hardware was not watched: can't start new thread" in recording.notes


def test_a_process_that_is_gone_has_no_memory_and_the_rest_goes_on():
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    found = values(Sampler(gone.pid))
    assert found["rss_bytes", -1] is None
    assert found["memory_available_bytes", -1] > 0


def test_a_log_that_cannot_be_written_is_told_and_nothing_else(tmp_path):
    out = tmp_path / "run"
    code = f"import os, time; os.path.exists({str(out)!r}); time.sleep(0.5); exit(4)"
    log = sampler.HardwareLog(out / "missing")
    with log.watching(os.getpid()):
        recording = record([sys.executable, "-c", code], RecordOptions(out=out))
    assert recording.exit_code == 4
    assert log.note.startswith("the hardware was not watched to the end: ")
