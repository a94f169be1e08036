"""The JSON Schema of the three kinds of rule files, for editors: completion and early errors.

What only the controller can judge (conditions, names across files) is left to check-config.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from fleetmend.catalogue import Catalogue, ParamSpec

from ..declarations.section import whole_file
from .schema import ChecksFile, PlaybookFile
from .values import DURATION_PATTERN, RATE_PATTERN, duration_text

DRAFT = "https://json-schema.org/draft/2020-12/schema"
KINDS: dict[str, type[BaseModel]] = {"checks": ChecksFile, "playbooks": PlaybookFile, "declarations": whole_file()}

_JSON_TYPES: dict[str, dict[str, Any]] = {
    "text": {"type": "string"},
    "integer": {"type": "integer"},
    "number": {"type": "number"},
    "flag": {"type": "boolean"},
    "duration_ms": {"type": "string", "pattern": DURATION_PATTERN},
    "size_bytes": {"type": ["string", "integer"], "pattern": "^[0-9]{1,12}[KMGT]?$"},
    "text_list": {"type": "array", "items": {"type": "string"}},
}
_PLACEHOLDER = {"type": "string", "pattern": r"^\{finding\.[a-z][a-z0-9_]*\}$"}


def schema_of(kind: str, catalogue: Catalogue) -> dict[str, Any]:
    """The schema of the files in checks/, playbooks/ or declarations/."""
    schema = KINDS[kind].model_json_schema(by_alias=True)
    definitions = schema.get("$defs", {})
    if "CheckModel" in definitions:
        specs = {name: spec.params for name, spec in catalogue.checks.items()}
        _describe(definitions["CheckModel"], "type", specs, placeholders=False)
    if "ActionModel" in definitions:
        actions = {name: spec.params for name, spec in catalogue.actions.items()}
        _describe(definitions["ActionModel"], "action", actions, placeholders=True)
    tidied = _tidy(schema)
    return {"$schema": DRAFT, "title": f"Fleetmend {kind}", **tidied}


def schema_of_all(catalogue: Catalogue) -> dict[str, Any]:
    """One schema for a rule file of any kind: an editor picks the kind by its first key."""
    members = {kind: schema_of(kind, catalogue) for kind in KINDS}
    definitions: dict[str, Any] = {}
    for member in members.values():
        definitions |= member.pop("$defs", {})
        member.pop("$schema")
    return {"$schema": DRAFT, "title": "Fleetmend rules", "oneOf": list(members.values()), "$defs": definitions}


def _describe(model: dict[str, Any], key: str, specs: dict[str, tuple[ParamSpec, ...]], *, placeholders: bool) -> None:
    """Offer the catalogue's names under `key`, and for each its own parameters under `with`."""
    model["properties"][key]["enum"] = sorted(specs)
    model["allOf"] = [
        {
            "if": {"properties": {key: {"const": name}}, "required": [key]},
            "then": _with(params, placeholders=placeholders),
        }
        for name, params in sorted(specs.items())
    ]


def _with(params: tuple[ParamSpec, ...], *, placeholders: bool) -> dict[str, Any]:
    required = [param.name for param in params if param.required]
    fields = {
        "type": "object",
        "properties": {param.name: _param(param, placeholders=placeholders) for param in params},
        "additionalProperties": False,
        "required": required,
    }
    return {"properties": {"with": fields}, **({"required": ["with"]} if required else {})}


def _param(param: ParamSpec, *, placeholders: bool) -> dict[str, Any]:
    kind = dict(_JSON_TYPES[param.kind])
    if param.choices:
        kind["enum"] = list(param.choices)
    if param.kind in ("integer", "number"):
        kind |= {} if param.minimum is None else {"minimum": param.minimum}
        kind |= {} if param.maximum is None else {"maximum": param.maximum}
    described = {"anyOf": [_PLACEHOLDER, kind]} if placeholders and param.kind != "text" else kind
    return {**described, "description": param.doc}


def _tidy(value: Any) -> Any:
    """Without generated titles and without null, which no rule file may say; defaults as people write them."""
    if isinstance(value, list):
        return [_tidy(item) for item in value]
    if not isinstance(value, dict):
        return value
    members = [m for m in value.get("anyOf", []) if m != {"type": "null"}]
    if len(members) == 1 and len(value.get("anyOf", [])) > 1:
        value = {**members[0], **{k: v for k, v in value.items() if k != "anyOf"}}
    # Keys that fit no pattern are errors, which pydantic does not say.
    tidied: dict[str, Any] = {"additionalProperties": False} if "patternProperties" in value else {}
    for key, item in value.items():
        if key == "title" and isinstance(item, str):
            continue
        if key == "default":
            written = _written_default(value, item)
            tidied |= {} if written is None else {"default": written}
            continue
        tidied[key] = _tidy(item)
    return tidied


def _written_default(schema: dict[str, Any], default: Any) -> Any:
    if schema.get("pattern") == DURATION_PATTERN and isinstance(default, int):
        return duration_text(default)
    if schema.get("pattern") == RATE_PATTERN:
        return f"{default[0]} per {duration_text(default[1])}"
    return default if isinstance(default, str | int | bool) else None
