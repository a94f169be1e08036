"""`fleetmend actions`: What hosts can be ordered to do."""

from __future__ import annotations

from ...lazy import group

COMMAND = group(__name__, "What hosts can be ordered to do.")
