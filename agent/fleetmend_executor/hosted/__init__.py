"""Repairs that need code of their own and all of root's powers, one file each: `VERB = Verb(...)`, found by walking the folder.

The executor's sandbox forbids them on purpose (no /etc, no mounts, no other owners). systemd runs them beside it, as a
transient unit: `python3 -I -m fleetmend_executor.hosted VERB ARGUMENT...`. A verb trusts nobody: it judges its arguments again,
follows no link, and leaves what it was not told alone. Standard library only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

# Exit codes that carry a reason in the last line, `<reason>: <text>`; others are what any program ends with.
EXIT_REFUSED = 33
EXIT_FAILED = 34


@dataclass(frozen=True, slots=True)
class Verb:
    """One repair. `run` gives the lines of the outcome, as they come; it raises Refused, ActionFailed or OSError."""

    name: str
    summary: str
    run: Callable[[tuple[str, ...]], Iterable[str]]
