"""What the verbs of the network share: their arguments, the one thing that is meant, and the tools that change it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, TypeVar

from fleetmend.network import Declared

from ..actions import Refused
from ..commands import run_argv
from ..run import failure

TOOL_TIMEOUT_S = 10.0
_OUTPUT_BYTES_MAX = 4096
T = TypeVar("T")


def arguments_of(arguments: tuple[str, ...]) -> tuple[Declared, dict[str, Any]]:
    """The declared network and what is meant, both as JSON. Refused if they are anything else."""
    if len(arguments) != 2:
        raise Refused("bad_parameter", "cannot change the network: the declaration and a target are needed")
    try:
        part, target = (json.loads(argument) for argument in arguments)
        declared = Declared.of(part)
    except (ValueError, RecursionError) as error:
        raise Refused("bad_parameter", f"cannot change the network: {error}") from error
    if not isinstance(target, dict):
        raise Refused("bad_parameter", "cannot change the network: the target is not a mapping")
    return declared, target


def may_remove(declared: Declared, what: str) -> None:
    """Refused unless the declaration knows all there may be of it, and lets the rest be removed."""
    if not declared.removable or what not in declared.bounded:
        raise Refused("undeclared", f"cannot remove {what}: no declaration allows it")


def only(found: Iterable[T], what: str) -> T:
    """The one thing that is meant. Refused when it is not there, or not the only one."""
    meant = list(found)
    if len(meant) != 1:
        number = "there is no such" if not meant else f"there are {len(meant)} such"
        raise Refused("not_there", f"cannot remove {what}: {number} that nobody declared")
    return meant[0]


def tool(*argv: str) -> str:
    """Runs ip, tc or networkctl. ActionFailed when it does not work."""
    finished = run_argv(argv, TOOL_TIMEOUT_S, _OUTPUT_BYTES_MAX)
    if finished.exit:
        raise failure(finished)
    return " ".join(argv)
