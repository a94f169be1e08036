"""The URI names in certificates: the only place an identity comes from."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum, IntEnum, unique

PREFIX = "spiffe://fleetmend/"
CONTROLLER_URI = PREFIX + "controller"
# Clients demand this name whatever address they dialled; no other certificate of the CA gets it.
CONTROLLER_DNS = "fleetmend-controller"

HOST_ID = re.compile(r"h-[0-9a-f]{16}")
OPERATOR_NAME = re.compile(r"[a-z0-9][a-z0-9._@-]{0,62}")


@unique
class Role(IntEnum):
    """What an operator may do; a higher role may do all that a lower one may."""

    VIEWER = 1
    RESPONDER = 2
    ADMIN = 3

    @property
    def word(self) -> str:
        """As people and certificates write it."""
        return self.name.lower()


@unique
class Kind(Enum):
    """What stands at the other end of a call."""

    ANONYMOUS = "anonymous"
    AGENT = "agent"
    OPERATOR = "operator"
    LOCAL = "local"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls. `name` is the host id of an agent, the name of an operator, `local` on the Unix socket, empty if anonymous.

    `not_after_ms` is the end of the certificate that said so, 0 if there was none.
    """

    kind: Kind
    name: str
    role: Role | None = None
    serial: str = ""
    not_after_ms: int = 0

    def __str__(self) -> str:
        if self.kind is Kind.OPERATOR and self.role is not None:
            return f"{self.name} ({self.role.word})"
        return self.name or self.kind.value


def agent_uri(host_id: str) -> str:
    """The URI name of a host's agent."""
    return f"{PREFIX}agent/{host_id}"


def operator_uri(role: Role, name: str) -> str:
    """The URI name of an operator."""
    return f"{PREFIX}operator/{role.word}/{name}"


def parse_role(word: str) -> Role | None:
    """The role that a word names, exactly."""
    return next((role for role in Role if role.word == word), None)


def parse_uri(uri: str) -> Caller | None:
    """Who a URI name stands for; None for anything but an agent or an operator in the exact form that the CA writes."""
    if not uri.startswith(PREFIX):
        return None
    match uri.removeprefix(PREFIX).split("/"):
        case ["agent", host_id] if HOST_ID.fullmatch(host_id):
            return Caller(Kind.AGENT, host_id)
        case ["operator", word, name] if (role := parse_role(word)) and OPERATOR_NAME.fullmatch(name):
            return Caller(Kind.OPERATOR, name, role)
    return None
