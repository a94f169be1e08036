"""`fleetmend token`: Join tokens, with which servers become hosts."""

from __future__ import annotations

from ...lazy import group

COMMAND = group(__name__, "Join tokens, with which servers become hosts.")
