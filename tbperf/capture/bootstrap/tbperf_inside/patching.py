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

_MARK = "__tbperf_wrapped__"


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

    setattr(observer, _MARK, True)
    return observer


def observe(owner: Any, name: str, enter: Enter, guard: Guard) -> None:
    """Observe ``owner.name``, once; an owner (class or module) without it is left as it is."""
    function = getattr(owner, name, None)
    if callable(function) and not hasattr(function, _MARK):
        setattr(owner, name, observed(function, enter, guard))


def observe_hierarchy(cls: type, name: str, enter: Enter, guard: Guard) -> None:
    """Observe each definition of ``name`` in the hierarchy: overrides need not call parents."""
    for base in cls.__mro__:
        if name in vars(base) and base is not object:
            observe(base, name, enter, guard)
