"""Every number that decides whether something is a finding, in one place, with its reason.

docs/findings/thresholds.md shows this table.  A reason is a measurement, a source, or plainly a choice; choices were
checked against traces whose truth is known (docs/findings/truth.md).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Self


class Threshold(float):
    """A number from which on something counts, with what it is measured in and why it is what it is."""

    __slots__ = ("reason", "unit")
    unit: str
    reason: str

    def __new__(cls, value: float, unit: str, reason: str) -> Self:
        """Make the number; it compares and multiplies as any float."""
        made = super().__new__(cls, value)
        made.unit, made.reason = unit, reason
        return made


_WINDOW = "of the window"
_STEPS = "of the steps"
_KERNELS = "of the kernel time"
_CHOICE = "chosen: smaller costs drown in the change from step to step"

HIGH = Threshold(0.15, _WINDOW, "chosen: what can be saved is felt at once")
MEDIUM = Threshold(0.05, _WINDOW, "chosen: what can be saved is worth an afternoon")

STARVED = Threshold(0.03, _WINDOW, _CHOICE)
STARVED_CPU = Threshold(0.10, _STEPS, "chosen: on the CPU part of the wait is the loop's own work")
WORKERS_BUSY = Threshold(0.70, "of the time", "chosen: a worker also waits for its queue; beyond, more workers help")
SLOW_TRANSFORM = Threshold(0.40, "of the loader's time", "chosen: one transform beside a dozen of usual ones")
SLOW_STORAGE = Threshold(
    0.55, "of the loader's time", "chosen: reading and decoding take a third of it in a default YOLOv8 training"
)

WAITING = Threshold(0.03, _WINDOW, _CHOICE)
TINY_READS = Threshold(0.02, _WINDOW, _CHOICE)
READS_A_STEP = Threshold(2, "calls a step", "chosen: one read a step is what a progress bar needs")

PAGEABLE = Threshold(0.02, _WINDOW, _CHOICE)
EXPOSED = Threshold(
    0.05, _WINDOW, "chosen: uploading a batch in line is usual, and takes 0.8–1.4 % in the traces of the corpus"
)
BLOCKING = Threshold(0.02, _WINDOW, _CHOICE)
MIGRATED = Threshold(0.02, _WINDOW, _CHOICE)

LAUNCH_BOUND = Threshold(0.10, _WINDOW, _CHOICE)
STARVED_KERNELS = Threshold(0.30, "of the kernels", "chosen: where the queue is empty for a third of all launches")
WAITS_EMPTY_IT = Threshold(0.5, "of the idle time", "by definition of «most»: then waits are the cause")
TINY_KERNELS = Threshold(0.50, "of the kernels", "by definition of «most»")
TINY_COST = Threshold(0.05, _WINDOW, "chosen: a few behind a full queue cost hardly anything")
PYTHON = Threshold(0.08, _STEPS, _CHOICE)
PYTHON_CPU = Threshold(0.15, _STEPS, "the loss of a healthy YOLOv8n at 64 pixels takes 9 % (scripts/bench faults)")
PYTHON_PART = Threshold(0.50, "of the stage", "by definition of «mostly Python»")

WORTH_TRYING = Threshold(
    0.02, _WINDOW, "chosen: kernels that could be saved, but whose time the run would not get back, are no finding"
)
DOMINANT = Threshold(
    0.30, _KERNELS, "chosen: the dearest kernel that is no collective takes 6–14 % in the trainings of the corpus"
)
DOMINANT_BUSY = Threshold(0.50, _WINDOW, "below, the device waits more than it works")
NO_TENSOR_CORES = Threshold(0.10, _WINDOW, _CHOICE)
TENSOR_CORES_SINCE = Threshold(7.0, "compute capability", "NVIDIA: tensor cores came with Volta")
LAYOUT = Threshold(0.05, _WINDOW, "chosen: heads reshape their outputs once; an A100 training of the corpus has 1.4 %")
FILLS = Threshold(0.03, _WINDOW, "chosen: padding and zeroed gradients need some")
CASTS = Threshold(0.08, _WINDOW, "chosen: concatenations belong to YOLO models")

ALLOCATING = Threshold(0.01, _WINDOW, "chosen: the caching allocator makes no calls in a steady step")
LOADING_CODE = Threshold(0.02, _WINDOW, _CHOICE)
EXCHANGE = Threshold(0.05, _WINDOW, "chosen: the last bucket of gradients is never hidden")
BATCHES_DIFFER = Threshold(0.5, "of the others' wait", "by definition of «most»: then late batches explain it")
STRAGGLER = Threshold(0.02, "of the time of all ranks", _CHOICE)

MEMORY_FULL = Threshold(0.90, "of the memory", "chosen: cuDNN workspaces and fragmentation need the rest")
MEMORY_UNUSED = Threshold(0.40, "of the memory", "Ultralytics' batch=-1 aims at 60 %; two thirds of that")

THROTTLED = Threshold(0.05, "of the samples", "chosen: single samples at the edge of a window do not count")
POWER_CAPPED = Threshold(0.20, "of the samples", "chosen: training runs near the limit now and then")
PCIE_BUSY = Threshold(0.70, "of the link", "chosen: payload is about 85 % of the link's nominal rate")
CPU_BUSY = Threshold(90.0, "percent", "chosen: beyond, processes wait for a core")

VALIDATION = Threshold(
    0.20, "of training and validation", "chosen: Ultralytics validates a tenth of the images by default"
)
SAVING = Threshold(0.10, "of the training", _CHOICE)
NMS = Threshold(0.10, _STEPS, _CHOICE)
EPOCHS = Threshold(3, "epochs", "chosen: in a shorter run what happens once weighs more than it will")

FEW_THREADS = Threshold(0.70, "of the usable cores", "chosen: Ultralytics leaves one core free, of up to nine")
FREE_CORE = Threshold(0.70, "cores", "chosen: a further thread needs most of a core")
COMPUTING = Threshold(0.50, _STEPS, "by definition of «most»: then operators that can be split are the limit")
QUEUED = Threshold(0.05, _STEPS, _CHOICE)

PREDICT_IDLE = Threshold(0.30, _WINDOW, _CHOICE)
SLOWDOWN = Threshold(1.15, "profiled by unprofiled", "recording operators alone costs 8 % on the CPU")


def table() -> dict[str, Threshold]:
    """Return all thresholds by name, in the order of this file."""
    return {name: value for name, value in globals().items() if isinstance(value, Threshold)}
