"""Whom the actions on strangers may touch, by the declarations and the owner's file together. Pure."""

from __future__ import annotations

import re
from typing import Any

from .actions import Refused
from .rules import HostRules

# A name is compared and never run; one of other characters is left away by whoever orders.
_NAME = re.compile(r"[A-Za-z0-9_(][\w.:@+()\[\]-]{0,14}", re.ASCII)


def killable_users(rules: HostRules, action: str) -> tuple[str, ...]:
    """The users whose processes may be stopped, or Refused. Root is none of them, whatever is declared."""
    rules.constraint(action)
    part = rules.part("killable")
    listed = part if isinstance(part, list) else []
    users = tuple(str(each.get("user", "")) for each in listed if isinstance(each, dict))
    users = tuple(user for user in users if user not in {"", "root", "0"})
    if not users:
        raise Refused("undeclared", f"cannot {action}: no declaration names users whose processes may be stopped")
    return users


def process_id(params: dict[str, Any]) -> None:
    """Refused unless the parameters name one process for good: a pid alone may be another's by now."""
    if params["pid"] <= 1 or not params["start_ticks"]:
        raise Refused("bad_parameter", "cannot stop: a pid above 1 and its start_ticks are needed together")
    if params["name"] and not _NAME.fullmatch(params["name"]):
        raise Refused("bad_parameter", f"cannot stop {params['name'][:40]!r}: that is no plain process name; leave it away")
