"""Run an Ansible playbook that the host's owner offers by name."""

from __future__ import annotations

from typing import Any

from ..ansible import RunPlay
from ..effects import Effect
from ..rules import HostRules
from . import Action, Cost, Param


def _plan(params: dict[str, Any], rules: HostRules) -> tuple[Effect, ...]:
    """The playbook and its variables are the owner's, whole: an order only says which."""
    return (RunPlay(rules.play(ACTION.name, params["play"])),)


ACTION = Action(
    name="run_ansible",
    summary="Run an Ansible playbook that this host's policy file offers by name, on this host alone.",
    cost=Cost.DISRUPTIVE,
    plan=_plan,
    params=(Param("play", "text", "Name of the playbook in the host's policy file (ansible).", required=True),),
    proved_by=(
        "unit_failed",
        "unit_active",
        "http_endpoint",
        "tcp_port",
        "filesystem_space",
        "filesystem_inodes",
        "filesystem_readonly",
        "memory_available",
        "memory_pressure",
        "cpu_load",
        "process_count",
        "file_age",
        "nagios_plugin",
    ),
    timeout_s=3600.0,
)
