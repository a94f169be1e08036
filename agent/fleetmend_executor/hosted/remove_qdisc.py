"""`remove_qdisc DECLARED TARGET`: removes the queueing discipline that nobody declared from one declared interface."""

from __future__ import annotations

from collections.abc import Iterable

from fleetmend.netlink import Reader
from fleetmend.network import extra_qdiscs

from . import Verb
from ._network import arguments_of, may_remove, only, tool

_DEFAULT_FILE = "/proc/sys/net/core/default_qdisc"


def _run(arguments: tuple[str, ...]) -> Iterable[str]:
    declared, target = arguments_of(arguments)
    may_remove(declared, "qdisc")
    meant = (target.get("interface"), target.get("attached"), target.get("kind"))
    words = f"the queueing discipline {meant[2]} ({meant[1]}) of {meant[0]}"
    extra = extra_qdiscs(Reader().qdiscs(), declared, _default_kind())
    qdisc = only((each for each in extra if (each.interface, each.attached, each.kind) == meant), words)
    yield tool("tc", "qdisc", "del", "dev", qdisc.interface, qdisc.attached)
    yield f"removed {words}"


def _default_kind() -> str:
    try:
        with open(_DEFAULT_FILE, encoding="ascii") as file:
            return file.read(64).strip()
    except OSError:
        return ""


VERB = Verb(name="remove_qdisc", summary="Remove a queueing discipline that nobody declared.", run=_run)
