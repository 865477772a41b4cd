"""How fast are images worked off, and what does one of them cost in each stage?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tbperf.analyses.steps import list_stages

if TYPE_CHECKING:
    from tbperf.trace import Trace

_PRINTED = {
    "preprocess": ("preprocess",),
    "inference": ("inference",),
    "loss": ("loss",),
    "postprocess": ("postprocess", "nms"),
}
"""What Ultralytics prints as «Speed:», and the stages that make it up."""


@dataclass(frozen=True)
class Speed:
    """Images over the recorded steps.  Times of an image are those of its step, divided by the step's images."""

    images: int
    batch: float
    """Images of a step, on average."""
    images_per_s: float
    image_ns: int
    """Time of all steps, by image."""
    printed_ns: Mapping[str, int]
    """Per image, as Ultralytics prints it after «Speed:»: preprocess, inference, loss, postprocess (with NMS)."""
    stage: Mapping[str, int]
    """Per image, by innermost stage, the dearest first."""


def has_images(trace: Trace) -> bool:
    """Tell whether it is known how many images each recorded step had."""
    accounts = [trace.accounts.get(number) for number in trace.steps.number.tolist()]
    return bool(accounts) and all(account is not None and account.images for account in accounts)


def measure_speed(trace: Trace) -> Speed:
    """Divide the time of all steps by their images."""
    images = sum(trace.accounts[number].images or 0 for number in trace.steps.number.tolist())
    total = int((trace.steps.end_ns - trace.steps.start_ns).sum())
    stages = {row.stage: row.host_ns for row in trace.once(list_stages) if row.stage is not None}
    printed = {
        name: sum(stages.get(stage, 0) for stage in parts) // images
        for name, parts in _PRINTED.items()
        if any(stage in stages for stage in parts)
    }
    return Speed(
        images=images,
        batch=images / len(trace.steps),
        images_per_s=images * 1e9 / max(1, total),
        image_ns=total // images,
        printed_ns=printed if "inference" in printed else {},
        stage={name: ns // images for name, ns in stages.items()},
    )
