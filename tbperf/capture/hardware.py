"""The machine, as far as it does not change while a program runs."""

from __future__ import annotations

import contextlib
import os
import platform
from pathlib import Path
from typing import Any

from tbperf.capture.sampler import open_nvml


def describe_hardware() -> dict[str, Any]:
    """Return processor, memory and GPUs as JSON values; what cannot be seen has its reason."""
    gpus, driver, reason = _gpus()
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "usable_cores": len(os.sched_getaffinity(0)),
        "core_quota": _core_quota(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "gpus": gpus,
        "gpus_unseen": reason,
        "driver": driver,
    }


def _cpu_model() -> str | None:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return platform.processor() or None


def _core_quota(root: Path = Path("/sys/fs/cgroup")) -> float | None:
    """Return how many cores' worth of time the control group may use, as containers limit it; None without a limit."""
    with contextlib.suppress(OSError, ValueError):  # version 2
        quota, period = (root / "cpu.max").read_text(encoding="ascii").split()
        return None if quota == "max" else int(quota) / int(period)
    with contextlib.suppress(OSError, ValueError, ZeroDivisionError):  # version 1
        limit, of = (int((root / "cpu" / f"cpu.cfs_{name}_us").read_text()) for name in ("quota", "period"))
        return limit / of if limit > 0 else None
    return None


def _gpus() -> tuple[list[dict[str, Any]], str | None, str | None]:
    """Return the NVIDIA GPUs, the driver's version, and why there are none."""
    try:
        nvml = open_nvml()
    except LookupError as error:
        return [], None, str(error)
    try:
        gpus = []
        for index in range(nvml.nvmlDeviceGetCount()):
            device = nvml.nvmlDeviceGetHandleByIndex(index)
            gpus.append(
                {
                    "index": index,
                    "name": _text(nvml.nvmlDeviceGetName(device)),
                    "memory_bytes": nvml.nvmlDeviceGetMemoryInfo(device).total,
                }
            )
        driver = _text(nvml.nvmlSystemGetDriverVersion())
    except nvml.NVMLError as error:
        return [], None, f"NVML: {error}"
    else:
        return gpus, driver, None if gpus else "NVML sees no GPU"


def _text(value: str | bytes) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else value
