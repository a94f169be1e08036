"""`fleetmend audit`: Who did what, and whether the journal is whole."""

from __future__ import annotations

from ...lazy import group

COMMAND = group(__name__, "Who did what, and whether the journal is whole.")
