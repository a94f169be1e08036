"""`fleetmend playbooks show`: one playbook and its record."""

from __future__ import annotations

import click

from ...command import Session, command
from ...output import print_pairs, word
from ...times import short
from ...wire import pb


def _run(session: Session, name: str) -> None:
    session.show(session.call("GetPlaybook", pb.GetPlaybookRequest(name=name)), _print)


def _print(answer: pb.GetPlaybookResponse, _now_ms: int) -> None:
    playbook, record = answer.playbook, answer.record
    print_pairs(
        [
            ("Playbook", playbook.name),
            ("Summary", playbook.summary),
            ("Owner", playbook.owner),
            ("Trust", _trust(playbook)),
            ("Answers", f"{playbook.check}, after {short(playbook.for_ms)}"),
            *([("Where", playbook.where)] if playbook.where else []),
            ("Steps", "\n".join(_step(step) for step in playbook.steps)),
            ("Approval", _approval(playbook)),
            ("Limits", _limits(playbook)),
            ("Tells", f"{playbook.escalate_to} ({playbook.escalate_severity})"),
            ("Record", f"{record.proved} proved, {record.failed} not proved, {record.failed_in_row} of these in a row"),
            ("Advice", record.advice),
        ]
    )


def _trust(playbook: pb.Playbook) -> str:
    declared, now = (word(pb.PlaybookTrust.DESCRIPTOR, trust) for trust in (playbook.trust, playbook.effective_trust))
    return f"{now}, demoted from {declared}: {playbook.demoted_because}" if playbook.demoted_because else declared


def _step(step: pb.PlaybookStep) -> str:
    if step.HasField("wait_ms"):
        return f"wait {short(step.wait_ms)}"
    action = step.action
    params = "".join(f" {name}={value}" for name, value in sorted(action.params.items()))
    proof = ""
    if action.HasField("prove_within_ms"):
        proof = f", proved within {short(action.prove_within_ms)}, staying ok {short(action.prove_stay_ok_ms)}"
    return f"{action.action}{params} ({word(pb.ActionCost.DESCRIPTOR, action.cost)}{proof})"


def _approval(playbook: pb.Playbook) -> str:
    need = word(pb.ApprovalNeed.DESCRIPTOR, playbook.approval_needed_for)
    if playbook.effective_trust == pb.PLAYBOOK_TRUST_SUGGEST:
        need = "every step that is not harmless"
    elif need == "never":
        return "never, not even for what cannot be undone"
    else:
        need = "what cannot be undone" if need == "destructive" else "what interrupts and what cannot be undone"
    people = "1 person" if playbook.approval_people == 1 else f"{playbook.approval_people} people"
    role = word(pb.ApprovalRole.DESCRIPTOR, playbook.approval_role)
    return f"for {need}: {people} with the role {role} or higher, within {short(playbook.approval_within_ms)}"


def _limits(playbook: pb.Playbook) -> str:
    host = f"{playbook.per_host_count} in {short(playbook.per_host_window_ms)} on one host"
    groups = " and of a ".join(playbook.fleet_by.split(", "))
    return f"{host}; at once {playbook.fleet_percent} % of a {groups}, at most {playbook.fleet_at_most}"


COMMAND = command(
    "show",
    "Show one playbook, how far it may go now, and its record.",
    _run,
    params=[click.Argument(["name"])],
    examples=["fleetmend playbooks show restart-failed-unit", "fleetmend playbooks show restart-failed-unit --output json"],
    json="GetPlaybookResponse",
    text="Trust never rises by itself: the record proposes, and people change the file.",
)
