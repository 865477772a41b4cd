"""Taps of loading: what a worker does for a batch, and what the program itself does where it has no workers."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, Callable

from .fetches import FETCH
from .hooks_shared import PACKAGES
from .patching import Enter, Leave, observe, observe_if_there, observed

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
    observe(module, "BaseDataset.load_image", _load(recorder), recorder.guard)


def _tap_reading(recorder: Recorder, module: ModuleType) -> None:
    """Classification reads its images without a method of its own."""
    for function in ("imread", "imread_unicode"):
        observe_if_there(module, function, _load(recorder), recorder.guard)


def _tap_transforms(recorder: Recorder, module: ModuleType) -> None:
    for kind in _classes(module):
        for method in ("__call__", "forward"):
            if method in vars(kind) and kind.__name__ != _COMPOSE:
                observe_if_there(kind, method, _transform(recorder), recorder.guard)


def _tap_sources(recorder: Recorder, module: ModuleType) -> None:
    for kind in _classes(module):
        if "__next__" in vars(kind):
            observe_if_there(kind, "__next__", _source(recorder), recorder.guard)


def _classes(module: ModuleType) -> list[type]:
    """Return the classes that a module defines itself."""
    return [kind for kind in vars(module).values() if isinstance(kind, type) and kind.__module__ == module.__name__]


def _fetch(recorder: Recorder) -> Enter:
    def enter(*_args: Any, **_kwargs: Any) -> Leave | None:
        if recorder.fetches.innermost is not None:
            return None
        end = recorder.fetches.begin(FETCH)
        close = _stage_of_its_own(recorder)
        return _both(end, close) if close is not None else end

    return enter


def _both(end: Leave, close: Leave) -> Leave:
    def leave(result: Any) -> None:
        end(result)
        close(result)

    return leave


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
            fetcher.collate_fn = observed(
                fetcher.collate_fn, _inside_a_fetch(recorder, _named("collate")), recorder.guard
            )

        return leave

    return enter


def _load(recorder: Recorder) -> Enter:
    def name(*_args: Any) -> str | None:
        return None if recorder.fetches.innermost == _LOAD else _LOAD

    return _inside_a_fetch(recorder, name)


def _transform(recorder: Recorder) -> Enter:
    def name(transform: Any, *_args: Any) -> str | None:
        kind = type(transform).__name__
        # A subclass that calls its parent's method is one transform.
        return None if recorder.fetches.innermost == kind else kind

    return _inside_a_fetch(recorder, name)


def _named(name: str) -> Callable[..., str]:
    return lambda *_args: name


def _inside_a_fetch(recorder: Recorder, name_of: Callable[..., str | None]) -> Enter:
    def enter(*args: Any, **_kwargs: Any) -> Leave | None:
        fetches = recorder.fetches
        if fetches.innermost is None:
            return None
        name = name_of(*args)
        return None if name is None else fetches.begin(name)

    return enter
