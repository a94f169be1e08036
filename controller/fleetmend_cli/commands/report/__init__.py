"""`fleetmend report`: What healing hides and what it spares."""

from __future__ import annotations

from ...lazy import group

COMMAND = group(__name__, "What healing hides and what it spares.")
