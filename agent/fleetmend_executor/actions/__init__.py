"""The actions, one file each. Each declares `ACTION = Action(...)`: a pure plan, run by the shared runner in run.py."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, unique
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from ..effects import Effect
    from ..rules import HostRules

# What an action of the owner's, or one on the whole host, may put right: most of what checks see.
PROVED_BY_MOST = (
    "unit_failed",
    "unit_active",
    "http_endpoint",
    "tcp_port",
    "filesystem_space",
    "filesystem_inodes",
    "filesystem_readonly",
    "memory_available",
    "memory_pressure",
    "cpu_load",
    "process_count",
    "file_age",
    "nagios_plugin",
)


@unique
class Cost(Enum):
    """What an action may cost when it is wrong. DESTRUCTIVE cannot be undone."""

    HARMLESS = "harmless"
    DISRUPTIVE = "disruptive"
    DESTRUCTIVE = "destructive"


class Param(NamedTuple):
    """One parameter. `kind` is text, integer, flag, duration_ms or size_bytes, as in the catalogue."""

    name: str
    kind: str
    doc: str
    default: Any = None
    required: bool = False


class Refused(Exception):
    """The host refuses the action; `reason` is a stable word, the text says why and begins with `cannot`."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason


class Action(NamedTuple):
    """One action type.

    `plan(params, rules)` is pure: validated parameters and the host's rules (policy file and declaration) in, a tuple of
    effects out (argument vectors, or one of the runner's few built-in effects), or Refused. `proved_by` names the check
    types that can prove it. `target` names the parameter that says which one declared thing it touches; what has none, and is
    not harmless, needs a controller that decides: it never runs by a permit.
    """

    name: str
    summary: str
    cost: Cost
    plan: Callable[[dict[str, Any], HostRules], tuple[Effect, ...]]
    params: tuple[Param, ...] = ()
    proved_by: tuple[str, ...] = ()
    timeout_s: float = 60.0
    target: str = ""


TEXT_CHARS_MAX = 4096
_INTEGER_MAX = 2**53


def validate(action: Action, given: object) -> dict[str, Any]:
    """The parameters of an order, complete and of the declared kinds; Refused("bad_parameter") otherwise."""
    if not isinstance(given, dict):
        raise Refused("bad_parameter", f"cannot run {action.name}: its parameters are not a mapping")
    known = {param.name: param for param in action.params}
    for name in given:
        if name not in known:
            raise Refused("bad_parameter", f"cannot run {action.name}: it has no parameter {str(name)[:80]!r}")
    values: dict[str, Any] = {}
    for param in action.params:
        if param.required and given.get(param.name) is None:
            raise Refused("bad_parameter", f"cannot run {action.name}: parameter {param.name} is missing")
        value = given.get(param.name)
        values[param.name] = param.default if value is None else _checked(action.name, param, value)
    return values


def _checked(action: str, param: Param, value: object) -> object:
    if param.kind == "text":
        fits = isinstance(value, str) and len(value) <= TEXT_CHARS_MAX and value.isprintable()
    elif param.kind == "flag":
        fits = isinstance(value, bool)
    else:
        fits = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _INTEGER_MAX
    if not fits:
        text = f"cannot run {action}: parameter {param.name} is not a valid {param.kind}: {str(value)[:80]!r}"
        raise Refused("bad_parameter", text)
    return value
