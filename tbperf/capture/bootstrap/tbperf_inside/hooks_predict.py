"""Taps of prediction: the results' generator bounds the steps, callbacks and blocks the stages.

A step lasts from asking for a batch until the caller has taken its last result: what the caller
does with the results (``consumer``) is part of what a batch costs.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, Callable, Generator

from .hooks_shared import PACKAGES, count
from .patching import Enter, Leave, observe

if TYPE_CHECKING:
    from types import ModuleType

    from .imports import ImportHooks
    from .recorder import Recorder, Session


def register(hooks: ImportHooks, recorder: Recorder) -> None:
    """Tap this module when the program imports it."""

    def on_predictor(module: ModuleType) -> None:
        predictor = getattr(module, "BasePredictor", None)
        results = getattr(predictor, "stream_inference", None)
        if predictor is None or results is None:
            recorder.guard.missing(module.__name__ + ".BasePredictor.stream_inference")
            return
        predictor.stream_inference = _streaming(results, recorder)
        observe(module, "BasePredictor.run_callbacks", _callbacks(recorder), recorder.guard)
        recorder.journal.write("reached", module=module.__name__)

    for package in PACKAGES:
        hooks.after(package + "engine.predictor", on_predictor)


def _streaming(function: Callable[..., Any], recorder: Recorder) -> Callable[..., Any]:
    """Wrap the generator of results; the caller sees the same results, exceptions and end."""

    @functools.wraps(function)
    def stream_inference(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        results = function(*args, **kwargs)
        session = recorder.guard(recorder.enter, "predict")
        if session is None:
            return (yield from results)
        try:
            advance = functools.partial(next, results)
            while True:
                try:
                    result = advance()
                except StopIteration as end:
                    return end.value
                recorder.guard(_taken, session)
                try:
                    advance = functools.partial(results.send, (yield result))
                except GeneratorExit:
                    results.close()
                    raise
                except BaseException as error:
                    advance = functools.partial(results.throw, error)
                recorder.guard(_asked_again, session)
        finally:
            recorder.guard(session.leave)

    return stream_inference


def _taken(session: Session) -> None:
    """Leave the thread to the caller, who may go on with another prediction, or ask again on another thread."""
    session.leaf("consumer")
    session.suspend()


def _asked_again(session: Session) -> None:
    session.resume()
    session.unconsumed -= 1
    if session.unconsumed > 0 or not session.batch_over:
        session.leaf("loop")
    else:
        _next_step(session)


def _next_step(session: Session) -> None:
    session.end_step()
    if session.left is None or session.left > 0:
        session.begin_step("dataload")


def _callbacks(recorder: Recorder) -> Enter:
    def enter(predictor: Any, event: str, *_args: Any, **_kwargs: Any) -> Leave | None:
        session = recorder.session("predict")
        if session is None:
            return recorder.nested("callbacks")
        if event == "on_predict_start":
            return lambda _result: _begin(recorder, session, predictor)
        if event == "on_predict_batch_start":
            if session.batch_began or not session.in_step:
                # Embeddings skip the end of their batch.
                _next_step(session)
            session.batch_began = True
            session.images = _images(predictor)
            session.leaf("callbacks")
            return lambda _result: session.leaf("loop")
        if event == "on_predict_postprocess_end":
            tracks = getattr(predictor.args, "mode", "") == "track"
            session.leaf("track" if tracks else "callbacks")
            return lambda _result: session.leaf("write")
        if event == "on_predict_batch_end":
            session.leaf("callbacks")
            return lambda _result: _batch_over(session, predictor)
        return recorder.nested("callbacks")

    return enter


def _begin(recorder: Recorder, session: Session, predictor: Any) -> None:
    recorder.tell_arguments("predict", predictor)
    session.left = _batches(predictor)
    session.batch = getattr(predictor.dataset, "bs", None)
    session.model = predictor.model
    session.begin_step("dataload")


def _batches(predictor: Any) -> int | None:
    """Return the number of batches where it is certain: not of videos and streams."""
    source, dataset = getattr(predictor, "source_type", None), predictor.dataset
    if getattr(source, "from_img", False) or getattr(source, "tensor", False):
        return 1
    files = getattr(dataset, "nf", None)
    return count(dataset) if files and files == getattr(dataset, "ni", None) else None


def _images(predictor: Any) -> int | None:
    """Return the images of a batch; before 8.1 it is not there yet when the batch begins."""
    batch = getattr(predictor, "batch", None)
    return count(batch[0]) if batch else None


def _batch_over(session: Session, predictor: Any) -> None:
    session.leaf("loop")
    session.batch_over = True
    session.images = _images(predictor)
    session.unconsumed = count(predictor.results) or 0
    if not session.unconsumed:
        _next_step(session)
