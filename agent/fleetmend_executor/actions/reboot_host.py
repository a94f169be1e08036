"""Reboot the host."""

from __future__ import annotations

from typing import Any

from ..effects import Effect
from ..rebooting import Reboot
from ..rules import HostRules
from . import PROVED_BY_MOST, Action, Cost


def _plan(_params: dict[str, Any], rules: HostRules) -> tuple[Effect, ...]:
    """Nothing of the order gets into it. The order is bound to this boot: after the reboot it can run no more."""
    rules.constraint(ACTION.name)
    return (Reboot(),)


ACTION = Action(
    name="reboot_host",
    summary="Reboot the host; over when it is up with another boot.",
    cost=Cost.DESTRUCTIVE,
    plan=_plan,
    proved_by=PROVED_BY_MOST,
    timeout_s=60.0,
)
