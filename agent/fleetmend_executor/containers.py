"""Restarting a declared container: an effect of its own, since no tool but the engine's socket is needed for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from fleetmend.engine import EngineError, restart

from .actions import Refused
from .run import ActionFailed, Run

if TYPE_CHECKING:
    from .rules import HostRules

PART = "containers"


@dataclass(frozen=True, slots=True)
class RestartContainer:
    """One restart by the engine: TERM, and KILL after the grace."""

    performer: ClassVar[str] = "containers"
    engine: str
    name: str
    grace_s: int


def declared(rules: HostRules) -> tuple[str, dict[str, Any]]:
    """The engine's socket and what is declared of each container, by name; Refused where nothing is."""
    part = rules.part(PART)
    if not isinstance(part, dict):
        raise Refused("undeclared", "cannot ask for containers: no declaration names any")
    engine, containers = part.get("engine"), part.get("declared")
    if not isinstance(engine, str) or not engine.startswith("/") or "\0" in engine or not isinstance(containers, dict):
        raise Refused("undeclared", "cannot ask for containers: the declaration names no engine")
    return engine, containers


def perform(effect: RestartContainer, run: Run) -> None:
    """Restart it, within what time is left."""
    try:
        known = restart(effect.engine, effect.name, effect.grace_s, run.left_s())
    except EngineError as error:
        raise ActionFailed("engine", str(error.strerror or error)) from error
    run.detail.append(f"restarted container {effect.name} ({known[:12]})")
