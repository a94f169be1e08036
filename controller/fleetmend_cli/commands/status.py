"""`fleetmend status`: the fleet on one page."""

from __future__ import annotations

from typing import Any

from ..command import Session, command
from ..output import print_heading, print_pairs, word
from ..tables import print_approvals, print_incidents, window_hosts, window_times
from ..times import relative, short, when
from ..wire import pb

UNPLACED_SHOWN = 10


def _run(session: Session) -> None:
    session.show(session.call("GetStatus", pb.GetStatusRequest()), _print)


def _print(answer: pb.GetStatusResponse, now_ms: int) -> None:
    controller = answer.controller
    print_pairs(
        [
            ("Controller", f"{controller.version}, epoch {controller.epoch}, up {short(controller.uptime_ms)}"),
            ("Journal", _journal(controller)),
            ("Rules", _rules(controller, now_ms)),
            *(
                [("Newest rules", f"refused, the ones before stay in force:\n{controller.rules_problem}")]
                if controller.rules_problem
                else []
            ),
            ("Hosts", _hosts(answer)),
            ("Incidents", _incidents(answer)),
            *[("Storm", f"{storm.summary} ({storm.id})") for storm in answer.storms],
            *[("Not delivered", _undelivered(channel, now_ms)) for channel in answer.undelivered],
            *[("Alert without host", _unplaced(alert, now_ms)) for alert in answer.unplaced_alerts[:UNPLACED_SHOWN]],
            *[("Paused", _pause(pause, now_ms)) for pause in answer.pauses],
            *[("Maintenance", _maintenance(window, now_ms)) for window in answer.maintenance],
        ]
    )
    if answer.approvals:
        print_heading("Waiting for approval")
        print_approvals(answer.approvals, now_ms)
    if answer.healing:
        print_heading("Being healed now")
        print_incidents(answer.healing, now_ms)
    if answer.escalated:
        print_heading("Waiting for people")
        print_incidents(answer.escalated, now_ms)


def _journal(controller: pb.ControllerStatus) -> str:
    if controller.journal_writable:
        return f"writable, {controller.journal_rows} rows"
    return f"NOT WRITABLE, nothing is ordered: {controller.journal_problem}"


def _rules(controller: pb.ControllerStatus, now_ms: int) -> str:
    loaded = f", in force since {when(controller.rules_loaded_ms, now_ms)}" if controller.HasField("rules_loaded_ms") else ""
    digest = controller.rules_digest.removeprefix("sha256:")[:12]
    return f"{controller.playbooks} playbooks{loaded}, digest {digest}"


def _hosts(answer: pb.GetStatusResponse) -> str:
    never = f", {answer.hosts_never_connected} never connected" if answer.hosts_never_connected else ""
    return f"{answer.hosts_up} up, {answer.hosts_lost} lost{never}"


def _incidents(answer: pb.GetStatusResponse) -> str:
    total = sum(entry.count for entry in answer.incidents_open)
    phases = ", ".join(f"{entry.count} {_phase(entry.phase)}" for entry in answer.incidents_open)
    return f"{total} open: {phases}" if total else "none open"


def _phase(phase: Any) -> str:
    return word(pb.IncidentPhase.DESCRIPTOR, phase)


def _undelivered(channel: pb.UndeliveredMessages, now_ms: int) -> str:
    waits = f"{channel.pending} to {channel.channel}, oldest {relative(channel.oldest_ms, now_ms)}" if channel.pending else ""
    given_up = f"{channel.given_up} to {channel.channel} given up within a day" if channel.given_up else ""
    text = "; ".join(filter(None, (waits, given_up)))
    return f"{text}: {channel.problem}" if channel.problem else text


def _unplaced(alert: pb.UnplacedAlert, now_ms: int) -> str:
    return f"{alert.name}, since {when(alert.since_ms, now_ms)}: {alert.why}"


def _pause(pause: pb.HealingPause, now_ms: int) -> str:
    until = f", ends {relative(pause.until_ms, now_ms)}" if pause.HasField("until_ms") else ", until somebody resumes it"
    return f"{pause.scope} by {pause.by} {relative(pause.since_ms, now_ms)}{until}: {pause.reason}"


def _maintenance(window: pb.MaintenanceWindow, now_ms: int) -> str:
    return f"{window.id} on {window_hosts(window)} by {window.by}, {window_times(window, now_ms)}: {window.reason}"


COMMAND = command(
    "status",
    "Show the controller, the fleet and what is being healed.",
    _run,
    examples=["fleetmend status", "fleetmend status --output json | jq .controller.journal_writable"],
    json="GetStatusResponse",
)
