"""Tells, as JSON, what can be recorded with the Python that runs this: run by ``tbperf doctor``.

The recorder is armed while this runs, so that its journal names what it does not find.
"""

from __future__ import annotations

import importlib
import json
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing import Callable

_TAPPED = (
    "engine.trainer",
    "engine.validator",
    "engine.predictor",
    "engine.exporter",
    "nn.tasks",
    "nn.autobackend",
    "data.base",
    "data.augment",
    "data.loaders",
    "utils.ops",
    "utils.torch_utils",
)


def _torch() -> dict[str, Any]:
    import torch

    available = torch.cuda.is_available()
    return {
        "version": str(torch.__version__),
        "cuda": torch.version.cuda,
        "hip": torch.version.hip,
        "cuda_available": available,
        "kineto": bool(torch.profiler.kineto_available()),
        "operators": _seen("CPU"),
        "kernels": _seen("CUDA") if available else None,
        "nvtx": _has_nvtx(),
    }


def _seen(activity: str) -> int:
    """Return how many events of this kind a real recording of a few products holds."""
    import torch

    device = activity.lower()
    one = torch.ones(64, 64, device=device)
    with torch.profiler.profile(activities=[getattr(torch.profiler.ProfilerActivity, activity)]) as recording:
        for _ in range(3):
            one = one @ one
        if device == "cuda":
            torch.cuda.synchronize()
    kind = getattr(torch.autograd.DeviceType, activity)
    return sum(event.device_type == kind for event in recording.events())


def _has_nvtx() -> bool:
    try:
        from torch._C import _nvtx
    except ImportError:
        return False
    return hasattr(_nvtx, "rangePushA")


def _ultralytics() -> dict[str, Any]:
    import ultralytics  # type: ignore[import-not-found,unused-ignore]

    missing = [module for module in _TAPPED if not _importable("ultralytics." + module)]
    return {"version": ultralytics.__version__, "missing_modules": missing}


def _importable(module: str) -> bool:
    try:
        importlib.import_module(module)
    except ImportError:
        return False
    return True


def _answer(question: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    try:
        return question()
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"}


json.dump(
    {"python": sys.version.split()[0], "torch": _answer(_torch), "ultralytics": _answer(_ultralytics)}, sys.stdout
)
