"""What the network actions share: the declared network of this host, and the verb that judges once more on the host itself."""

from __future__ import annotations

import json
from typing import Any

from fleetmend.network import Declared

from ..hosting import Hosted
from ..rules import HostRules
from . import Refused


def declared(action: str, rules: HostRules) -> Declared:
    """The section `network` as the executor last stored it. Refused("undeclared") without one."""
    rules.constraint(action)
    part = rules.part("network")
    if part is None:
        raise Refused("undeclared", f"cannot {action}: no declaration says what this host's network should be")
    try:
        return Declared.of(part)
    except ValueError as error:
        raise Refused("undeclared", str(error)) from error


def removal(action: str, rules: HostRules, what: str, target: dict[str, Any]) -> tuple[Hosted, ...]:
    """The one effect of an action that removes what nobody declared."""
    network = declared(action, rules)
    if what not in network.bounded:
        raise Refused("undeclared", f"cannot {action}: no declaration says that only the declared {what} may be there")
    if not network.removable:
        raise Refused("not_permitted", f"cannot {action}: the declaration says remove_undeclared: never")
    return (hosted(action, rules, target),)


def hosted(verb: str, rules: HostRules, target: dict[str, Any]) -> Hosted:
    """The verb with the declaration and what is meant, as one line of JSON each."""
    return Hosted(verb, (_line(rules.part("network")), _line(target)))


def _line(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))
