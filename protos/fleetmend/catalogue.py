"""What the fleet can check and do, by name: the one vocabulary of controller, agent and executor.

`catalogue.json` is generated from the agent's checks and the executor's actions (`make protos`), so that the controller can
judge a configuration without their code. Standard library only: the agent and the CLI import this.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

VERSION = 1
TEXT_LENGTH_MAX = 4096
LIST_LENGTH_MAX = 64
SHOWN_LENGTH_MAX = 80
INTEGER_MAX = 2**63 - 1

_DURATION = re.compile(r"(\d{1,12})(ms|s|m|h|d)")
_DURATION_MS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_SIZE = re.compile(r"(\d{1,12})([KMGT]?)i?B?")
_SIZE_BYTES = {"": 1, "K": 1024, "M": 1024**2, "G": 1024**3, "T": 1024**4}
_INTEGER = re.compile(r"[+-]?\d{1,19}")
_PLACEHOLDER = re.compile(r"\{finding\.[a-z][a-z0-9_]*\}")


class ParamError(ValueError):
    """A value that a parameter cannot take; the text says what is allowed."""


class CatalogueError(RuntimeError):
    """The catalogue file is not one; the text begins with `cannot`."""


@dataclass(frozen=True, slots=True)
class ParamSpec:
    """One parameter. `kind`: text, integer, number, flag, duration_ms, size_bytes or text_list; limits are inclusive."""

    name: str
    kind: str
    doc: str = ""
    default: Any = None
    required: bool = False
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FieldSpec:
    """One typed fact in a finding. `kind`: text, integer, number or flag."""

    name: str
    kind: str
    doc: str = ""


@dataclass(frozen=True, slots=True)
class GaugeSpec:
    """One gauge, named with its base unit; a name that ends with `*` stands for a family."""

    name: str
    doc: str = ""


@dataclass(frozen=True, slots=True)
class CheckSpec:
    """One check type. `signal` names the event source that wakes it, empty if it is polled only.

    `told_by` names who tells the controller of it where no agent looks: nobody configures such a check, playbooks answer it.
    """

    name: str
    summary: str
    params: tuple[ParamSpec, ...] = ()
    finding: tuple[FieldSpec, ...] = ()
    gauges: tuple[GaugeSpec, ...] = ()
    signal: str = ""
    every_s: float = 30.0
    timeout_s: float = 10.0
    blocking: bool = False
    told_by: str = ""


@dataclass(frozen=True, slots=True)
class ActionSpec:
    """One action type. `cost`: harmless, disruptive or destructive; `proved_by`: check types that can prove it.

    `target`: the parameter that names the one declared thing it touches, which lets it run by a permit; empty if there is none.
    `here`: the controller does it, no host's executor; playbooks alone order it, and only on faults that it can prove.
    """

    name: str
    summary: str
    cost: str
    params: tuple[ParamSpec, ...] = ()
    proved_by: tuple[str, ...] = ()
    timeout_s: float = 60.0
    target: str = ""
    here: bool = False


HOST_LOST = "host_lost"

# Alerts of Prometheus reach the controller by Alertmanager's webhook; no agent has code for them.
TOLD = (
    CheckSpec(
        name="prometheus_alert",
        summary="An alert of Prometheus about the host",
        finding=(
            FieldSpec("alertname", "text", "Name of the alert"),
            FieldSpec("severity", "text", "Its label severity; empty without one"),
            FieldSpec("job", "text", "Its label job; empty without one"),
            FieldSpec("instance", "text", "Its label instance; empty without one"),
            FieldSpec("unit", "text", "Its label unit or name, if a declaration of the host names that unit; else absent"),
        ),
        told_by="Alertmanager",
    ),
    CheckSpec(
        name=HOST_LOST,
        summary="A host's heartbeat stopped, and witnesses were asked whether it still answers",
        finding=(
            FieldSpec(
                "verdict",
                "text",
                "dead, agent_dead, cut_off, controller_cut_off or unclear (hosts-lost.md says what each means)",
            ),
            FieldSpec("witnesses_missed", "integer", "Witnesses that reach another host and not this one"),
            FieldSpec("silent_ms", "integer", "How long it has said nothing"),
        ),
        told_by="The controller",
    ),
)

# What the controller does itself, because the host cannot.
DONE_HERE = (
    ActionSpec(
        name="drain",
        summary="Take the host out of service by the webhook of the controller's settings.",
        cost="disruptive",
        timeout_s=300.0,
        here=True,
    ),
    ActionSpec(
        name="undrain",
        summary="Give the host back to service by the webhook of the controller's settings.",
        cost="disruptive",
        timeout_s=300.0,
        here=True,
    ),
    ActionSpec(
        name="power_cycle",
        summary="Switch a dead host off and on, or on, by its BMC over Redfish.",
        cost="destructive",
        proved_by=(HOST_LOST,),
        timeout_s=120.0,
        here=True,
    ),
)


@dataclass(frozen=True, slots=True)
class Catalogue:
    """Everything that may be named in checks, declarations and playbooks."""

    checks: Mapping[str, CheckSpec] = field(default_factory=dict)
    actions: Mapping[str, ActionSpec] = field(default_factory=dict)

    def validate_params(
        self, kind: str, name: str, params: Mapping[str, Any], *, placeholders: bool = False
    ) -> tuple[dict[str, Any], list[str]]:
        """As `validate`, for the check type or action (`kind`: "check" or "action") of that name."""
        things: Mapping[str, CheckSpec | ActionSpec] = self.checks if kind == "check" else self.actions
        if name not in things:
            return {}, [f"cannot find {kind} {name!r}: there are {', '.join(sorted(things)) or 'none'}"]
        return validate(things[name].params, params, placeholders=placeholders)


def validate(
    specs: Iterable[ParamSpec], params: Mapping[str, Any], *, placeholders: bool = False
) -> tuple[dict[str, Any], list[str]]:
    """Parameters as people write them, checked: the values as they travel, defaults filled in, and every error at once.

    Durations and sizes written as text become integers (milliseconds, bytes). Numbers and flags may be text too, since that is
    all a command line has. With `placeholders`, a value that is exactly `{finding.<field>}` is left as it is.
    """
    by_name = {spec.name: spec for spec in specs}
    errors = [
        f"cannot take parameter {name!r}: there {'are ' + ', '.join(by_name) if by_name else 'is none'}"
        for name in params
        if name not in by_name
    ]
    values: dict[str, Any] = {}
    for spec in by_name.values():
        given = params.get(spec.name)
        if given is None:
            if spec.required:
                errors.append(f"cannot do without parameter {spec.name!r}: {spec.doc}")
            elif spec.default is not None:
                values[spec.name] = spec.default
            continue
        if placeholders and isinstance(given, str) and _PLACEHOLDER.fullmatch(given):
            values[spec.name] = given
            continue
        try:
            values[spec.name] = _within(spec, _PARSERS[spec.kind](given))
        except ValueError as error:
            errors.append(f"cannot take {_short(given)} for parameter {spec.name!r}: {error}")
    return values, errors


def parse_duration_ms(value: object) -> int:
    """`500ms`, `30s`, `10m`, `2h`, `1d`, or an integer of milliseconds. Raises ParamError, which says what is allowed."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    found = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise ParamError("not a duration; write it as 500ms, 30s, 10m, 2h or 1d")
    return int(found[1]) * _DURATION_MS[found[2]]


def parse_size_bytes(value: object) -> int:
    """`500M`, `10G` (binary, also `MiB`), or an integer of bytes. Raises ParamError, which says what is allowed."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    found = _SIZE.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise ParamError("not a size; write it as 4096, 64K, 500M or 10G")
    return int(found[1]) * _SIZE_BYTES[found[2]]


def _parse_text(value: object) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        raise ParamError("not a text; put it in quotes")
    if len(value) > TEXT_LENGTH_MAX:
        raise ParamError(f"longer than {TEXT_LENGTH_MAX} characters")
    if "\0" in value:
        raise ParamError("it contains a null character")
    return value


def _parse_integer(value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) <= INTEGER_MAX:
        return value
    if isinstance(value, str) and _INTEGER.fullmatch(value) and abs(int(value)) <= INTEGER_MAX:
        return int(value)
    raise ParamError("not a whole number")


def _parse_number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ParamError("not a number")
    try:
        number = float(value)
    except (ValueError, OverflowError):
        raise ParamError("not a number") from None
    if not abs(number) < float("inf"):
        raise ParamError("not a finite number")
    return number


def _parse_flag(value: object) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value in {"true", "false"}:
        return value == "true"
    raise ParamError("not a flag; write true or false")


def _parse_text_list(value: object) -> list[str]:
    if isinstance(value, str):
        value = shlex.split(value)
    if not isinstance(value, list | tuple):
        raise ParamError("not a list of texts")
    if len(value) > LIST_LENGTH_MAX:
        raise ParamError(f"more than {LIST_LENGTH_MAX} entries")
    return [_parse_text(item) for item in value]


_PARSERS = {
    "text": _parse_text,
    "integer": _parse_integer,
    "number": _parse_number,
    "flag": _parse_flag,
    "duration_ms": parse_duration_ms,
    "size_bytes": parse_size_bytes,
    "text_list": _parse_text_list,
}


PARAM_KINDS = frozenset(_PARSERS)


def _within(spec: ParamSpec, value: Any) -> Any:
    """The value, if it is inside the limits of its parameter."""
    if spec.choices and value not in spec.choices:
        raise ParamError(f"choose from {', '.join(spec.choices)}")
    if spec.minimum is not None and value < spec.minimum:
        raise ParamError(f"the least is {spec.minimum:g}")
    if spec.maximum is not None and value > spec.maximum:
        raise ParamError(f"the most is {spec.maximum:g}")
    if spec.required and value in ("", []):
        raise ParamError("it is empty")
    return value


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= SHOWN_LENGTH_MAX else text[:SHOWN_LENGTH_MAX] + "..."


@cache
def load_catalogue() -> Catalogue:
    """The catalogue that this version was built with. Raises CatalogueError."""
    # Not importlib.resources, which is large: the resident agent imports this module to validate parameters.
    return parse_catalogue(Path(__file__).with_name("catalogue.json").read_text("utf-8"))


def parse_catalogue(text: str) -> Catalogue:
    """The catalogue in a JSON text. Raises CatalogueError."""
    try:
        document = json.loads(text)
        if document["version"] != VERSION:
            raise CatalogueError(f"cannot read the catalogue: it has version {document['version']!r}, not {VERSION}")
        return Catalogue(
            checks={name: _check(name, entry) for name, entry in document["checks"].items()} | {c.name: c for c in TOLD},
            actions={name: _action(name, entry) for name, entry in document["actions"].items()}
            | {a.name: a for a in DONE_HERE},
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CatalogueError(f"cannot read the catalogue: {type(error).__name__}: {error}") from error


def _params(entries: Iterable[Mapping[str, Any]]) -> tuple[ParamSpec, ...]:
    return tuple(ParamSpec(**{**entry, "choices": tuple(entry.get("choices", ()))}) for entry in entries)


def _check(name: str, entry: Mapping[str, Any]) -> CheckSpec:
    rest = {key: entry[key] for key in ("summary", "signal", "every_s", "timeout_s", "blocking")}
    return CheckSpec(
        name=name,
        params=_params(entry["params"]),
        finding=tuple(FieldSpec(**item) for item in entry["finding"]),
        gauges=tuple(GaugeSpec(**item) for item in entry["gauges"]),
        **rest,
    )


def _action(name: str, entry: Mapping[str, Any]) -> ActionSpec:
    return ActionSpec(
        name=name,
        params=_params(entry["params"]),
        proved_by=tuple(entry["proved_by"]),
        target=entry.get("target", ""),
        **{key: entry[key] for key in ("summary", "cost", "timeout_s")},
    )
