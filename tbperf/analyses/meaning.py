"""What the analyses read from a name: all that their results depend on, as a value that can be compared.

Two names with the same meaning can stand for each other in a recording, and every figure stays as it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tbperf.analyses.collectives import OPERATION
from tbperf.analyses.idle import IN_FILE, IN_PROCESS, OVERHEAD_OF_CUDA
from tbperf.analyses.module_calls import PYTHON_CALL
from tbperf.analyses.replay import READING
from tbperf.trace import names
from tbperf.trace.operators import operator_family
from tbperf.trace.stages import BACKWARD_OP, annotated_stage, loader_work, module_name, own_stage, step_number

if TYPE_CHECKING:
    from collections.abc import Hashable

_CALLS = (
    *(names.KERNEL_LAUNCH, names.GRAPH_LAUNCH, names.COPY_CALL, names.ASYNC_COPY_CALL, names.MEMSET_CALL),
    *(names.SYNCHRONIZE, names.ALLOCATION, names.MODULE_LOAD),
)


def of_kernel(name: str) -> Hashable:
    """Return the family of a kernel, whether tensor cores run it, and which collective it is."""
    collective = bool(names.COLLECTIVE.match(name))
    operation = OPERATION.search(name) if collective else None
    told = operation[1].lower() if operation else None
    return names.kernel_family(name), names.uses_tensor_cores(name), collective, told


def of_copy(name: str) -> Hashable:
    """Return the direction and the host memory of a copy."""
    return names.copy_kind(name), names.copied_memory(name)


def of_call(name: str) -> Hashable:
    """Return what a call of the GPU's runtime does."""
    return tuple(bool(pattern.match(name)) for pattern in _CALLS)


def of_operator(name: str) -> Hashable:
    """Return what sort of work an operator does, whether it is of the backward pass, a step, compiles or reads."""
    passes = bool(BACKWARD_OP.match(name)), bool(names.COMPILATION.match(name)), bool(READING.match(name))
    return operator_family(name), passes, step_number(name)


def of_range(name: str) -> Hashable:
    """Return the step, stage, module or loader's work that a range stands for, and whether it compiles."""
    own = own_stage(name) is not None, module_name(name) is not None, loader_work(name)
    return (
        step_number(name),
        annotated_stage(name),
        own,
        bool(names.COMPILATION.match(name)),
        bool(IN_PROCESS.search(name)),
    )


def of_python(name: str) -> Hashable:
    """Return whether a Python call compiles, lies in a file, or is one of a module."""
    return tuple(
        bool(found) for found in (names.COMPILATION.match(name), IN_FILE.search(name), PYTHON_CALL.match(name))
    )


def of_overhead(name: str) -> Hashable:
    """Return what the program would have had to bear without a recorder, too."""
    return tuple(bool(pattern.match(name)) for pattern in OVERHEAD_OF_CUDA.values())


def of_thread(name: str) -> Hashable:
    """Return whether a thread is a worker of a loader."""
    return name.startswith("loader worker")
