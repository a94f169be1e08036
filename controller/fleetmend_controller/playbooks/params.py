"""Parameters of checks and actions against the catalogue, each problem at its place."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from fleetmend.catalogue import ActionSpec, CheckSpec, ParamSpec
from fleetmend.catalogue import validate as validate_values

from ..rules import Problem
from .judge import dotted
from .text import Document, Path, did_you_mean, shown
from .values import duration_ms, size_bytes

# Kind of a parameter to kinds of finding fields that fit it as a whole value.
_FITS = {
    "text": ("text",),
    "integer": ("integer", "duration_ms", "size_bytes"),
    "duration_ms": ("duration_ms",),
    "size_bytes": ("size_bytes",),
    "number": ("number", "integer"),
    "flag": ("flag",),
}
_PYTHON: dict[str, tuple[type, ...]] = {
    "text": (str,),
    "integer": (int,),
    "number": (int, float),
    "flag": (bool,),
    "text_list": (list,),
}
_WRITTEN = {
    "text": "text: put it in quotes",
    "integer": "a whole number",
    "number": "a number",
    "flag": "true or false",
    "text_list": "a list of texts",
}
_PLACEHOLDER = re.compile(r"\{finding\.([A-Za-z0-9_]+)\}")
_LOOKS_LIKE_TEMPLATE = re.compile(r"\{\{|\{\s*(finding|host|check|declared|status|summary)\b")

Finding = Mapping[str, str]
# Stands for a finding that is not known because something else is wrong.
ANY_FINDING: Finding = {"*": ""}


def read_params(
    document: Document, path: Path, spec: CheckSpec | ActionSpec, problems: list[Problem], finding: Finding | None = None
) -> dict[str, Any]:
    """The parameters that stand under `path`.`with`, as they travel.

    With `finding` (field to kind), `{finding.x}` may stand for a whole value; with ANY_FINDING, whatever x is.
    """
    at = (*path, "with")
    node = document.node(at)
    given = node.entries if node is not None else {}
    by_name = {param.name: param for param in spec.params}
    values: dict[str, Any] = {}
    for name, child in given.items():
        param = by_name.get(name)
        if param is None:
            problems.append(document.problem((*at, name), _unknown(name, spec.name, by_name), key=True))
        elif not child.bad:
            _read_one(document, (*at, name), param, problems, finding, values)
    for param in spec.params:
        if param.required and param.name not in given and not (node is not None and node.bad):
            text = f"cannot do without the parameter {param.name} of {spec.name}: {param.doc or 'add it'}"
            problems.append(document.problem(at if node is not None else path, text))
    return values


def with_defaults(spec: CheckSpec, values: Mapping[str, Any]) -> dict[str, Any]:
    """The values, and the defaults of those that were left away."""
    defaults = {param.name: param.default for param in spec.params if param.default is not None}
    return {**defaults, **values}


def _read_one(
    document: Document, path: Path, param: ParamSpec, problems: list[Problem], finding: Finding | None, values: dict[str, Any]
) -> None:
    node = document.node(path)
    value = None if node is None else node.value
    if isinstance(value, str) and _LOOKS_LIKE_TEMPLATE.search(value):
        fault = _placeholder_fault(value, param, finding)
        if fault:
            problems.append(document.problem(path, f"cannot use {shown(value)} as {param.name}: {fault}"))
        else:
            values[param.name] = value
        return
    fault = kind_fault(param.kind, value)
    if fault:
        problems.append(document.problem(path, f"cannot use {shown(value)} as {dotted(path)}: {fault}"))
        return
    read, errors = validate_values([param], {param.name: value})
    problems.extend(document.problem(path, error) for error in errors)
    values.update(read)


def kind_fault(kind: str, value: object) -> str:
    """Why a value in YAML is not of a parameter's kind; empty if it is. Stricter than a command line, where all is text."""
    try:
        if kind == "duration_ms":
            duration_ms(value)
        elif kind == "size_bytes":
            size_bytes(value)
        elif not isinstance(value, _PYTHON[kind]) or (isinstance(value, bool) and kind != "flag"):
            return f"it must be {_WRITTEN[kind]}"
        elif isinstance(value, list) and not all(isinstance(item, str) for item in value):
            return "it must be a list of texts: put each in quotes"
    except ValueError as error:
        return str(error)
    return ""


def _placeholder_fault(value: str, param: ParamSpec, finding: Finding | None) -> str:
    if finding is None:
        return "a check's parameters know no finding"
    found = _PLACEHOLDER.fullmatch(value)
    if found is None:
        return "only {finding.<field>} as the whole value is replaced; there is no templating"
    if finding is ANY_FINDING:
        return ""
    field = found[1]
    if field not in finding:
        return f"the finding has no field {field}; {did_you_mean(field, finding)}"
    if finding[field] not in _FITS.get(param.kind, ()):
        return f"finding.{field} is {finding[field]}, the parameter is {param.kind}"
    return ""


def _unknown(name: str, owner: str, by_name: Mapping[str, ParamSpec]) -> str:
    return f"cannot understand the parameter {shown(name)} of {owner}: {did_you_mean(name, by_name)}"
