"""What the controller does itself because no agent can, one file each: `HAND = Hand(...)`, named like the action.

A hand does one thing once and says what became of it. Whether it may, the gates have said; that it is not done twice, _desk.py
sees to.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from ..core.model import Host, Order, Outcome


@dataclass(frozen=True, slots=True)
class Tools:
    """What hands work with: files that are read at each use."""

    bmc_file: Path
    drain: DrainHook | None = None


@dataclass(frozen=True, slots=True)
class DrainHook:
    """Where hosts are taken out of service and given back."""

    url: str
    undrain_url: str
    timeout_ms: int = 30_000
    tries: int = 3
    token_file: Path | None = None
    ca_file: Path | None = None


@dataclass(frozen=True, slots=True)
class Done:
    """What became of a deed. UNKNOWN: it was asked for, and no answer came."""

    outcome: Outcome
    detail: str


@dataclass(frozen=True, slots=True)
class Hand:
    """One deed. `one_at_a_time`: never two of it side by side, whatever hosts they are for."""

    name: str
    do: Callable[[Order, Host, Tools], Awaitable[Done]]
    one_at_a_time: bool = False
