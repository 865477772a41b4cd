"""Shows the calls of the model's modules as ranges, while a window is captured."""

from __future__ import annotations

import functools
from threading import get_ident
from typing import TYPE_CHECKING, Any, Callable, Iterator, Tuple

if TYPE_CHECKING:
    from .guard import Guard
    from .windows import Owner

PREFIX = "tbperf/module:"
"""Followed by the path, the class and, where the model tells it, the part: ``model.22 Detect (head)``."""

_PARALLEL = ("DistributedDataParallel", "DataParallel")
_COMPILED = "it is compiled (torch.compile)"

_Found = Iterator[Tuple[str, Any]]


class Compiled:
    """Stands for a compiled model where only the module inside it is at hand."""


class NoModulesError(Exception):
    """The model's modules cannot be shown; says why."""


class ModuleCalls:
    """Wraps ``__call__`` of the classes of some modules, and only between `begin` and `end`.

    torch's global hooks put each call of each module on a slow path, and YOLOv8n makes 270 calls a step: with them, the
    same ranges cost three times as much.  What is wrapped here are the calls of the watched classes, about 90.
    """

    def __init__(self, guard: Guard, journal: Callable[..., None], which: str) -> None:
        self._guard = guard
        self._journal = journal
        self._find = {"every": _every_module, "layers": _layers}.get(which)
        self._wrapped: list[tuple[type, Any]] = []
        self._watched: dict[int, tuple[str, Any]] = {}
        """By identity: the name of its range, and the module, so that it lives as long as its number counts."""
        self._told: set[str] = set()

    def begin(self, owner: Owner) -> None:
        """Show the calls of this pass' model from now on; tell once a phase why where that cannot be."""
        self.end()
        if self._find is None:
            return
        try:
            bare = unwrapped(owner.model)
            _refuse_compiled(bare)
        except NoModulesError as reason:
            if owner.phase not in self._told:
                self._told.add(owner.phase)
                self._journal("note", text=f"the layers of the model of {owner.phase} are not shown: {reason}")
            return
        part_of = _parts(bare)
        self._watched = {
            id(module): (PREFIX + _title(path, module, part_of(path)), module) for path, module in self._find(bare)
        }
        # All that is wrapped is looked up first: a class inherits what is put on its parent.
        calls = {kind: kind.__call__ for kind in {type(module) for _, module in self._watched.values()}}
        for kind, call in calls.items():
            own, shown = vars(kind).get("__call__"), self._shown(call, owner)
            kind.__call__ = shown
            self._wrapped.append((kind, own))

    def end(self) -> None:
        """Leave the classes as they were."""
        while self._wrapped:
            kind, own = self._wrapped.pop()
            if own is None:
                del kind.__call__
            else:
                kind.__call__ = own  # type: ignore[method-assign]
        self._watched = {}

    def _shown(self, call: Callable[..., Any], owner: Owner) -> Callable[..., Any]:
        """Return ``call`` with a range around it where the module is watched, and it is the pass' own call.

        Called some thirty times a step: nothing of ours lies between it and what opens the range.
        """
        watched, guard = self._watched, self._guard
        enter, leave = owner.ranges.shortest()

        @functools.wraps(call)
        def __call__(module: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N807
            found = watched.get(id(module))
            if found is None or owner.running_on != get_ident():
                return call(module, *args, **kwargs)
            try:
                token = None if guard.tripped else enter(found[0])
            except Exception as error:
                guard.trip(error)
                token = None
            try:
                return call(module, *args, **kwargs)
            finally:
                # Also after a failure of ours: what was opened for NVTX is popped.
                if token is not None:
                    try:
                        leave(token)
                    except Exception as error:
                        if not guard.tripped:
                            guard.trip(error)

        return __call__


def unwrapped(model: Any) -> Any:
    """Return the module inside of what makes it parallel or loads it."""
    from torch.nn import Module

    while True:
        kind = type(model).__name__
        if kind in _PARALLEL:
            model = model.module
        elif kind == "AutoBackend":
            model = getattr(model, "model", None)
        else:
            break
    if model is None:
        raise NoModulesError("there is none")
    if isinstance(model, Compiled):
        raise NoModulesError(_COMPILED)
    if not isinstance(model, Module):
        raise NoModulesError(f"{kind} is no torch module")
    return model


def _refuse_compiled(model: Any) -> None:
    """A compiled module would be compiled anew, with our wrapper in it; a script calls no Python."""
    from torch.jit import ScriptModule

    for module in model.modules():
        if isinstance(module, ScriptModule):
            raise NoModulesError("it is a TorchScript module")
        if type(module).__name__ == "OptimizedModule" or getattr(module, "_compiled_call_impl", None) is not None:
            raise NoModulesError(_COMPILED)
        if hasattr(vars(module).get("forward"), "_torchdynamo_orig_callable"):
            raise NoModulesError(_COMPILED)


def _body(model: Any) -> tuple[str, Any]:
    """Return the path and the module that holds the layers: Ultralytics keeps them in ``model.model``."""
    from torch.nn import Module

    inner = getattr(model, "model", None)
    return ("model.", inner) if isinstance(inner, Module) and any(inner.children()) else ("", model)


def _layers(model: Any) -> _Found:
    """Yield the path of each layer, and of the parts of the last one, the head."""
    prefix, body = _body(model)
    last: tuple[str, Any] | None = None
    for last in _called(prefix, body):
        yield last
    if last is not None:
        yield from _called(last[0] + ".", last[1])


def _called(prefix: str, module: Any) -> _Found:
    """Yield the children that can be called: of lists, which cannot, their items."""
    from torch.nn import ModuleDict, ModuleList

    for name, child in module.named_children():
        if isinstance(child, (ModuleDict, ModuleList)):
            yield from _called(f"{prefix}{name}.", child)
        else:
            yield prefix + name, child


def _every_module(model: Any) -> _Found:
    return ((path, module) for path, module in model.named_modules() if path)


def _parts(model: Any) -> Callable[[str], str]:
    """Return what tells backbone, neck and head by the path, if the model's description tells them apart."""
    description = getattr(model, "yaml", None)
    prefix, body = _body(model)
    if not isinstance(description, dict) or not prefix:
        return lambda _path: ""
    backbone, rest = (description.get(part) for part in ("backbone", "head"))
    if not isinstance(backbone, list) or not isinstance(rest, list):
        return lambda _path: ""
    if len(backbone) + len(rest) != len(list(body.children())):
        return lambda _path: ""

    def part_of(path: str) -> str:
        index = path[len(prefix) :].partition(".")[0]
        if not path.startswith(prefix) or not index.isdigit():
            return ""
        if int(index) < len(backbone):
            return "backbone"
        return "neck" if int(index) < len(backbone) + len(rest) - 1 else "head"

    return part_of


def _title(path: str, module: Any, part: str) -> str:
    return f"{path} {type(module).__name__}" + (f" ({part})" if part else "")
