"""What the unit checks share: the finding about one unit, and whether somebody masked it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from . import CheckUnknown, Field, Kind, Result, Scalar, Status

if TYPE_CHECKING:
    from ..host import Host, UnitState

FIELDS = (
    Field("unit", Kind.TEXT, "the unit's full name"),
    Field("unit_type", Kind.TEXT, "the end of its name: service, socket, timer, mount ..."),
    Field("state", Kind.TEXT, "systemd's active state: active, reloading, inactive, failed, activating, deactivating"),
    Field("sub", Kind.TEXT, "systemd's finer state, e.g. running, dead, auto-restart"),
    Field("load", Kind.TEXT, "systemd's load state: loaded, masked, not-found; not-loaded when systemd does not hold the unit"),
    Field("result", Kind.TEXT, "how the unit ended: success, exit-code, signal, timeout, start-limit-hit ..."),
    Field("restarts", Kind.INTEGER, "how often systemd restarted it by itself"),
    Field("maintenance", Kind.FLAG, "the unit is masked: somebody wants it down"),
)

_MASK_FOLDERS = ("/etc/systemd/system", "/run/systemd/system")


def finding(unit: UnitState, maintenance: bool) -> dict[str, Scalar]:
    """The fields above."""
    return {
        "unit": unit.name,
        "unit_type": type_of(unit.name),
        "state": unit.active,
        "sub": unit.sub,
        "load": unit.load,
        "result": unit.result,
        "restarts": unit.n_restarts,
        "maintenance": maintenance,
    }


def type_of(name: str) -> str:
    """What kind of unit it is, by its name."""
    return name.rpartition(".")[2]


def spared(host: Host, result: Result) -> Result:
    """The result; OK if it is a fault of a unit that somebody masked: what is in maintenance is nobody's fault."""
    name = result.finding.get("unit")
    if result.status is not Status.CRIT or not isinstance(name, str) or not name:
        return result
    from ..host import UnitState

    try:
        unit = host.units().get(name) or UnitState(name, load="not-loaded")
    except CheckUnknown:
        return result
    if not is_masked(host, unit):
        return result
    return replace(result, status=Status.OK, summary=f"{name} is masked: in maintenance ({result.summary})")


def is_masked(host: Host, unit: UnitState) -> bool:
    """Whether the unit is masked. A masked unit that systemd has dropped from memory is recognised by its link to /dev/null."""
    if unit.load == "masked":
        return True
    return unit.load in {"not-loaded", "not-found"} and _is_linked_to_null(host, unit.name)


def _is_linked_to_null(host: Host, name: str) -> bool:
    """Whether the first of the folders that has the unit masks it: a file in /etc wins over a mask in /run."""
    for folder in _MASK_FOLDERS:
        try:
            return host.readlink(f"{folder}/{name}") == "/dev/null"
        except FileNotFoundError:
            continue
        except OSError:
            # A file and no link: the unit itself.
            return False
    return False
