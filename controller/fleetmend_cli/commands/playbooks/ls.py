"""`fleetmend playbooks ls`: what answers which incident."""

from __future__ import annotations

from ...command import Session, command
from ...output import Column, print_table, word
from ...times import short
from ...wire import pb

_COLUMNS = (
    Column("PLAYBOOK", fixed=False),
    Column("TRUST"),
    Column("CHECK", fixed=False),
    Column("FOR", right=True),
    Column("STEPS", fixed=False),
    Column("TELLS", fixed=False),
)


def _run(session: Session) -> None:
    session.show(session.call("ListPlaybooks", pb.ListPlaybooksRequest()), _print)


def _print(answer: pb.ListPlaybooksResponse, _now_ms: int) -> None:
    rows = [
        (
            playbook.name,
            word(pb.PlaybookTrust.DESCRIPTOR, playbook.effective_trust) + (" (demoted)" if playbook.demoted_because else ""),
            playbook.check,
            short(playbook.for_ms),
            ", ".join(_step(step) for step in playbook.steps),
            f"{playbook.escalate_to} ({playbook.escalate_severity})",
        )
        for playbook in answer.playbooks
    ]
    print_table(_COLUMNS, rows)


def _step(step: pb.PlaybookStep) -> str:
    if step.HasField("wait_ms"):
        return f"wait {short(step.wait_ms)}"
    return step.action.action


COMMAND = command(
    "ls",
    "List the playbooks in force, in the order in which they are tried.",
    _run,
    examples=["fleetmend playbooks ls", "fleetmend playbooks ls --output yaml"],
    json="ListPlaybooksResponse",
)
