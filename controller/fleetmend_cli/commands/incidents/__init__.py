"""`fleetmend incidents`: Faults, open and past."""

from __future__ import annotations

from ...lazy import group

COMMAND = group(__name__, "Faults, open and past.")
