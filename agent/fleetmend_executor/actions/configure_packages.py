"""Configure what an interrupted installation left half-way."""

from __future__ import annotations

from typing import Any

from ..effects import Effect
from ..hosting import Hosted
from ..rules import HostRules
from . import Action, Cost, Refused


def _plan(_params: dict[str, Any], rules: HostRules) -> tuple[Effect, ...]:
    """Only where it is declared; that no package manager is at work is found out on the spot."""
    rules.constraint(ACTION.name)
    packages = rules.part("packages")
    if not isinstance(packages, dict) or packages.get("configure") != "allowed":
        raise Refused("undeclared", "cannot configure packages: no declaration says packages: {configure: allowed}")
    return (Hosted("configure_packages", ("all",)),)


ACTION = Action(
    name="configure_packages",
    summary="Let dpkg configure what is half-way, keeping changed configuration files; not while a package manager is at work.",
    cost=Cost.DISRUPTIVE,
    plan=_plan,
    proved_by=("package_state",),
    timeout_s=600.0,
)
