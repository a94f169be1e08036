"""What the agent may see only through root's eyes, one file each: `LOOK = Look(...)`. A look reads, and takes no parameters.

What is looked at follows from the declaration and from what lies in the file, never from whoever asks. A host whose policy does
not list collect_evidence, which reads as well, permits none.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fleetmend import registry

from .. import looks
from ..actions import Refused
from ..rules import HostRules

PERMITTED_BY = "collect_evidence"


@dataclass(frozen=True, slots=True)
class Look:
    """`see(rules)` gives values of JSON, or raises Refused."""

    name: str
    summary: str
    see: Callable[[HostRules], Any]


def look(what: str, rules: HostRules) -> Any:
    """What one look sees. Raises Refused."""
    if what not in registry.names(looks):
        raise Refused("unreadable", f"cannot look at {what!r}: this executor has no such look")
    rules.constraint(PERMITTED_BY)
    return registry.load_one(looks, what, "LOOK", Look).see(rules)
