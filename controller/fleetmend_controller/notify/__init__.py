"""The ways to people, one file each. Each file declares `CHANNEL = Channel(...)`; its name is the `type` in the configuration.

A channel hands over one message, once, and says what became of it. When to send, what to send again and when to give up is not
its business (see handover/).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum, unique
from typing import Any

from ..options import Option

# Whoever has not answered after this time gets the same message again later.
SEND_TIMEOUT_S = 15.0


@unique
class Kind(Enum):
    """What a message tells. A NOTICE stands for itself: nothing ends it later."""

    ESCALATED = "escalated"
    APPROVAL = "approval"
    NOTICE = "notice"
    ACKNOWLEDGED = "acknowledged"
    RESOLVED = "resolved"
    TEST = "test"


@dataclass(frozen=True, slots=True)
class Message:
    """What people are told. `id` is the same each time it is sent, `thread` the same for all that belongs together.

    `summary` says what is wrong, `text` why they have it. `reminder` counts how often it was sent to remind.
    """

    id: str
    thread: str
    kind: Kind
    at_ms: int
    incident: str
    opened_ms: int
    host: str
    host_id: str
    check: str
    key: str
    summary: str
    playbook: str
    to: str
    severity: str
    why: str
    text: str
    source: str
    by: str = ""
    until_ms: int = 0
    reminder: int = 0
    labels: dict[str, str] = field(default_factory=dict, hash=False)

    @property
    def subject(self) -> str:
        """What is sick, and where."""
        what = f"{self.check} {self.key}".strip()
        return f"{what} on {self.host}" if self.host else what

    @property
    def headline(self) -> str:
        """One line for a list, a subject or a chat."""
        match self.kind:
            case Kind.RESOLVED:
                return f"[resolved] {self.subject}: {self.text}"
            case Kind.ACKNOWLEDGED:
                return f"[taken by {self.by}] {self.subject}"
            case Kind.APPROVAL:
                return f"[approval] {self.subject}: {self.text}"
            case Kind.TEST:
                return f"[test] {self.text}"
            case _:
                again = f", reminder {self.reminder}" if self.reminder else ""
                return f"[{self.severity}{again}] {self.subject}: {self.summary or self.text}"


@unique
class Outcome(Enum):
    """What became of one message. LATER: nobody knows, or not now; the same message may be sent again."""

    ACCEPTED = "accepted"
    LATER = "later"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Answer:
    """A channel's answer. `text` says why it was not accepted; `retry_after_ms` is what the other side asked for, or 0."""

    outcome: Outcome
    text: str = ""
    retry_after_ms: int = 0


Options = Mapping[str, Any]
Send = Callable[[Options, Message], Awaitable[Answer]]


@dataclass(frozen=True, slots=True)
class Channel:
    """One way to people.

    `kinds` are those that it can tell beside ESCALATED. With `refresh_ms` what is not over is told again that often, or the
    other side forgets it. `reminds`: a second message reaches a person. `judge` says what is wrong between options.
    """

    name: str
    summary: str
    options: tuple[Option, ...]
    send: Send
    kinds: frozenset[Kind] = frozenset({Kind.APPROVAL, Kind.NOTICE, Kind.ACKNOWLEDGED, Kind.RESOLVED})
    refresh_ms: int = 0
    reminds: bool = True
    judge: Callable[[Options], str] = lambda _options: ""
