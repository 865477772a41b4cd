"""Taps of validation: callbacks bound the steps; timed blocks the stages (hooks_shared)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .hooks_shared import PACKAGES, count
from .modules import Compiled
from .patching import Enter, Leave, observe, observe_hierarchy

if TYPE_CHECKING:
    from types import ModuleType

    from .imports import ImportHooks
    from .recorder import Recorder, Session


def register(hooks: ImportHooks, recorder: Recorder) -> None:
    """Tap this module when the program imports it."""

    def on_validator(module: ModuleType) -> None:
        observe(module, "BaseValidator.__call__", _validation(recorder), recorder.guard)
        observe(module, "BaseValidator.run_callbacks", _callbacks(recorder), recorder.guard)
        recorder.journal.write("reached", module=module.__name__)

    for package in PACKAGES:
        hooks.after(package + "engine.validator", on_validator)


def _validation(recorder: Recorder) -> Enter:
    def enter(validator: Any, *_args: Any, **_kwargs: Any) -> Leave:
        session = recorder.enter("val")
        kind = type(validator)
        if not observe_hierarchy(kind, "init_metrics", _model_known(recorder), recorder.guard):
            recorder.guard.missing(f"{kind.__name__}.init_metrics")
        return lambda _result: session.leave()

    return enter


def _model_known(recorder: Recorder) -> Enter:
    """Learn which model runs: that of a training's EMA, or one that was loaded; nothing else keeps it."""

    def enter(validator: Any, model: Any, *_args: Any, **_kwargs: Any) -> None:
        session = recorder.session("val")
        if session is not None:
            # What is passed here was taken out of the compiled module around it.
            compiled = not validator.training and getattr(validator.args, "compile", False)
            session.model = Compiled() if compiled else model

    return enter


def _callbacks(recorder: Recorder) -> Enter:
    def enter(validator: Any, event: str, *_args: Any, **_kwargs: Any) -> Leave | None:
        session = recorder.session("val")
        if session is None:
            return recorder.nested("callbacks")
        if event == "on_val_start":
            _learn(session, validator)
            if not validator.training:
                recorder.tell_arguments("val", validator)
        elif event == "on_val_batch_start":
            if not session.in_step:
                session.begin_step("loop")
            session.batch_began = True
            session.leaf("callbacks")
            return lambda _result: session.leaf("loop")
        elif event == "on_val_batch_end":
            session.leaf("callbacks")
            return lambda _result: _batch_ends(session, validator)
        return recorder.nested("callbacks")

    return enter


def _learn(session: Session, validator: Any) -> None:
    loader = validator.dataloader
    session.left = count(loader)
    session.batch = getattr(loader, "batch_size", None)
    session.prefetch = getattr(loader, "prefetch_factor", None)


def _batch_ends(session: Session, validator: Any) -> None:
    if session.left is None:
        # Before 8.1 a validation inside a training did not announce its start.
        _learn(session, validator)
        if session.left is not None:
            session.left -= session.passed
    session.end_step()
    if session.left:
        session.begin_step("loop")
