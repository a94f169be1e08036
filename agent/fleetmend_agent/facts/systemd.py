"""Systemd's units: numbers by type, and each service, socket, timer, mount and path with whether it is enabled.

Left out is what comes and goes on an unchanged machine: sessions, scopes, slices, devices and transient units. A change of
state that is under way is told as what it leads to.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..checks import CheckUnknown
from . import Fact

if TYPE_CHECKING:
    from ..host import Host, UnitState

UNITS_MAX = 512
_TYPES = ("service", "socket", "timer", "mount", "path", "target")
_PASSING = ("run-", "session-", "user@", "user-runtime-dir@", "systemd-fsck@", "systemd-coredump@")
_LEADS_TO = {"activating": "active", "reloading": "active", "refreshing": "active", "deactivating": "inactive"}
_TOOL_TIMEOUT_S = 20.0
_LIST_BYTES_MAX = 512 * 1024
_LIST_WORDS = 2


def _collect(host: Host) -> dict[str, Any]:
    try:
        units = host.units()
    except CheckUnknown as unknown:
        raise OSError(str(unknown)) from unknown
    enabled = parse_unit_files(_systemctl(host, "list-unit-files", "--no-legend", "--no-pager", "--plain"))
    kept = sorted((unit for unit in units.values() if _lasts(unit)), key=lambda unit: unit.name)
    return {
        "version": parse_version(_systemctl(host, "--version")),
        "counts": {kind: sum(unit.name.endswith(f".{kind}") for unit in kept) for kind in _TYPES},
        "units": [_entry(unit, enabled) for unit in kept[:UNITS_MAX]],
        "truncated": len(kept) > UNITS_MAX,
    }


def _systemctl(host: Host, *words: str) -> str:
    ended = host.run(("systemctl", *words), _TOOL_TIMEOUT_S, _LIST_BYTES_MAX)
    if ended.exit_code != 0:
        raise OSError(f"systemctl {words[0]} ended with {ended.exit_code}: {ended.stderr.strip()[:200]}")
    return ended.stdout


def _lasts(unit: UnitState) -> bool:
    return unit.load != "not-found" and unit.name.rpartition(".")[2] in _TYPES and not unit.name.startswith(_PASSING)


def _entry(unit: UnitState, enabled: dict[str, str]) -> dict[str, str]:
    prefix, at, rest = unit.name.partition("@")
    template = f"{prefix}@.{rest.rpartition('.')[2]}" if at else ""
    return {
        "name": unit.name,
        "active": _LEADS_TO.get(unit.active, unit.active),
        "enabled": enabled.get(unit.name) or enabled.get(template, ""),
    }


def parse_unit_files(text: str) -> dict[str, str]:
    """Names and states (enabled, disabled, static, masked ...) as `systemctl list-unit-files` prints them."""
    lines = (line.split() for line in text.splitlines())
    return {words[0]: words[1] for words in lines if len(words) >= _LIST_WORDS}


def parse_version(text: str) -> int:
    """The number in `systemd 252 (252.39-1)`; 0 if there is none."""
    words = text.split()
    return int(words[1]) if len(words) > 1 and words[0] == "systemd" and words[1].isdecimal() else 0


FACT = Fact(name="systemd", summary="Units and whether they are enabled", collect=_collect)
