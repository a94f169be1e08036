"""Run an Ansible playbook that the host's owner offers by name."""

from __future__ import annotations

from typing import Any

from ..ansible import RunPlay
from ..effects import Effect
from ..rules import HostRules
from . import PROVED_BY_MOST, Action, Cost, Param


def _plan(params: dict[str, Any], rules: HostRules) -> tuple[Effect, ...]:
    """The playbook and its variables are the owner's, whole: an order only says which."""
    return (RunPlay(rules.play(ACTION.name, params["play"])),)


ACTION = Action(
    name="run_ansible",
    summary="Run an Ansible playbook that this host's policy file offers by name, on this host alone.",
    cost=Cost.DISRUPTIVE,
    plan=_plan,
    params=(Param("play", "text", "Name of the playbook in the host's policy file (ansible).", required=True),),
    proved_by=PROVED_BY_MOST,
    timeout_s=3600.0,
)
