"""The JSON Schemas of what `render_json` writes, made from the dataclasses that it writes."""

from __future__ import annotations

import ast
import inspect
import itertools
import textwrap
import types
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, Union, get_args, get_origin, get_type_hints, is_typeddict

from tbperf.comparison import Comparison
from tbperf.history import History
from tbperf.report import Report

_PLAIN = {int: "integer", float: "number", str: "string", bool: "boolean", type(None): "null"}


DOCUMENTS: Mapping[str, type[Any]] = {"report": Report, "compare": Comparison, "history": History}
"""By name of the file in docs/ that holds the schema: docs/NAME.schema.json."""


def json_schema(document: type[Any] = Report) -> dict[str, Any]:
    """Return the schema of a document that `render_json` writes."""
    definitions: dict[str, Any] = {}
    root = _object(document, definitions)
    schema = next(field.default for field in fields(document) if field.name == "schema")
    root["properties"]["schema"] = {"const": schema}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": schema,
        **root,
        "$defs": dict(sorted(definitions.items())),
    }


def _object(of: type[Any], definitions: dict[str, Any]) -> dict[str, Any]:
    hints, prose = get_type_hints(of), _prose(of)
    properties = {
        field.name: _of(hints[field.name], definitions)
        | ({"description": prose[field.name]} if field.name in prose else {})
        for field in fields(of)
    }
    return {
        "type": "object",
        "description": " ".join((of.__doc__ or "").split()),
        "properties": properties,
        "required": [field.name for field in fields(of) if field.default is MISSING or field.name == "schema"],
    }


def _of(annotation: Any, definitions: dict[str, Any]) -> dict[str, Any]:  # noqa: PLR0911 - one return a sort of type
    if annotation is Any:
        return {}
    if annotation in _PLAIN:
        return {"type": _PLAIN[annotation]}
    if is_typeddict(annotation):
        hints = get_type_hints(annotation)
        properties = {name: _of(hint, definitions) for name, hint in hints.items()}
        return {"type": "object", "properties": properties, "required": list(properties)}
    if is_dataclass(annotation) and isinstance(annotation, type):
        name = annotation.__name__
        if name not in definitions:
            definitions[name] = {}
            definitions[name] = _object(annotation, definitions)
        return {"$ref": f"#/$defs/{name}"}
    origin, args = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        return {"anyOf": [_of(arg, definitions) for arg in args]}
    if inspect.isclass(origin) and issubclass(origin, Mapping):
        return {"type": "object", "additionalProperties": _of(args[1], definitions)}
    if inspect.isclass(origin) and issubclass(origin, tuple):
        if len(args) == 1 or args[1:] == (...,):
            return {"type": "array", "items": _of(args[0], definitions)}
        items = [_of(arg, definitions) for arg in args]
        return {"type": "array", "prefixItems": items, "minItems": len(items), "maxItems": len(items)}
    raise TypeError(f"no schema for {annotation!r}")


def _prose(of: type[Any]) -> dict[str, str]:
    """Return what stands in quotes under each field."""
    (definition,) = ast.parse(textwrap.dedent(inspect.getsource(of))).body
    found = {}
    body = getattr(definition, "body", [])
    for statement, following in itertools.pairwise(body):
        if isinstance(statement, ast.AnnAssign) and isinstance(following, ast.Expr):
            target, value = statement.target, following.value
            if isinstance(target, ast.Name) and isinstance(value, ast.Constant) and isinstance(value.value, str):
                found[target.id] = " ".join(value.value.split())
    return found
