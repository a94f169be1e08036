"""What the admin service is given: the parts of the controller it may read, and the few doors by which it changes something."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy.engine import Connection

from fleetmend.catalogue import Catalogue

from ..alertmanager.inbox import Unplaced
from ..decider.loop import Decider
from ..decider.ports import JournalUnavailable
from ..gateway.sessions import Sessions
from ..pki.registry import Registry
from ..pki.tokens import Tokens
from ..store.engine import Store
from ..store.journal import Head

log = logging.getLogger(__name__)

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Desk:
    """The parts. `who` names the caller of an RPC; `rules_problem` says why the newest rules were refused, if they were.

    `unplaced` are the alerts that belong to no host.
    """

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
    unplaced: Callable[[], Sequence[Unplaced]] = tuple

    async def audit_done(self, what: str, who: str, host: str, detail: dict[str, str]) -> None:
        """Audit what has been done and only takes rights away: a journal that takes no rows must not make it look undone."""
        try:
            await self.decider.audit(what, who, host, detail)
        except JournalUnavailable as error:
            log.warning("cannot audit %s by %s of %s %s: %s", what, who, host, detail, error)
