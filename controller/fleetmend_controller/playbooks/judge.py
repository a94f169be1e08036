"""From what pydantic says about a value to problems with a place and a way out."""

from __future__ import annotations

import functools
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from ..rules import Problem
from .text import Document, Path, did_you_mean, shown
from .values import PATTERN_WORDS

M = TypeVar("M", bound=BaseModel)

_WANTED = {
    "string_type": "text: put it in quotes",
    "int_type": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "a mapping of keys to values",
    "model_type": "a mapping of keys to values",
    "model_attributes_type": "a mapping of keys to values",
}


def validate(document: Document, path: Path, model: type[M], problems: list[Problem]) -> M | None:
    """The value at a path as a model; None when it is not one, and then why is added to the problems."""
    node = document.node(path)
    if node is None or node.bad:
        return None
    try:
        return model.model_validate(node.value)
    except ValidationError as error:
        for fault in error.errors(include_url=False):
            problem = _problem(document, _place_of(document, path, fault["loc"]), fault, model)
            if problem is not None:
                problems.append(problem)
    return None


def try_validate(document: Document, path: Path, model: type[M]) -> M | None:
    """As `validate`, where what is wrong was told already."""
    return validate(document, path, model, [])


def _place_of(document: Document, path: Path, location: Path) -> Path:
    """The path of a fault without the tags that stand for members of a union: they are written nowhere."""
    for step in location:
        node = document.node(path)
        tag = isinstance(step, str) and step.startswith("<") and (node is None or step not in node.entries)
        path = path if tag else (*path, step)
    return path


def _problem(document: Document, path: Path, fault: Any, model: type[BaseModel]) -> Problem | None:
    kind = fault["type"]
    if kind == "missing":
        above = document.node(path[:-1])
        # A key that was there but could not be read was told already.
        if above is None or above.bad:
            return None
        where = f" in {dotted(path[:-1])}" if len(path) > 1 else ""
        return document.problem(path[:-1], f"cannot do without {path[-1]}{where}: add it")
    if path[-1:] == ("[key]",):
        return document.problem(
            path[:-1], f"cannot use {shown(path[-2])} as a key of {dotted(path[:-2])}: {_why(fault)}", key=True
        )
    node = document.node(path)
    if node is None or node.bad:
        return None
    if kind == "extra_forbidden":
        known = _known_keys(model, fault["loc"])
        hint = "it does not go with the keys beside it" if path[-1] in known else did_you_mean(str(path[-1]), known)
        return document.problem(path, f"cannot understand the key {shown(path[-1])}: {hint}", key=True)
    if node.has_bad():
        return None
    return document.problem(path, f"cannot use {_given(node.value)} as {dotted(path) or 'rules'}: {_why(fault)}")


def dotted(path: Path) -> str:
    """A path as people say it: steps[2].with.unit."""
    text = ""
    for step in path:
        text += f"[{step + 1}]" if isinstance(step, int) else f".{shown(step)}"
    return text.lstrip(".")


def _given(value: object) -> str:
    if not isinstance(value, str | int | float):
        return "this"
    return shown(value) or "an empty text"


def _why(fault: Any) -> str:
    kind, context = fault["type"], fault.get("ctx") or {}
    if kind in _WANTED:
        return f"it must be {_WANTED[kind]}"
    if kind == "value_error":
        return str(context["error"])
    if kind == "literal_error":
        return f"it must be {context['expected']}"
    if kind == "string_pattern_mismatch":
        return f"it must be {PATTERN_WORDS.get(context['pattern'], 'written like ' + context['pattern'])}"
    words = {
        "greater_than_equal": f"it must be at least {context.get('ge')}",
        "less_than_equal": f"it must be at most {context.get('le')}",
        "string_too_short": "it must not be empty",
        "string_too_long": f"it has more than {context.get('max_length')} characters",
        "too_short": "it must not be empty",
        "too_long": f"it has more than {context.get('max_length')} entries",
    }
    message = str(fault["msg"])
    return words.get(kind, message[:1].lower() + message[1:])


@functools.cache
def _schema_of(model: type[BaseModel]) -> dict[str, Any]:
    return model.model_json_schema(by_alias=True)


def _known_keys(model: type[BaseModel], location: tuple[str | int, ...]) -> list[str]:
    """The keys that a model allows where an unknown one was found."""
    schema = _schema_of(model)
    definitions = schema.get("$defs", {})
    here: dict[str, Any] = schema
    for step in location[:-1]:
        here = _step_into(here, step, definitions)
    return sorted(_resolve(here, definitions).get("properties", {}))


def _step_into(schema: dict[str, Any], step: str | int, definitions: dict[str, Any]) -> dict[str, Any]:
    schema = _resolve(schema, definitions)
    if isinstance(step, int):
        found = schema.get("items", {})
    elif step.startswith("<"):
        # A tag of a union: which member was meant is a guess, so the keys of all of them are known.
        members = [_resolve(member, definitions) for member in schema.get("oneOf", [])]
        found = {"properties": {key: value for member in members for key, value in member.get("properties", {}).items()}}
    else:
        patterns = list(schema.get("patternProperties", {}).values())
        found = schema.get("properties", {}).get(step) or (patterns or [schema.get("additionalProperties")])[0]
    return found if isinstance(found, dict) else {}


def _resolve(schema: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    members = [m for m in schema.get("anyOf", []) if m.get("type") != "null"]
    if len(members) == 1:
        schema = members[0]
    reference = schema.get("$ref", "")
    resolved: dict[str, Any] = definitions.get(reference.rpartition("/")[2], schema) if reference else schema
    return resolved
