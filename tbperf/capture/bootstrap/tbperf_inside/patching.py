"""Wraps functions where classes and modules keep them: nothing is ever put on an instance."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, Callable, Optional

if TYPE_CHECKING:
    from .guard import Guard

Leave = Callable[[Any], None]
"""Called with what the wrapped function returned, or None where it raised."""

Enter = Callable[..., Optional[Leave]]
"""Called with the wrapped function's own arguments, before it runs."""

MARK = "__tbperf_wrapped__"


def observed(function: Callable[..., Any], enter: Enter, guard: Guard) -> Callable[..., Any]:
    """Return ``function`` with ``enter`` before it and what ``enter`` returned behind it."""

    @functools.wraps(function)
    def observer(*args: Any, **kwargs: Any) -> Any:
        leave = guard(enter, *args, **kwargs)
        if leave is None:
            return function(*args, **kwargs)
        result = None
        try:
            result = function(*args, **kwargs)
            return result
        finally:
            guard(leave, result)

    setattr(observer, MARK, True)
    return observer


def observe(owner: Any, path: str, enter: Enter, guard: Guard) -> None:
    """Observe ``owner.path``, once; what a class or module does not have is told, and the rest goes on."""
    if not observe_if_there(owner, path, enter, guard):
        guard.missing(f"{owner.__name__}.{path}")


def observe_if_there(owner: Any, path: str, enter: Enter, guard: Guard) -> bool:
    """Observe ``owner.path``, once; return whether there is such a thing: not every version has it."""
    *above, name = path.split(".")
    for part in above:
        owner = getattr(owner, part, None)
    function = getattr(owner, name, None)
    if not callable(function):
        return False
    if not hasattr(function, MARK):
        setattr(owner, name, observed(function, enter, guard))
    return True


def observe_hierarchy(cls: type, name: str, enter: Enter, guard: Guard) -> bool:
    """Observe each definition of ``name`` in the hierarchy: overrides need not call parents."""
    found = False
    for base in cls.__mro__:
        if name in vars(base) and base is not object:
            found |= observe_if_there(base, name, enter, guard)
    return found
