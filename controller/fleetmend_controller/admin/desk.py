"""What the admin service is given: the parts of the controller it may read, and the few doors by which it changes something."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy.engine import Connection

from fleetmend.catalogue import Catalogue

from ..decider.loop import Decider
from ..gateway.sessions import Sessions
from ..pki.registry import Registry
from ..pki.tokens import Tokens
from ..store.engine import Store
from ..store.journal import Head

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Desk:
    """The parts. `who` names the caller of an RPC; `rules_problem` says why the newest rules were refused, if they were."""

    store: Store
    decider: Decider
    registry: Registry
    sessions: Sessions
    tokens: Tokens
    catalogue: Catalogue
    verify: Callable[[Connection, Progress], Head]
    rules_problem: Callable[[], str]
    who: Callable[[Any], str]
    now_ms: Callable[[], int]
    version: str
    started_ms: int
