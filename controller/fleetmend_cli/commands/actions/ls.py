"""`fleetmend actions ls`: what hosts can be ordered to do."""

from __future__ import annotations

import click

from ...command import Session, command
from ...errors import CliError
from ...output import Column, print_heading, print_table, word
from ...wire import pb

_COLUMNS = (Column("ACTION"), Column("COST"), Column("PARAMETERS", fixed=False), Column("WHAT", fixed=False))
_PARAMS = (Column("PARAMETER"), Column("KIND"), Column("DEFAULT", fixed=False), Column("MEANING", fixed=False))


def _run(session: Session, action: str | None) -> None:
    answer = session.call("ListActions", pb.ListActionsRequest())
    if action is None:
        session.show(answer, _print)
        return
    found = [known for known in answer.actions if known.name == action]
    if not found:
        raise CliError(f"cannot find action {action!r}: there is none of this name", "`fleetmend actions ls` lists them")
    session.show(pb.ListActionsResponse(actions=found), _print_one)


def _print(answer: pb.ListActionsResponse, _now_ms: int) -> None:
    rows = [(a.name, word(pb.ActionCost.DESCRIPTOR, a.cost), _params(a), a.summary) for a in answer.actions]
    print_table(_COLUMNS, rows)


def _print_one(answer: pb.ListActionsResponse, now_ms: int) -> None:
    _print(answer, now_ms)
    params = answer.actions[0].params
    if params:
        print_heading("Parameters")
        print_table(_PARAMS, [(p.name, p.kind, "required" if p.required else p.default or "-", p.doc) for p in params])


def _params(action: pb.ActionType) -> str:
    return " ".join(p.name if p.required else f"[{p.name}]" for p in action.params) or "-"


COMMAND = command(
    "ls",
    "List actions, or one action with its parameters.",
    _run,
    params=[click.Argument(["action"], required=False)],
    examples=["fleetmend actions ls", "fleetmend actions ls restart_unit"],
    json="ListActionsResponse",
    text="A host's own policy has the last word on what runs there.",
)
