"""`fleetmend maintenance`: When people work on hosts and nothing is healed there."""

from __future__ import annotations

from ...lazy import group

COMMAND = group(__name__, "When people work on hosts and nothing is healed there.")
