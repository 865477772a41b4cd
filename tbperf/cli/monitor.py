"""``tbperf monitor``: the hardware, live, as a recording would see it."""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING

import click
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from tbperf.capture.sampler import WHOLE, Sampler
from tbperf.errors import TbperfError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_KEPT = 60
_BARS = "▁▂▃▄▅▆▇█"
_GB = 1e9
_MB = 1e6
_MOST_CORES = 16
"""With more, each core's row would push the rest off the screen."""

_PERCENT = 100.0


@click.command("monitor", short_help="Watch GPUs, processor, memory, disks and network live.")
@click.option("--interval", type=click.FloatRange(0.1, 60), default=1.0, show_default=True, help="Seconds a sample.")
@click.option("--count", type=click.IntRange(1), help="Samples to take; without it, until Ctrl-C.")
@click.option("--pid", type=click.IntRange(1), help="Sum the memory of this process and its children, too.")
def command(interval: float, count: int | None, pid: int | None) -> None:
    """Show what the hardware does, in the series that `tbperf record` writes beside its traces."""
    sampler = Sampler(pid)
    if not sampler.columns:
        raise TbperfError("nothing can be measured here", "pip install 'tbperf[record]' brings psutil and NVML")
    console = Console()
    history: list[deque[float]] = [deque(maxlen=_KEPT) for _ in sampler.columns]
    shown = Live(console=console, auto_refresh=False, transient=False) if console.is_terminal else None
    taken = 0
    try:
        if shown is not None:
            shown.start()
        while count is None or taken < count:
            time.sleep(interval)
            for kept, value in zip(history, sampler.sample(), strict=True):
                if value is not None:
                    kept.append(value)
            taken += 1
            if shown is not None:
                shown.update(render(sampler.columns, history, sampler.absent), refresh=True)
    except KeyboardInterrupt:
        pass
    finally:
        if shown is not None:
            shown.stop()
    if shown is None and taken:
        console.print(render(sampler.columns, history, sampler.absent))


def render(columns: Sequence[tuple[str, int]], history: Sequence[Sequence[float]], absent: dict[str, str]) -> Group:
    """Lay out the newest value, the range and the course of each series, and why others are missing."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("")
    for title in ("now", "least", "most"):
        table.add_column(title, justify="right")
    table.add_column("", no_wrap=True)
    cores = sum(name == "core_percent" for name, _ in columns)
    for (name, device), values in zip(columns, history, strict=True):
        if not values or (name == "core_percent" and cores > _MOST_CORES):
            continue
        shown = (_amount(name, value) for value in (values[-1], min(values), max(values)))
        table.add_row(_title(name, device), *shown, _course(name, values))
    return Group(table, *(Text(line, style="dim") for line in _reasons(absent)))


def _title(name: str, device: int) -> str:
    words = name
    for unit in ("_percent", "_bytes_per_s", "_bytes", "_mhz", "_watts", "_celsius", "_joules"):
        words = words.removesuffix(unit)
    words = words.replace("_", " ")
    if name == "core_percent":
        return f"core {device}"
    return words if device == WHOLE else f"GPU {device} {words.removeprefix('gpu ')}"


def _amount(name: str, value: float) -> str:
    if name.endswith("_bytes_per_s"):
        return f"{value / _MB:,.1f} MB/s"
    if name.endswith("_bytes"):
        return f"{value / _GB:,.2f} GB"
    if name == "throttle_reasons":
        return f"{int(value):#x}"
    units = {"_percent": " %", "_mhz": " MHz", "_watts": " W", "_celsius": " °C", "_joules": " J"}
    return f"{value:,.0f}" + next((unit for suffix, unit in units.items() if name.endswith(suffix)), "")


def _course(name: str, values: Sequence[float]) -> str:
    top = _PERCENT if name.endswith("_percent") else max(values)
    if top <= 0:
        return _BARS[0] * len(values)
    return "".join(_BARS[min(len(_BARS) - 1, int(len(_BARS) * max(0, value) / top))] for value in values)


def _reasons(absent: dict[str, str]) -> Iterable[str]:
    for reason in dict.fromkeys(absent.values()):
        names = [name for name, why in absent.items() if why == reason]
        first = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")  # noqa: PLR2004
        yield f"not seen: {first}: {reason}"
