"""`fleetmend playbooks`: What answers which incident."""

from __future__ import annotations

from ...lazy import group

COMMAND = group(__name__, "What answers which incident.")
