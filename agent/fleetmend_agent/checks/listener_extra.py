"""Nothing listens for other machines but what is declared: a forgotten server, or somebody who should not be here.

Sockets on loopback addresses are left out: who can reach them is on the machine already. Nothing is ever done about the others.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from . import Check, CheckUnknown, Context, Field, Gauge, Kind, Param, Result, Scalar
from ._listening import holder, listeners, processes_of
from ._network import each_extra
from ._processes import system_unit, user_name

if TYPE_CHECKING:
    from ..sockets import Listener
    from ._processes import Process

_LOOPBACK = ("127.", "::1", "::ffff:127.")
# How people get in, and where names are asked: on nearly every server, from its packages.
_USUAL = ("ssh.service", "sshd.service", "ssh@*.service", "sshd@*.service", "systemd-resolved.service")
# What systemd itself listens on is written down in a unit file.
_SYSTEMD = "init.scope"


def _run(context: Context) -> Iterable[Result]:
    return each_extra(context, "sockets that listen for other machines", _extra(context), "extra_listeners_value")


def _extra(context: Context) -> Iterator[tuple[str, str, dict[str, Scalar]]]:
    params = context.params
    ports = {address.rpartition(":")[2] for address in params["declared_listeners"]}
    found = [each for each in listeners(context.host) if not each.address.startswith(_LOOPBACK) and str(each.port) not in ports]
    if not found:
        return
    if not all(each.group for each in found):
        raise CheckUnknown("cannot tell whose sockets listen: this kernel does not name their control groups")
    seen, paths = processes_of(context, found)
    kept = (_SYSTEMD, *_USUAL, *params["allowed_units"], *params["declared_units"])
    for each in found:
        path = paths.get(each.group, "")
        unit = system_unit(f"0::{path}") if path else ""
        if not any(fnmatchcase(unit, pattern) for pattern in kept):
            yield _told(context, each, unit, holder(seen, each, path) if path else None)


def _told(context: Context, listener: Listener, unit: str, process: Process | None) -> tuple[str, str, dict[str, Scalar]]:
    user = user_name(context.host, listener.uid)
    facts: dict[str, Scalar] = {"address": listener.name, "user": user, "in_unit": unit}
    who, told = ("somebody", facts) if process is None else (f"{process.name} (pid {process.pid})", facts | process.facts())
    text = f"{who} of {user} in {unit or 'no unit'} listens on {listener.name}, which is not declared"
    return listener.name, text, told


CHECK = Check(
    name="listener_extra",
    summary="Nothing listens for other machines but what is declared",
    run=_run,
    params=(
        Param("declared_listeners", Kind.TEXT_LIST, "addresses with declared ports; filled in by declarations", default=[]),
        Param("allowed_units", Kind.TEXT_LIST, "patterns of further units that may listen", default=[]),
        Param("declared_units", Kind.TEXT_LIST, "units that may listen; filled in by declarations", default=[]),
    ),
    finding=(
        Field("address", Kind.TEXT, "where it listens"),
        Field("user", Kind.TEXT, "the user it runs for"),
        Field("in_unit", Kind.TEXT, "the unit in which the socket was made, if it was in one"),
        Field("pid", Kind.INTEGER, "the process that listens, if it can be told"),
        Field("start_ticks", Kind.INTEGER, "when it started: field 22 of /proc/PID/stat"),
        Field("name", Kind.TEXT, "its name"),
    ),
    gauges=(Gauge("extra_listeners_value", "sockets that listen for other machines and that nobody declared"),),
    blocking=True,
    every_s=10.0,
)
