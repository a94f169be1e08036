"""`remove_rule DECLARED TARGET`: removes exactly one policy rule that nobody declared; never one of the kernel's own."""

from __future__ import annotations

from collections.abc import Iterable

from fleetmend.netlink import Reader
from fleetmend.network import extra_rules

from . import Verb
from ._network import arguments_of, may_remove, only, tool


def _run(arguments: tuple[str, ...]) -> Iterable[str]:
    declared, target = arguments_of(arguments)
    may_remove(declared, "rules")
    reader = Reader()
    meant = (target.get("family"), target.get("priority"), target.get("selector"))
    extra = extra_rules((*reader.rules(4), *reader.rules(6)), declared)
    words = f"policy rule {meant[1]}: {meant[2]}"
    rule = only((each for each in extra if (each.family, each.priority, each.selector) == meant), words)
    # Nothing of the order gets into the tool's arguments: they are made of what the kernel itself said.
    yield tool("ip", f"-{rule.family}", "rule", "del", "priority", str(rule.priority), *rule.selector.split(" "))
    yield f"removed {words}"


VERB = Verb(name="remove_rule", summary="Remove one policy rule that nobody declared.", run=_run)
