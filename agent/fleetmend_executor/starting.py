"""How a declared unit is started: what it is bound to first, then its test, its lock and its addresses, then the job. Pure."""

from __future__ import annotations

from typing import Any

from .actions import Refused
from .copies import FreeAddresses
from .declaration import UnitRule
from .effects import Command, Effect, UnitGuard, UnitJob
from .globs import PatternError, check_path, is_protected
from .readiness import ConfigTest, RemoveLock
from .rules import SYSTEM_PATHS, HostRules
from .stopping import CleanStop

# How long a chain of units that are bound to each other is followed.
_BONDS_MAX = 4


def details(rules: HostRules, unit: str) -> dict[str, Any]:
    """What was declared of a unit beyond whether it may be restarted."""
    part = rules.part("units")
    found = part.get(unit) if isinstance(part, dict) else None
    return found if isinstance(found, dict) else {}


def declared_units(rules: HostRules) -> tuple[str, ...]:
    """Every unit that a declaration names, as a service, a mount or a job: no action on strangers touches them."""
    jobs = rules.part("jobs")
    return (*rules.declaration.units, *(str(name) for name in (jobs if isinstance(jobs, dict) else ())))


def spared_units(rules: HostRules, action: str) -> tuple[str, ...]:
    """Globs of the units that an action on strangers never touches."""
    return (*declared_units(rules), *rules.forbidden_units(action))


def start(rules: HostRules, action: str, unit: str, verb: str, rule: UnitRule) -> tuple[Effect, ...]:
    """The effects that start or restart a unit, what it is bound to included."""
    effects: list[Effect] = []
    for bond in _bonds(rules, action, unit):
        effects += (UnitGuard(bond, rules.forbidden_units(action)), *_lock(rules, bond), UnitJob("start", bond))
    clean_only = action == "restart_unit" and rule.restart == "clean-only"
    effects.append(UnitGuard(unit, rules.forbidden_units(action), must_be_dead=clean_only))
    told = details(rules, unit)
    if told.get("config_test"):
        command = rules.command(action, str(told["config_test"]))
        effects.append(ConfigTest(unit, command.argv, command.timeout_s, command.output_bytes_max))
    effects += (*_lock(rules, unit), *_activated(rules, action, unit))
    if addresses := _addresses(rules, unit):
        may_stop = "stop_copy" in rules.policy.actions and rule.restart == "allowed"
        effects.append(FreeAddresses(unit, addresses, spared_units(rules, action), str(told.get("process", "")), may_stop))
    return (*effects, UnitJob(verb, unit))


def lock_of(rules: HostRules, unit: str) -> str:
    """The declared lock file of a unit, empty if there is none; Refused if it lies where nothing is ever removed.

    It was declared file by file, so a declaration's own protected folder does not keep it; the owner's does.
    """
    path = details(rules, unit).get("lock_file", "")
    if not path:
        return ""
    try:
        check_path(str(path))
    except PatternError as error:
        raise Refused("bad_parameter", str(error)) from error
    if is_protected(path, (*SYSTEM_PATHS, *(p for p in rules.policy.protected if "/" in p))):
        raise Refused("protected", f"cannot remove {path}: this host's policy file protects it")
    return str(path)


def _lock(rules: HostRules, unit: str) -> list[Effect]:
    """The unit's stale lock goes before a start, where the host's owner permits that at all."""
    if "remove_stale_lock" not in rules.policy.actions or not (lock := lock_of(rules, unit)):
        return []
    return [RemoveLock(unit, lock, in_passing=True)]


def _activated(rules: HostRules, action: str, unit: str) -> list[Effect]:
    """A socket whose service failed too often fails with it: both must be reset, or it fails again at the first visitor.

    And systemd opens no socket whose service runs already: that is asked to end first, since it holds the closed socket.
    """
    stem, _, kind = unit.rpartition(".")
    if kind != "socket" or stem.endswith("@"):
        return []
    closed = CleanStop(unit, rules.forbidden_units(action))
    return [closed, Command(("systemctl", "--no-ask-password", "reset-failed", "--", f"{stem}.service"), optional=True)]


def _addresses(rules: HostRules, unit: str) -> tuple[str, ...]:
    part = rules.part("listeners")
    listed = part if isinstance(part, list) else []
    return tuple(str(each["address"]) for each in listed if isinstance(each, dict) and each.get("unit") == unit)


def _bonds(rules: HostRules, action: str, unit: str) -> list[str]:
    """What the unit is bound to, outermost first; what this host does not let start is left to its own fault."""
    found: list[str] = []
    name = str(details(rules, unit).get("bound_to", ""))
    while name and name != unit and name not in found and len(found) < _BONDS_MAX:
        try:
            if rules.unit(action, name).desired == "stopped":
                break
        except Refused:
            break
        found.insert(0, name)
        name = str(details(rules, name).get("bound_to", ""))
    return found
