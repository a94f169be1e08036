"""Shorten systemd's journal."""

from __future__ import annotations

from typing import Any

from ..effects import Command, Effect
from ..rules import HostRules
from . import Action, Cost, Param, Refused

KEEP_BYTES_MIN = 16 * 1024 * 1024
KEEP_MS_MIN = 3_600_000


def _plan(params: dict[str, Any], rules: HostRules) -> tuple[Effect, ...]:
    """Only archived files can be vacuumed, hence --rotate. The bounds keep what explains the fault at hand."""
    rules.constraint(ACTION.name)
    keep_bytes, keep_ms = params["keep_bytes"], params["keep_ms"]
    if not keep_bytes and not keep_ms:
        raise Refused("bad_parameter", "cannot clear the journal: keep_bytes or keep_ms is needed")
    if keep_bytes and keep_bytes < KEEP_BYTES_MIN:
        raise Refused("bad_parameter", f"cannot clear the journal to {keep_bytes} bytes: at least {KEEP_BYTES_MIN} stay")
    if keep_ms and keep_ms < KEEP_MS_MIN:
        raise Refused("bad_parameter", f"cannot clear the journal to {keep_ms} ms: at least {KEEP_MS_MIN} must be kept")
    argv = ["journalctl", "--rotate"]
    argv += [f"--vacuum-size={keep_bytes}"] if keep_bytes else []
    argv += [f"--vacuum-time={keep_ms // 1000}s"] if keep_ms else []
    return (Command(tuple(argv)),)


ACTION = Action(
    name="clear_journal",
    summary="Delete the oldest archived journal files down to a size or an age.",
    cost=Cost.DESTRUCTIVE,
    plan=_plan,
    params=(
        Param("keep_bytes", "size_bytes", "Keep the newest journal files up to this size; at least 16M.", default=0),
        Param("keep_ms", "duration_ms", "Keep what is younger than this; at least 1h.", default=0),
    ),
    proved_by=("filesystem_space", "filesystem_inodes", "nagios_plugin"),
    timeout_s=120.0,
)
