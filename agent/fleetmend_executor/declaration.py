"""What the fleet's declarations say about this host, as the executor last stored it, sealed: its own copy, not the agent's."""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from fleetmend.seal import SealError, unseal

from .globs import PatternError, check_path
from .store import StateError, read_bounded, write_synced

FILE_BYTES_MAX = 1024 * 1024
RESTART_WORDS = ("allowed", "clean-only", "never")
DESIRED_WORDS = ("running", "stopped")


class DeclarationError(ValueError):
    """A declaration that cannot be used; `reason` is a stable word."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason


class UnitRule(NamedTuple):
    """What may be done to one unit: restart is allowed, clean-only or never; desired is running or stopped."""

    restart: str = "allowed"
    desired: str = "running"


class Declaration(NamedTuple):
    """Version 0 is the absence of a declaration: nothing is declared, so nothing may be touched."""

    version: int = 0
    epoch: int = 0
    units: Mapping[str, UnitRule] = MappingProxyType({})
    disposable: tuple[str, ...] = ()
    protected: tuple[str, ...] = ()
    parts: Mapping[str, Any] = MappingProxyType({})
    """What the other sections of the declarations say, by key: an action reads its own and refuses what it cannot."""


NONE = Declaration()


def parse(document: dict[str, Any], host_id: str) -> Declaration:
    """An unsealed declaration as values; DeclarationError when a part of it is not understood."""
    if document.get("v") != 1:
        raise DeclarationError("bad_parameter", f"cannot use declaration: version {document.get('v')!r} of its form is unknown")
    if document.get("host_id") != host_id:
        raise DeclarationError("wrong_host", "cannot use declaration: it is for another host")
    version, epoch, units = document.get("version"), document.get("epoch"), document.get("units")
    if not _is_count(version) or not _is_count(epoch) or not isinstance(units, dict):
        raise DeclarationError("bad_parameter", "cannot use declaration: version, epoch or units are missing")
    rules = {str(name): _unit_rule(str(name), rule) for name, rule in units.items()}
    parts = document.get("parts", {})
    if not isinstance(parts, dict):
        raise DeclarationError("bad_parameter", "cannot use declaration: its parts are not a mapping")
    disposable, protected = _paths(document, "disposable"), _paths(document, "protected", units_too=True)
    return Declaration(int(version or 0), int(epoch or 0), rules, disposable, protected, parts)


def load(path: str, key: bytes, host_id: str) -> Declaration:
    """The stored copy, its seal verified again. No file: NONE. DeclarationError when the copy cannot be trusted."""
    try:
        raw = read_bounded(path, FILE_BYTES_MAX)
    except FileNotFoundError:
        return NONE
    except (OSError, StateError) as error:
        raise DeclarationError("undeclared", f"cannot read {path}: {error}") from error
    try:
        envelope = json.loads(raw)
        payload, mac = str(envelope["payload"]).encode(), bytes.fromhex(envelope["mac"])
        return parse(unseal(key, payload, mac, "declaration"), host_id)
    except (SealError, ValueError, KeyError, TypeError) as error:
        raise DeclarationError("undeclared", f"cannot trust {path}: {error}") from error


def store(path: str, payload: bytes, mac: bytes) -> None:
    """Replace the stored copy durably. Raises OSError."""
    text = json.dumps({"payload": payload.decode(), "mac": mac.hex()}, separators=(",", ":"))
    write_synced(path, text.encode() + b"\n")


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _unit_rule(name: str, rule: object) -> UnitRule:
    if not isinstance(rule, dict):
        raise DeclarationError("bad_parameter", f"cannot use declaration: unit {name[:80]!r} is not a mapping")
    restart, desired = rule.get("restart", "allowed"), rule.get("desired", "running")
    if restart not in RESTART_WORDS or desired not in DESIRED_WORDS:
        raise DeclarationError("bad_parameter", f"cannot use declaration: unit {name[:80]!r}: unknown restart or desired")
    return UnitRule(str(restart), str(desired))


def _paths(document: dict[str, Any], name: str, *, units_too: bool = False) -> tuple[str, ...]:
    globs = document.get(name, [])
    if not isinstance(globs, list) or not all(isinstance(g, str) for g in globs):
        raise DeclarationError("bad_parameter", f"cannot use declaration: {name} is not a list of patterns")
    try:
        return tuple(g if units_too and "/" not in g else check_path(g) for g in globs)
    except PatternError as error:
        raise DeclarationError("bad_parameter", f"cannot use declaration: {name}: {error}") from error
