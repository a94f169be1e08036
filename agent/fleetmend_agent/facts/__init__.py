"""Inventory, one file a section. Each declares `FACT = Fact(...)`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..host import Host


@dataclass(frozen=True, slots=True)
class Fact:
    """One section of the inventory: `collect` returns a JSON object.

    It runs on a worker thread and may raise OSError or CheckUnknown. An unchanged machine gives an identical object.
    """

    name: str
    summary: str
    collect: Callable[[Host], dict[str, Any]]
    every_s: float = 3600.0
