"""What gateway and decider ask of each other.

By value, and asynchronous where an answer is needed, so that they can become two processes.
Gateway and pki know nothing else of the decider (import-linter, tests/contract/test_imports.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from ..core.effects import AskWitness, SendPermits
from ..core.events import Event
from ..core.model import Order, Status, Subject
from ..rules import RuleSet


class JournalUnavailable(RuntimeError):
    """The journal cannot be written now. Nothing was accepted; agents keep and resend."""


@dataclass(frozen=True, slots=True)
class HostState:
    """What the decider holds about a host: the newest journalled seq of the outbox asked for, and what it holds for sick."""

    known: bool
    acked_seq: int
    sick: dict[tuple[str, str], Status]


@dataclass(frozen=True, slots=True)
class KnownHost:
    """A host as the decider has it."""

    id: str
    name: str
    labels: Mapping[str, str]
    lost: bool


class DeciderPort(Protocol):
    """What a gateway needs of the decider."""

    async def submit(self, events: Sequence[Event]) -> None:
        """Return once the events are durable and decided upon. Raises JournalUnavailable."""

    async def host_state(self, host: str, outbox: str) -> HostState:
        """What is held about a host."""

    async def known_hosts(self) -> Sequence[KnownHost]:
        """Every host that the decider has: for bringing the table of hosts and the fleet together at a start."""

    async def order_hosts(self, orders: Sequence[str]) -> Mapping[str, str]:
        """To which hosts these orders were issued; one that nobody remembers (any more) is absent."""

    async def rules_in_force(self) -> RuleSet:
        """The rules by which is decided now; GatewayPort.rules_changed says when to ask again."""

    async def wants_evidence(self, subjects: Sequence[Subject]) -> Sequence[Subject]:
        """Those of the sick subjects whose incident would use a newer sample (see EvidenceConfirmed)."""

    async def audit(self, what: str, who: str, host: str, detail: dict[str, str]) -> None:
        """Append a row to the audit trail: an operator's act or a refused attempt. `what` is a stable word."""

    @property
    def epoch(self) -> int:
        """The epoch of the active decider."""


class GatewayPort(Protocol):
    """What the decider needs of a gateway. None of these may block or raise for an absent host."""

    def send_order(self, order: Order, epoch: int) -> None:
        """Seal and send; the decider calls again after a reconnect until the outcome is journalled."""

    def send_permits(self, permits: SendPermits, epoch: int) -> None:
        """Seal and send what a host may do while no controller can be asked; the decider calls again after a reconnect."""

    def request_check(self, subject: Subject) -> None:
        """Ask the host's agent for a fresh result."""

    def ask_witness(self, wish: AskWitness) -> None:
        """Ask one agent, or the controller itself, whether a lost host answers; the answer comes as WitnessSaid."""

    def close_host(self, host: str, reason: str) -> None:
        """End the host's stream at once."""

    def rules_changed(self) -> None:
        """Ask for the rules in force, and send new agent configuration to hosts whose configuration changed."""
