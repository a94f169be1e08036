"""As much of JSON Schema as the schemas of rule files use. A keyword that it does not know is an error, never ignored."""

import re
from collections.abc import Mapping
from typing import Any

_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
}
_REMARKS = {"$schema", "$defs", "title", "description", "default", "examples", "then"}


def faults(value: Any, schema: Mapping[str, Any], root: Mapping[str, Any] | None = None, path: str = "$") -> list[str]:
    """What the value breaks, with its place; empty if the schema accepts it."""
    root = schema if root is None else root
    found = []
    for keyword, rule in schema.items():
        if keyword in _REMARKS:
            continue
        found += [f"{path}: {fault}" for fault in _KEYWORDS[keyword](value, rule, schema)] if keyword in _KEYWORDS else []
        found += _nested(keyword, value, rule, schema, root, path)
    return found


def _nested(keyword: str, value: Any, rule: Any, schema: Mapping[str, Any], root: Mapping[str, Any], path: str) -> list[str]:
    """The keywords that look at schemas inside."""
    if keyword in _KEYWORDS:
        return []
    if keyword == "$ref":
        return faults(value, root["$defs"][rule.rpartition("/")[2]], root, path)
    if keyword == "allOf":
        return [fault for each in rule for fault in faults(value, each, root, path)]
    if keyword in {"anyOf", "oneOf"}:
        fitting = sum(not faults(value, each, root, path) for each in rule)
        return [] if fitting == 1 or (fitting and keyword == "anyOf") else [f"{path}: fits {fitting} of {len(rule)}"]
    if keyword == "if":
        return faults(value, schema["then"], root, path) if not faults(value, rule, root, path) else []
    if keyword == "items":
        return (
            [f for n, item in enumerate(value) for f in faults(item, rule, root, f"{path}[{n}]")]
            if isinstance(value, list)
            else []
        )
    if keyword in {"properties", "patternProperties", "additionalProperties"}:
        return _members(keyword, value, rule, schema, root, path)
    raise NotImplementedError(keyword)


def _members(keyword: str, value: Any, rule: Any, schema: Mapping[str, Any], root: Mapping[str, Any], path: str) -> list[str]:
    if not isinstance(value, dict):
        return []
    if keyword == "properties":
        return [f for name, each in rule.items() if name in value for f in faults(value[name], each, root, f"{path}.{name}")]
    if keyword == "patternProperties":
        return [f for each, n in _by_pattern(value, rule) for f in faults(value[n], each, root, f"{path}.{n}")]
    known = {*schema.get("properties", {}), *(name for _, name in _by_pattern(value, schema.get("patternProperties", {})))}
    others = [name for name in value if name not in known]
    if isinstance(rule, dict):
        return [f for name in others for f in faults(value[name], rule, root, f"{path}.{name}")]
    return [] if rule else [f"{path}: {name} is unknown" for name in others]


def _by_pattern(value: Mapping[str, Any], patterns: Mapping[str, Any]) -> list[tuple[Any, str]]:
    return [(each, name) for name in value for pattern, each in patterns.items() if re.search(pattern, name)]


def _is_type(value: Any, names: str | list[str]) -> bool:
    names = [names] if isinstance(names, str) else names
    return any(isinstance(value, _TYPES[name]) and (name == "boolean" or not isinstance(value, bool)) for name in names)


def _numeric(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


_KEYWORDS: dict[str, Any] = {
    "type": lambda v, rule, _: [] if _is_type(v, rule) else [f"is no {rule}"],
    "enum": lambda v, rule, _: [] if v in rule else [f"is none of {rule}"],
    "const": lambda v, rule, _: [] if v == rule else [f"is not {rule}"],
    "pattern": lambda v, rule, _: [] if not isinstance(v, str) or re.search(rule, v) else [f"does not fit {rule}"],
    "required": lambda v, rule, _: [f"lacks {name}" for name in rule if isinstance(v, dict) and name not in v],
    "minimum": lambda v, rule, _: [f"is below {rule}"] if _numeric(v) and v < rule else [],
    "maximum": lambda v, rule, _: [f"is above {rule}"] if _numeric(v) and v > rule else [],
    "minLength": lambda v, rule, _: [f"is shorter than {rule}"] if isinstance(v, str) and len(v) < rule else [],
    "maxLength": lambda v, rule, _: [f"is longer than {rule}"] if isinstance(v, str) and len(v) > rule else [],
    "minItems": lambda v, rule, _: [f"has fewer than {rule}"] if isinstance(v, list) and len(v) < rule else [],
    "maxItems": lambda v, rule, _: [f"has more than {rule}"] if isinstance(v, list) and len(v) > rule else [],
    "minProperties": lambda v, rule, _: [f"has fewer than {rule}"] if isinstance(v, dict) and len(v) < rule else [],
    "maxProperties": lambda v, rule, _: [f"has more than {rule}"] if isinstance(v, dict) and len(v) > rule else [],
}
