"""The words and number formats that verdicts, findings and renderers share."""

from __future__ import annotations

CAUSES = {
    "profiler": "held up by the profiler itself",
    "sync": "waiting while the host synchronizes",
    "memcpy": "waiting for blocking copies",
    "allocation": "waiting for memory allocation",
    "module_load": "waiting for modules to load or compile",
    "launch": "waiting for launch calls",
    "dataloader": "waiting for a batch",
    "save": "waiting while a checkpoint is saved",
    "plot": "waiting while plots are drawn",
    "validation": "waiting for validation",
    "host_op": "waiting for host operators",
    "python": "waiting for Python code",
    "queued": "waiting though work is queued",
    "unknown": "idle for no cause that the trace shows",
}
"""What a device is doing while idle for each cause of the ledger; also the headings of tables."""

_STAGES = {
    "dataload": "waiting for the batch",
    "fetch": "loading images itself",
    "preprocess": "preprocessing",
    "forward": "the forward pass",
    "loss": "the loss",
    "backward": "the backward pass",
    "optimizer": "the optimizer",
    "inference": "inference",
    "postprocess": "postprocessing",
    "nms": "NMS",
    "log": "logging and progress",
    "metrics": "metrics",
    "consumer": "the consumer of the results",
    "track": "tracking",
    "plot": "plotting",
    "callbacks": "callbacks",
    "save": "saving",
    "validate": "validation",
    "write": "writing results",
}


WORK = {
    "profiler": "the recorder itself",
    "waiting for a batch": "waiting for a batch",
    "loading a batch": "loading images itself",
    "waiting for the GPU": "waiting for the GPU",
    "calls of the GPU's runtime": "calls of the GPU's runtime",
    "collective": "exchange between ranks",
    "optimizer": "the optimizer",
    "attention": "attention",
    "convolution": "convolutions",
    "normalization": "normalization",
    "softmax": "softmax",
    "pooling": "pooling",
    "upsampling": "upsampling",
    "sort and select": "sorting and selecting",
    "elementwise": "elementwise arithmetic",
    "activation": "activations",
    "matrix product": "matrix products",
    "cast and copy": "copies and casts",
    "fill": "filling tensors",
    "reduction": "sums and other reductions",
    "views and allocation": "views and allocation",
    "other operators": "other operators",
    "calls of the system": "calls of the operating system",
    "waiting for a thread": "waiting for autograd's threads",
    "autograd": "backward outside of operators",
    "python": "Python code",
    "unknown": "nothing that the trace shows",
}
"""What the host is doing, for each sort of work; also the headings of tables."""


def stage_words(stage: str | None) -> str:
    """Name a stage in a sentence."""
    if stage is None:
        return "no named stage"
    return _STAGES.get(stage, f"`{stage}`")


def format_ms(ns: float) -> str:
    """Show a duration in milliseconds, or in seconds where that reads better, with three or four digits."""
    if ns >= 10e9:  # noqa: PLR2004 - ten seconds
        return f"{ns / 1e9:,.1f} s"
    digits = 1 if ns >= 10e6 else 2 if ns >= 1e6 else 3  # noqa: PLR2004 - milliseconds in nanoseconds
    return f"{ns / 1e6:,.{digits}f} ms"


def format_number(value: float) -> str:
    """Show a number with three digits, or all those before the point."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"  # noqa: PLR2004 - three digits


def format_share(share: float) -> str:
    """Show a share as a percentage: whole from 10 % on, with a decimal below."""
    percent = 100 * share
    return f"{percent:.0f} %" if percent >= 9.95 else f"{percent:.1f} %"  # noqa: PLR2004 - rounds to 10


def format_bytes(count: float) -> str:
    """Show a size in decimal units."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(count) < 1000:  # noqa: PLR2004 - the step between units
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"
