"""Taps of loading: what a worker does for a batch, and what the program itself does where it has no workers."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, Callable

from .fetches import FETCH
from .hooks_shared import PACKAGES
from .patching import MARK, Enter, Leave, observe, observe_if_there

if TYPE_CHECKING:
    from types import ModuleType

    from .imports import ImportHooks
    from .recorder import Recorder

_LOAD = "load_image"

_COMPOSE = "Compose"
"""Transforms that only call others; their own time stays with what is around them."""


def register(hooks: ImportHooks, recorder: Recorder) -> None:
    """Tap these modules when the program imports them."""
    taps = {
        "torch.utils.data._utils.fetch": _tap_fetchers,
        "cv2": _tap_reading,
        "torchvision.transforms.transforms": _tap_transforms,
        "ultralytics.utils.patches": _tap_reading,
        "ultralytics.data.loaders": _tap_sources,
        "ultralytics.yolo.data.dataloaders.stream_loaders": _tap_sources,
        **{package + "data.base": _tap_dataset for package in PACKAGES},
        **{package + "data.augment": _tap_transforms for package in PACKAGES},
    }
    for module, tap in taps.items():
        hooks.after(module, functools.partial(tap, recorder))


def _tap_fetchers(recorder: Recorder, module: ModuleType) -> None:
    observe(module, "_BaseDatasetFetcher.__init__", _collate(recorder), recorder.guard)
    for kind in ("_MapDatasetFetcher", "_IterableDatasetFetcher"):
        observe(module, kind + ".fetch", _fetch(recorder), recorder.guard)


def _tap_dataset(recorder: Recorder, module: ModuleType) -> None:
    dataset = getattr(module, "BaseDataset", None)
    if not hasattr(dataset, "load_image"):
        recorder.guard.missing(module.__name__ + ".BaseDataset.load_image")
    _time(dataset, "load_image", recorder, _LOAD)


def _tap_reading(recorder: Recorder, module: ModuleType) -> None:
    """Classification reads its images without a method of its own."""
    for function in ("imread", "imread_unicode"):
        _time(module, function, recorder, _LOAD)


def _tap_transforms(recorder: Recorder, module: ModuleType) -> None:
    for kind in _classes(module):
        for method in ("__call__", "forward"):
            if method in vars(kind) and kind.__name__ != _COMPOSE:
                _time(kind, method, recorder)


def _tap_sources(recorder: Recorder, module: ModuleType) -> None:
    for kind in _classes(module):
        if "__next__" in vars(kind):
            observe_if_there(kind, "__next__", _source(recorder), recorder.guard)


def _classes(module: ModuleType) -> list[type]:
    """Return the classes that a module defines itself."""
    return [kind for kind in vars(module).values() if isinstance(kind, type) and kind.__module__ == module.__name__]


def _fetch(recorder: Recorder) -> Enter:
    def enter(*_args: Any, **_kwargs: Any) -> Leave | None:
        fetches = recorder.fetches
        if fetches.loading:
            return None
        began = fetches.begin(FETCH)
        close = _stage_of_its_own(recorder)

        def leave(result: Any) -> None:
            if began:
                fetches.end(began)
            if close is not None:
                close(result)

        return leave

    return enter


def _stage_of_its_own(recorder: Recorder) -> Leave | None:
    """Show that the program loads a batch itself, instead of waiting for one."""
    session = recorder.session()
    if session is None or session.leaf_name != "dataload":
        return None
    return recorder.nested(FETCH)


def _source(recorder: Recorder) -> Enter:
    def enter(*_args: Any, **_kwargs: Any) -> Leave | None:
        return _stage_of_its_own(recorder)

    return enter


def _collate(recorder: Recorder) -> Enter:
    """Time the fetcher's own collate function: it is the fetcher's alone, and never pickled with it."""

    def enter(fetcher: Any, *_args: Any, **_kwargs: Any) -> Leave:
        def leave(_result: Any) -> None:
            fetcher.collate_fn = _timed(fetcher.collate_fn, "collate", recorder)

        return leave

    return enter


def _time(owner: Any, name: str, recorder: Recorder, record: str | None = None) -> None:
    """Time ``owner.name`` inside a fetch, once, where there is such a thing; by default under its class' name."""
    function = getattr(owner, name, None)
    if callable(function) and not hasattr(function, MARK):
        setattr(owner, name, _timed(function, record, recorder))


def _timed(function: Callable[..., Any], record: str | None, recorder: Recorder) -> Callable[..., Any]:
    """Return ``function`` with a record around it: an `observed` for what is called hundreds of times a batch."""
    guard = recorder.guard

    @functools.wraps(function)
    def timed(*args: Any, **kwargs: Any) -> Any:
        fetches = recorder.fetches
        if guard.tripped or not fetches.loading:
            return function(*args, **kwargs)
        try:
            began = fetches.begin(record or type(args[0]).__name__)
        except Exception as error:
            guard.trip(error)
            began = 0
        if not began:
            return function(*args, **kwargs)
        try:
            return function(*args, **kwargs)
        finally:
            if not guard.tripped:
                try:
                    fetches.end(began)
                except Exception as error:
                    guard.trip(error)

    setattr(timed, MARK, True)
    return timed
