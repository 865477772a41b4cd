"""The performance doctor for YOLO on PyTorch: why the GPU idles, what is hot, what to change.

``tbperf.analyze(path)`` reads traces and returns a `Report`; ``tbperf.compare(a, b)`` holds two recordings or reports
against each other and returns a `Comparison`.
"""

from __future__ import annotations

TYPE_CHECKING = False  # typing.TYPE_CHECKING, whose import every start of a command would wait for
if TYPE_CHECKING:
    from typing import Any

    from tbperf.comparison import Comparison as Comparison
    from tbperf.comparison import compare as compare
    from tbperf.report import Report as Report
    from tbperf.report import analyze as analyze

__version__ = "0.1.0"
__all__ = ["Comparison", "Report", "__version__", "analyze", "compare"]


def __getattr__(name: str) -> Any:
    # Imported when asked for: the recorder starts without the analyzer's libraries.
    if name in ("Report", "analyze"):
        from tbperf import report  # noqa: PLC0415

        return getattr(report, name)
    if name in ("Comparison", "compare"):
        from tbperf import comparison  # noqa: PLC0415

        return getattr(comparison, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
