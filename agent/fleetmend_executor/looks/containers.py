"""The declared containers, and no others: the engine's socket would give whoever opens it all of root's powers."""

from __future__ import annotations

from typing import Any

from fleetmend.engine import EngineError, look

from ..actions import Refused
from ..containers import declared
from ..rules import HostRules
from . import Look

TIMEOUT_S = 8.0


def _see(rules: HostRules) -> list[dict[str, Any]]:
    engine, names = declared(rules)
    try:
        return [container.plain() for container in look(engine, names, TIMEOUT_S)]
    except EngineError as error:
        raise Refused("unavailable", str(error.strerror or error)) from error


LOOK = Look("containers", "State and health of the declared containers.", _see)
