"""What survives a crash of the controller: the journal, and snapshots that make reading it quick."""

from __future__ import annotations

import hashlib
import json

from fleetmend_controller.core.events import Event, PolicyLoaded
from fleetmend_controller.core.flow import advance
from fleetmend_controller.core.model import Fleet
from fleetmend_controller.core.policy import Policy
from fleetmend_controller.store import codec

from . import twin


class Memory:
    """The journal holds the events themselves; `text` gives them the form that they have on disk."""

    def __init__(self, policies: tuple[Policy, ...], snapshot_rows: int) -> None:
        self.journal: list[Event] = []
        self._policies = {policy.digest: policy for policy in policies}
        self._first = policies[0]
        self._snapshot_rows = snapshot_rows
        self._row = 0
        self._fleet = Fleet()
        self._policy = policies[0]

    def keep(self, fleet: Fleet, policy: Policy) -> None:
        """A snapshot once enough rows came after the last one."""
        if len(self.journal) - self._row >= self._snapshot_rows:
            self._row, self._fleet, self._policy = len(self.journal), twin.copy(fleet), policy

    def replayed(self) -> Fleet:
        """The fleet that the newest snapshot and the journal after it give."""
        return self._replay(twin.copy(self._fleet), self._policy, self.journal[self._row :])

    def replayed_from_text(self) -> Fleet:
        """The fleet that the journal gives from its first row, read back from the form on disk."""
        rows = [codec.decode_event(json.loads(line)) for line in self.text()]
        return self._replay(Fleet(), self._first, rows)

    def _replay(self, fleet: Fleet, policy: Policy, rows: list[Event]) -> Fleet:
        for event in rows:
            if isinstance(event, PolicyLoaded):
                policy = self._policies[event.digest]
            advance(fleet, event, policy)
        return fleet

    def text(self) -> list[str]:
        """Each row as it would be on disk."""
        return [codec.dumps(codec.encode_tagged(event)) for event in self.journal]

    def digest(self) -> str:
        """Names the whole journal by its content."""
        return hashlib.sha256("\n".join(self.text()).encode()).hexdigest()
