"""Taps that all phases share: batches, timed blocks, non-maximum suppression, model loading."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .patching import Enter, Leave, observe, observe_if_there

if TYPE_CHECKING:
    from types import ModuleType

    from .imports import ImportHooks
    from .recorder import Recorder, Session

PACKAGES = ("ultralytics.", "ultralytics.yolo.")
"""Where Ultralytics keeps its modules, and where it did before 8.0.13x."""

_BLOCKS = {
    "val": (
        ("preprocess", "loop"),
        ("inference", "loop"),
        ("loss", "loop"),
        ("postprocess", "metrics"),
    ),
    "predict": (("preprocess", "loop"), ("inference", "loop"), ("postprocess", "loop")),
}
"""The blocks that Ultralytics times itself and prints as "Speed:": stage inside, stage behind."""


def register(hooks: ImportHooks, recorder: Recorder) -> None:
    """Tap these modules when the program imports them."""

    def on_loader(module: ModuleType) -> None:
        observe(module, "_BaseDataLoaderIter.__next__", _next_batch(recorder), recorder.guard)

    def on_ops(module: ModuleType) -> None:
        observe(module, "Profile.__enter__", _block_begins(recorder), recorder.guard)
        observe(module, "Profile.__exit__", _block_ends(recorder), recorder.guard)
        on_nms(module)

    def on_nms(module: ModuleType) -> None:
        # Newer versions keep it in a module of its own.
        observe_if_there(module, "non_max_suppression", stage(recorder, "nms", "val", "predict"), recorder.guard)

    def on_torch_utils(module: ModuleType) -> None:
        observe(module, "ModelEMA.update", stage(recorder, "ema", "train"), recorder.guard)

    def on_backend(module: ModuleType) -> None:
        observe(module, "AutoBackend.__init__", stage(recorder, "load_model"), recorder.guard)
        observe(module, "AutoBackend.warmup", stage(recorder, "warmup"), recorder.guard)

    def on_exporter(module: ModuleType) -> None:
        observe(module, "Exporter.__call__", stage(recorder, "export"), recorder.guard)

    hooks.after("torch.utils.data.dataloader", on_loader)
    for package in PACKAGES:
        hooks.after(package + "utils.ops", on_ops)
        hooks.after(package + "utils.nms", on_nms)
        hooks.after(package + "utils.torch_utils", on_torch_utils)
        hooks.after(package + "engine.exporter", on_exporter)
    for path in ("ultralytics.nn.autobackend", "ultralytics.yolo.nn.autobackend"):
        hooks.after(path, on_backend)


def stage(recorder: Recorder, name: str, *phases: str) -> Enter:
    """Return a hook that shows a call as a nested stage, in these phases only if there are any."""

    def enter(*_args: Any, **_kwargs: Any) -> Leave | None:
        if phases and recorder.session(*phases) is None:
            return None
        return recorder.nested(name)

    return enter


def count(sized: Any) -> int | None:
    """Return the length of what may have none."""
    try:
        return len(sized)
    except TypeError:
        return None


def _next_batch(recorder: Recorder) -> Enter:
    def enter(iterator: Any) -> Leave | None:
        session = recorder.session("train", "val")
        if session is None or session.left == 0:
            # Asking once more after the last batch is how a loop ends.
            return None
        if not session.in_step:
            # The first batch of the pass; later steps begin where the one before ended.
            session.begin_step("dataload")
        elif session.leaf_name == "loop" and not session.batch_began:
            session.leaf("dataload")
        else:
            return None
        session.queue = _ready_batches(iterator)

        def leave(batch: Any) -> None:
            if recorder.session() is session:
                session.leaf("loop")
                session.images = _images(batch)

        return leave

    return enter


def _ready_batches(iterator: Any) -> int | None:
    """Return how many batches the loader's workers have ready; None where there are none."""
    queue = getattr(iterator, "_data_queue", None)
    if queue is None:
        return None
    try:
        waiting: int = queue.qsize()
    except NotImplementedError:
        return None
    # Batches that came before their turn wait here, each with its data behind its worker.
    tasks = getattr(iterator, "_task_info", {})
    return waiting + sum(len(task) > 1 for task in list(tasks.values()))


def _images(batch: Any) -> int | None:
    return count(batch.get("img")) if isinstance(batch, dict) else None


def _in_blocks(recorder: Recorder) -> Session | None:
    session = recorder.session("val", "predict")
    return session if session is not None and session.in_step else None


def _block_begins(recorder: Recorder) -> Enter:
    def enter(_block: Any) -> None:
        session = _in_blocks(recorder)
        if session is not None:
            session.blocks_open += 1
            blocks = _BLOCKS[session.phase]
            if session.blocks_open == 1 and session.timed_blocks < len(blocks):
                session.leaf(blocks[session.timed_blocks][0])

    return enter


def _block_ends(recorder: Recorder) -> Enter:
    def leave(_result: Any) -> None:
        session = _in_blocks(recorder)
        if session is not None and session.blocks_open:
            session.blocks_open -= 1
            blocks = _BLOCKS[session.phase]
            if session.blocks_open == 0 and session.timed_blocks < len(blocks):
                session.leaf(blocks[session.timed_blocks][1])
                session.timed_blocks += 1

    def enter(*_args: Any) -> Leave:
        return leave

    return enter
