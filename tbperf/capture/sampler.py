"""Hardware over time: GPUs through NVML, the machine and a tree of processes through psutil.

docs/recording.md describes the series.  What cannot be measured is absent, with its reason, and never zero.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

Column = tuple[str, int]
"""Name of a series, with its unit, and device: GPU as NVML counts, core, or `WHOLE`."""

WHOLE = -1
"""Of the whole machine or tree of processes."""

FILE = "hardware.jsonl"

_QUICK_S = 0.1
"""Between samples while a window is open."""

_SLOW_S = 1.0
"""Between samples otherwise; also of what takes long to ask for."""


class Source(Protocol):
    """Something that can be asked again and again."""

    columns: Sequence[Column]
    absent: dict[str, str]
    period_s: float

    def read(self) -> list[float | None]:
        """Return the value of each column, None where it could not be had this time."""
        ...


class Sampler:
    """All that can be measured here; ``pid`` is the root of the processes that are watched."""

    def __init__(self, pid: int | None = None) -> None:
        self.absent: dict[str, str] = {}
        self._sources: list[Source] = []
        self._due = [0.0]
        self._sources += self._found(_gpus)
        self._sources += self._found(lambda: [_Machine(), _Traffic(), _Processes(pid)])
        self._due = [0.0] * len(self._sources)
        self.columns: tuple[Column, ...] = tuple(column for source in self._sources for column in source.columns)
        for source in self._sources:
            self.absent |= source.absent

    def sample(self) -> list[float | None]:
        """Return a value for each column; None for what is not due yet or could not be had."""
        now = time.monotonic()
        row: list[float | None] = []
        for index, source in enumerate(self._sources):
            if now < self._due[index]:
                row += [None] * len(source.columns)
            else:
                self._due[index] = now + source.period_s * 0.99
                row += source.read()
        return row

    def _found(self, make: Callable[[], Sequence[Source]]) -> Sequence[Source]:
        try:
            return make()
        except _AbsentError as absent:
            self.absent |= dict.fromkeys(absent.series, absent.reason)
        except ImportError:
            self.absent |= dict.fromkeys(_MACHINE_SERIES, "psutil is not installed")
        return []


class _AbsentError(Exception):
    def __init__(self, series: Sequence[str], reason: str) -> None:
        super().__init__(reason)
        self.series = series
        self.reason = reason


# GPUs

_Reading = tuple[str, "Callable[[Any, Any], float]"]

_GPU_READINGS: tuple[_Reading, ...] = (
    ("gpu_utilization_percent", lambda nvml, gpu: nvml.nvmlDeviceGetUtilizationRates(gpu).gpu),
    ("gpu_memory_bytes", lambda nvml, gpu: nvml.nvmlDeviceGetMemoryInfo(gpu).used),
    ("sm_clock_mhz", lambda nvml, gpu: nvml.nvmlDeviceGetClockInfo(gpu, nvml.NVML_CLOCK_SM)),
    ("memory_clock_mhz", lambda nvml, gpu: nvml.nvmlDeviceGetClockInfo(gpu, nvml.NVML_CLOCK_MEM)),
    ("power_watts", lambda nvml, gpu: nvml.nvmlDeviceGetPowerUsage(gpu) / 1000),
    ("power_limit_watts", lambda nvml, gpu: nvml.nvmlDeviceGetEnforcedPowerLimit(gpu) / 1000),
    ("temperature_celsius", lambda nvml, gpu: nvml.nvmlDeviceGetTemperature(gpu, nvml.NVML_TEMPERATURE_GPU)),
    ("throttle_reasons", lambda nvml, gpu: nvml.nvmlDeviceGetCurrentClocksThrottleReasons(gpu)),
    ("energy_joules", lambda nvml, gpu: nvml.nvmlDeviceGetTotalEnergyConsumption(gpu) / 1000),
)

_PCIE_READINGS: tuple[_Reading, ...] = (
    ("pcie_rx_bytes_per_s", lambda nvml, gpu: _pcie(nvml, gpu, nvml.NVML_PCIE_UTIL_RX_BYTES)),
    ("pcie_tx_bytes_per_s", lambda nvml, gpu: _pcie(nvml, gpu, nvml.NVML_PCIE_UTIL_TX_BYTES)),
)
"""NVML measures these over 20 ms, and the call takes as long."""

_GPU_SERIES = tuple(name for name, _ in (*_GPU_READINGS, *_PCIE_READINGS))


def _pcie(nvml: Any, gpu: Any, counter: int) -> float:
    kilobytes: int = nvml.nvmlDeviceGetPcieThroughput(gpu, counter)
    return kilobytes * 1000


def open_nvml() -> Any:
    """Return NVML, ready to be asked; the reason as an exception's text where it is not there."""
    try:
        import pynvml  # noqa: PLC0415 - an extra
    except ImportError:
        raise LookupError("nvidia-ml-py is not installed") from None
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        raise LookupError(f"NVML: {error}") from None
    return pynvml


def _gpus() -> list[Source]:
    try:
        nvml = open_nvml()
    except LookupError as error:
        raise _AbsentError(_GPU_SERIES, str(error)) from None
    try:
        handles = [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(nvml.nvmlDeviceGetCount())]
    except nvml.NVMLError as error:
        raise _AbsentError(_GPU_SERIES, f"NVML: {error}") from None
    if not handles:
        raise _AbsentError(_GPU_SERIES, "NVML sees no GPU")
    return [_Gpus(nvml, handles, _GPU_READINGS, _QUICK_S), _Gpus(nvml, handles, _PCIE_READINGS, _SLOW_S)]


class _Gpus:
    def __init__(self, nvml: Any, gpus: Sequence[Any], readings: Sequence[_Reading], period_s: float) -> None:
        self._nvml = nvml
        self._refusal = ""
        self.period_s = period_s
        self.absent: dict[str, str] = {}
        self._asked = []
        self.columns: Sequence[Column] = []
        for device, gpu in enumerate(gpus):
            for name, ask in readings:
                if self._ask(gpu, ask) is None:
                    self.absent[name] = f"GPU {device}: {self._refusal}"
                else:
                    self._asked.append((gpu, ask))
                    self.columns = [*self.columns, (name, device)]

    def read(self) -> list[float | None]:
        return [self._ask(gpu, ask) for gpu, ask in self._asked]

    def _ask(self, gpu: Any, ask: Callable[[Any, Any], float]) -> float | None:
        try:
            return ask(self._nvml, gpu)
        except self._nvml.NVMLError as error:
            self._refusal = str(error)
            return None


# The machine

_MACHINE_SERIES = (
    "cpu_percent",
    "core_percent",
    "memory_available_bytes",
    "page_cache_bytes",
    "disk_read_bytes_per_s",
    "disk_write_bytes_per_s",
    "net_received_bytes_per_s",
    "net_sent_bytes_per_s",
    "rss_bytes",
    "processes",
)


class _Machine:
    period_s = _QUICK_S

    def __init__(self) -> None:
        import psutil  # noqa: PLC0415 - an extra

        self._psutil = psutil
        self.absent: dict[str, str] = {}
        cores = len(psutil.cpu_percent(percpu=True))
        self.columns: Sequence[Column] = [
            ("cpu_percent", WHOLE),
            ("memory_available_bytes", WHOLE),
            *([("page_cache_bytes", WHOLE)] if hasattr(psutil.virtual_memory(), "cached") else []),
            *(("core_percent", core) for core in range(cores)),
        ]
        if len(self.columns) == cores + 2:
            self.absent["page_cache_bytes"] = "this system does not tell"

    def read(self) -> list[float | None]:
        cores = self._psutil.cpu_percent(percpu=True)
        memory = self._psutil.virtual_memory()
        cached = [memory.cached] if hasattr(memory, "cached") else []
        return [sum(cores) / len(cores), memory.available, *cached, *cores]


_TRAFFIC = {
    "disk_read_bytes_per_s": ("disk_io_counters", "read_bytes"),
    "disk_write_bytes_per_s": ("disk_io_counters", "write_bytes"),
    "net_received_bytes_per_s": ("net_io_counters", "bytes_recv"),
    "net_sent_bytes_per_s": ("net_io_counters", "bytes_sent"),
}
"""Series, and the function and field of psutil that count its bytes."""


class _Traffic:
    """Bytes of disks and network interfaces of the whole machine, as rates since the sample before."""

    period_s = _SLOW_S

    def __init__(self) -> None:
        import psutil  # noqa: PLC0415 - an extra

        self._psutil = psutil
        self.absent: dict[str, str] = {}
        self.columns: Sequence[Column] = []
        for series in _TRAFFIC:
            counters = None
            with contextlib.suppress(OSError, RuntimeError):
                counters = self._ask(series)
            if counters is None:
                self.absent[series] = "this system shows no such devices"
            else:
                self.columns = [*self.columns, (series, WHOLE)]
        self._before = time.monotonic(), self._counts()

    def _ask(self, series: str) -> int | None:
        function, field = _TRAFFIC[series]
        value: int | None = getattr(getattr(self._psutil, function)(nowrap=False), field, None)
        return value

    def _counts(self) -> list[int]:
        return [self._ask(series) or 0 for series, _ in self.columns]

    def read(self) -> list[float | None]:
        now, counts = time.monotonic(), self._counts()
        before, self._before = self._before, (now, counts)
        elapsed = now - before[0]
        if elapsed < _QUICK_S / 2:
            return [None] * len(counts)
        return [max(0, new - old) / elapsed for old, new in zip(before[1], counts, strict=True)]


class _Processes:
    period_s = _SLOW_S

    def __init__(self, pid: int | None) -> None:
        import psutil  # noqa: PLC0415 - an extra

        self._psutil = psutil
        self.absent: dict[str, str] = {}
        self.columns: Sequence[Column] = [("rss_bytes", WHOLE), ("processes", WHOLE)]
        self._root: Any = None
        if pid is None:
            self.absent = dict.fromkeys((name for name, _ in self.columns), "no process was named")
            self.columns = []
        else:
            with contextlib.suppress(psutil.NoSuchProcess):
                self._root = psutil.Process(pid)

    def read(self) -> list[float | None]:
        if self._root is None:
            return [None] * len(self.columns)
        sizes = []
        try:
            processes = [self._root, *self._root.children(recursive=True)]
        except self._psutil.Error:
            return [None, None]
        for process in processes:
            with contextlib.suppress(self._psutil.Error):
                sizes.append(process.memory_info().rss)
        return [sum(sizes), len(sizes)]


# The log


class HardwareLog:
    """Writes the series into a run folder while a command runs."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._over = threading.Event()
        self.note: str | None = None
        """Why it stopped early."""

    @contextlib.contextmanager
    def watching(self, pid: int) -> Iterator[None]:
        """Sample on a thread of its own while the body runs."""
        thread = threading.Thread(target=self._watch, args=(pid,), name="hardware", daemon=True)
        try:
            thread.start()
        except Exception as error:  # noqa: BLE001
            # No room for a thread: the command runs already, and must not notice.
            self.note = f"the hardware was not watched: {error}"
        try:
            yield
        finally:
            self._over.set()
            if thread.ident is not None:
                thread.join(timeout=5)

    def _watch(self, pid: int) -> None:
        try:
            self._sample(pid)
        except Exception as error:  # noqa: BLE001 - a full disk, a driver that goes away: the command must not notice
            self.note = f"the hardware was not watched to the end: {error}"

    def _sample(self, pid: int) -> None:
        sampler = Sampler(pid)
        with (self._folder / FILE).open("w", encoding="utf-8") as file:
            header = {"schema": "tbperf-hardware/1", "columns": sampler.columns, "absent": sampler.absent}
            file.write(json.dumps(header) + "\n")
            due = 0.0
            while not self._over.wait(_QUICK_S):
                now = time.monotonic()
                if now < due and not self._window_open():
                    continue
                due = now + _SLOW_S
                values = [value if value is None else _short(value) for value in sampler.sample()]
                file.write(json.dumps([time.time_ns(), *values], separators=(",", ":")) + "\n")
                file.flush()

    def _window_open(self) -> bool:
        return any(flag.read_bytes() == b"1" for flag in self._folder.glob("journal/window.*"))


def _short(value: float) -> float:
    """Return a value without digits that nobody measured."""
    return round(value, 2) if isinstance(value, float) else value
