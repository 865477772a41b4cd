"""Taps of training: callbacks bound the steps, methods and the criterion bound the stages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .hooks_shared import PACKAGES, count, stage
from .patching import Enter, Leave, observe, observe_hierarchy, observe_if_there

if TYPE_CHECKING:
    from types import ModuleType

    from .imports import ImportHooks
    from .recorder import Recorder, Session

_NESTED = {
    "validate": "validate",
    "save_model": "save",
    "final_eval": "final_eval",
    "plot_training_samples": "plot",
    "plot_training_labels": "plot",
    "plot_metrics": "plot",
}
"""Methods of a trainer and the stages that they are."""


def register(hooks: ImportHooks, recorder: Recorder) -> None:
    """Tap these modules when the program imports them."""

    def on_trainer(module: ModuleType) -> None:
        observe(module, "BaseTrainer._do_train", _training(recorder), recorder.guard)
        observe(module, "BaseTrainer._setup_train", _setup(recorder), recorder.guard)
        observe(module, "BaseTrainer.run_callbacks", _callbacks(recorder), recorder.guard)
        recorder.journal.write("reached", module=module.__name__)

    def on_tensor(module: ModuleType) -> None:
        observe(module, "Tensor.backward", _backward(recorder), recorder.guard)

    def on_models(module: ModuleType) -> None:
        for model in list(vars(module).values()):
            if isinstance(model, type) and "init_criterion" in vars(model):
                observe_if_there(model, "init_criterion", _criterion_made(recorder), recorder.guard)

    hooks.after("torch._tensor", on_tensor)
    hooks.after("ultralytics.nn.tasks", on_models)
    for package in PACKAGES:
        hooks.after(package + "engine.trainer", on_trainer)


def _training(recorder: Recorder) -> Enter:
    def enter(*_args: Any, **_kwargs: Any) -> Leave:
        def leave(_result: Any) -> None:
            recorder.leave_phase("train")

        return leave

    return enter


def _setup(recorder: Recorder) -> Enter:
    def enter(trainer: Any, *_args: Any, **_kwargs: Any) -> Leave | None:
        kind = type(trainer)
        leaves = {
            "preprocess_batch": _leaf(recorder, "preprocess", behind="forward"),
            "optimizer_step": _leaf(recorder, "optimizer", behind="log"),
        }
        others = {method: stage(recorder, name) for method, name in _NESTED.items()}
        # Until 8.0.1xx the trainer was its own criterion.
        others["criterion"] = _loss(recorder)
        for method, enter_method in (*leaves.items(), *others.items()):
            if not observe_hierarchy(kind, method, enter_method, recorder.guard) and method in leaves:
                recorder.guard.missing(f"{kind.__name__}.{method}")
        return recorder.nested("setup")

    return enter


def _leaf(recorder: Recorder, name: str, behind: str) -> Enter:
    """Show a method as a leaf of the training step, and what follows it as ``behind``."""

    def enter(*_args: Any, **_kwargs: Any) -> Leave | None:
        session = recorder.session("train")
        if session is None or not session.in_step or session.leaf_name == name:
            return None
        session.leaf(name)

        def leave(_result: Any) -> None:
            if recorder.session() is session:
                session.leaf(behind)

        return leave

    return enter


def _loss(recorder: Recorder) -> Enter:
    """Begin the loss with the criterion's call; it lasts until backward, sums included."""

    def enter(*_args: Any, **_kwargs: Any) -> None:
        session = recorder.session("train")
        if session is not None and session.leaf_name == "forward":
            session.leaf("loss")

    return enter


def _criterion_made(recorder: Recorder) -> Enter:
    def leave(criterion: Any) -> None:
        if criterion is not None:
            observe_if_there(type(criterion), "__call__", _loss(recorder), recorder.guard)

    def enter(*_args: Any, **_kwargs: Any) -> Leave:
        return leave

    return enter


def _backward(recorder: Recorder) -> Enter:
    def enter(*_args: Any, **_kwargs: Any) -> Leave | None:
        session = recorder.session("train")
        if session is None or session.leaf_name not in ("forward", "loss"):
            return None
        session.leaf("backward")

        def leave(_result: Any) -> None:
            if recorder.session() is session:
                session.leaf("log")

        return leave

    return enter


def _callbacks(recorder: Recorder) -> Enter:
    def enter(trainer: Any, event: str, *_args: Any, **_kwargs: Any) -> Leave | None:
        session = recorder.session("train")
        if event == "on_train_start":
            _tell_about(recorder, trainer)
        elif event == "on_train_epoch_start":
            return lambda _result: _epoch_begins(recorder, trainer)
        elif event == "on_train_epoch_end":
            recorder.leave_phase("train")
        elif session is not None and event == "on_train_batch_start":
            return _batch_begins(session)
        elif session is not None and event == "on_train_batch_end":
            return _batch_ends(session, trainer)
        return recorder.nested("callbacks")

    return enter


def _tell_about(recorder: Recorder, trainer: Any) -> None:
    recorder.tell_arguments("train", trainer)
    epochs, close_mosaic = trainer.epochs, getattr(trainer.args, "close_mosaic", 0)
    if getattr(trainer.args, "mosaic", 0) and epochs <= close_mosaic:
        recorder.journal.write(
            "note",
            text=f"trained without mosaic: epochs={epochs} is not more than "
            f"close_mosaic={close_mosaic}; a longer run loads its images differently",
        )
    model = getattr(trainer.model, "module", trainer.model)
    observe_hierarchy(type(model), "init_criterion", _criterion_made(recorder), recorder.guard)


def _epoch_begins(recorder: Recorder, trainer: Any) -> None:
    # An epoch that ran out of memory is begun again without having ended.
    recorder.leave_phase("train")
    session = recorder.enter("train")
    loader = trainer.train_loader
    session.model = trainer.model
    session.left = count(loader)
    session.passes_left = trainer.epochs - trainer.epoch - 1
    session.batch = getattr(loader, "batch_size", None) or trainer.batch_size
    session.prefetch = getattr(loader, "prefetch_factor", None)
    session.queue_capacity = loader.num_workers * (session.prefetch or 0)
    session.note_optimizer(_interval(trainer))


def _interval(trainer: Any) -> int:
    return max(1, int(getattr(trainer, "accumulate", 1)))


def _batch_begins(session: Session) -> Leave:
    if not session.in_step:
        session.begin_step("loop")
    session.batch_began = True
    session.leaf("callbacks")
    return lambda _result: session.leaf("loop")


def _batch_ends(session: Session, trainer: Any) -> Leave:
    session.leaf("callbacks")

    def leave(_result: Any) -> None:
        session.note_optimizer(_interval(trainer))
        session.end_step()
        if session.left:
            session.begin_step("loop")

    return leave
