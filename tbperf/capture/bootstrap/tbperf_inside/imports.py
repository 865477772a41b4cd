"""Calls back after the program imports a module, without importing anything itself."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any, Callable

if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec

    from .guard import Guard

Callback = Callable[[ModuleType], None]


class ImportHooks:
    """Leads ``sys.meta_path``: lets the other finders work, adds a step behind their loader's."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        self._callbacks: dict[str, list[Callback]] = {}
        self._searching: set[str] = set()

    def install(self) -> None:
        """Watch the imports from now on."""
        sys.meta_path.insert(0, self)

    def after(self, module_name: str, callback: Callback) -> None:
        """Run ``callback(module)`` once ``module_name`` is imported, now if it is already."""
        module = sys.modules.get(module_name)
        if module is not None:
            self._guard(callback, module)
        else:
            self._callbacks.setdefault(module_name, []).append(callback)

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """Find a watched module through the other finders; no other is our business."""
        if name not in self._callbacks or name in self._searching or self._guard.tripped:
            return None
        self._searching.add(name)
        try:
            spec = self._spec_of_the_others(name, path, target)
        finally:
            self._searching.discard(name)
        if spec is not None and spec.loader is not None:
            self._guard(self._call_back_after_execution, name, spec.loader)
        return spec

    def _spec_of_the_others(self, name: str, path: Any, target: Any) -> ModuleSpec | None:
        for finder in sys.meta_path:
            find_spec = getattr(finder, "find_spec", None)
            if finder is not self and find_spec is not None:
                spec: ModuleSpec | None = find_spec(name, path, target)
                if spec is not None:
                    return spec
        return None

    def _call_back_after_execution(self, name: str, loader: Any) -> None:
        execute = loader.exec_module

        def exec_module(module: ModuleType) -> None:
            execute(module)
            for callback in self._callbacks.pop(name, ()):
                self._guard(callback, module)

        # On the instance, so that the loader keeps its type, which others look at.
        loader.exec_module = exec_module
