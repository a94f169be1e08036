"""`fleetmend hosts`: The servers of the fleet."""

from __future__ import annotations

from ...lazy import group

COMMAND = group(__name__, "The servers of the fleet.")
