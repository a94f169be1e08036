"""Whoever listens on a declared address is the declared unit, and not a process of somebody else that answers in its place.

Whose a socket is, its control group tells: the one in which it was made. Sockets that systemd made itself count as the unit's.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from . import Check, CheckUnknown, Context, Field, Kind, Param, Result, Scalar, Status
from ._listening import holder, listeners, processes_of
from ._processes import command_line, system_unit
from ._programs import FIELDS as STRANGER
from ._programs import facts, is_same, of_unit
from ._units import is_masked
from .tcp_port import parse_address
from .unit_active import full_name

if TYPE_CHECKING:
    from ..host import Host
    from ..sockets import Listener
    from ._processes import Look

_ANY = ("0.0.0.0", "::")  # noqa: S104 - compared, never bound
_LOCAL = ("127.0.0.1", "::1")
_SYSTEMD = ("init.scope", "")


def _run(context: Context) -> Iterable[Result]:
    from ..host import UnitState

    host, params = context.host, context.params
    address, name = params["address"], full_name(params["owner"])
    wanted, port = parse_address(address)
    finding: dict[str, Scalar] = {"address": address, "owner": name}
    unit = host.units(context.fresh).get(name) or UnitState(name, load="not-loaded")
    if is_masked(host, unit):
        return [Result(Status.OK, f"{name} is masked: in maintenance", finding=finding)]
    found = _listening(host, wanted, port)
    if not found:
        return [Result(Status.OK, f"nobody listens on {address}", finding=finding)]
    seen, groups = processes_of(context, found)
    for listener in found:
        path = groups.get(listener.group)
        if path is None:
            raise CheckUnknown(f"cannot tell whose socket listens on {address}: its control group is gone or not told")
        owner = system_unit(f"0::{path}")
        if owner not in _SYSTEMD and _stem(owner) != _stem(name):
            return [_stranger(context, finding, seen, listener, path)]
    return [Result(Status.OK, f"{name} listens on {address}", finding=finding)]


def _listening(host: Host, wanted: str, port: int) -> list[Listener]:
    """The sockets that answer at an address: those bound to it, else those bound to all addresses. Raises CheckUnknown."""
    alike = [each for each in listeners(host) if each.port == port]
    exact = [each for each in alike if each.address in (_LOCAL if wanted == "localhost" else {wanted})]
    return exact or [each for each in alike if each.address in _ANY]


def _stranger(context: Context, finding: dict[str, Scalar], seen: Look, listener: Listener, path: str) -> Result:
    host, name = context.host, str(finding["owner"])
    process = holder(seen, listener, path)
    if process is None:
        unit = system_unit(f"0::{path}")
        text = f"{finding['address']} is held in {unit}, not by {name}"
        return Result(Status.CRIT, text, finding=finding | {"in_unit": unit, "same_program": False})
    told = facts(host, process, same=False)
    line = command_line(host, process.pid)
    same = process.unit not in context.params["declared_units"] and is_same(
        line, str(told["user"]), of_unit(host, name), context.params["process"]
    )
    where = f"in {process.unit}" if process.unit else "in no unit"
    kind = "a copy of its own program" if same else "another program"
    text = f"{finding['address']} is held by {process.name} (pid {process.pid}, {told['user']}) {where}, {kind}, not by {name}"
    return Result(Status.CRIT, text, finding=finding | told | {"same_program": same})


def _stem(unit: str) -> str:
    """A socket's unit and its service belong together."""
    stem, _, kind = unit.rpartition(".")
    return stem.partition("@")[0] if kind in {"service", "socket"} else unit


CHECK = Check(
    name="listener_owner",
    summary="The process that listens on a declared address belongs to the declared unit",
    run=_run,
    params=(
        Param("address", Kind.TEXT, "host:port or [IPv6 address]:port", required=True),
        Param("owner", Kind.TEXT, "the unit that should listen there; .service may be left away", required=True),
        Param(
            "process",
            Kind.TEXT,
            "text in the command line of the unit's processes, where its start command tells no more",
            default="",
        ),
        Param(
            "declared_units", Kind.TEXT_LIST, "units whose processes are no strangers; filled in by declarations", default=[]
        ),
    ),
    finding=(
        Field("address", Kind.TEXT, "the address as it was given"),
        Field("owner", Kind.TEXT, "the unit that should listen there"),
        *STRANGER,
    ),
    blocking=True,
    every_s=10.0,
)
