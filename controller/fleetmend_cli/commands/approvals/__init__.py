"""`fleetmend approvals`: Orders that wait for people."""

from __future__ import annotations

from ...lazy import group

COMMAND = group(__name__, "Orders that wait for people.")
