"""The actions, one file each. Each declares `ACTION = Action(...)`: a pure plan, run by the shared runner in run.py."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, unique
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..policy import HostRules
    from ..run import Effect


@unique
class Cost(Enum):
    """What an action may cost when it is wrong. DESTRUCTIVE cannot be undone."""

    HARMLESS = "harmless"
    DISRUPTIVE = "disruptive"
    DESTRUCTIVE = "destructive"


@dataclass(frozen=True, slots=True)
class Param:
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


@dataclass(frozen=True, slots=True)
class Action:
    """One action type.

    `plan(params, rules)` is pure: validated parameters and the host's rules (policy file and declaration) in, a tuple of
    effects out (argument vectors, or one of the runner's few built-in file effects), or Refused. `proved_by` names the check
    types that can prove it.
    """

    name: str
    summary: str
    cost: Cost
    plan: Callable[[dict[str, Any], HostRules], tuple[Effect, ...]]
    params: tuple[Param, ...] = ()
    proved_by: tuple[str, ...] = ()
    timeout_s: float = 60.0
