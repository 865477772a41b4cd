"""Python runs this at start-up, because ``tbperf record`` puts this folder in front of PYTHONPATH.

It first runs the sitecustomize that it shadows, then arms tbperf.  It imports nothing heavy and
never raises.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable


def _run_the_shadowed_one() -> None:
    """Run the next ``sitecustomize`` on the path: distributions and coverage tools need theirs."""
    here = os.path.dirname(os.path.abspath(__file__))
    others = [entry for entry in sys.path if os.path.abspath(entry or ".") != here]
    spec = importlib.machinery.PathFinder.find_spec("sitecustomize", others)
    if spec is None or spec.loader is None:
        return
    module = importlib.util.module_from_spec(spec)
    sys.modules["sitecustomize"] = module
    spec.loader.exec_module(module)


def _arm() -> None:
    settings = os.environ.get("TBPERF_CAPTURE")
    if settings:
        import tbperf_inside

        tbperf_inside.arm(settings)


def _attempt(step: Callable[[], None]) -> None:
    try:
        step()
    except Exception as error:
        print(f"tbperf: not recording: {step.__name__}: {error!r}", file=sys.stderr)


_attempt(_run_the_shadowed_one)
_attempt(_arm)
