"""`fleetmend hosts show`: one server."""

from __future__ import annotations

import click

from ...command import Session, command
from ...output import labels_text, print_heading, print_pairs, word
from ...tables import print_incidents
from ...times import MINUTE_MS, short, when
from ...wire import pb


def _run(session: Session, host: str) -> None:
    session.show(session.call("GetHost", pb.GetHostRequest(host=host)), _print)


def _print(answer: pb.GetHostResponse, now_ms: int) -> None:
    host = answer.host
    print_pairs(
        [
            ("Host", host.name),
            ("Id", host.id),
            ("State", word(pb.HostState.DESCRIPTOR, host.state)),
            *([("Lost since", when(host.lost_since_ms, now_ms))] if host.HasField("lost_since_ms") else []),
            ("Labels", labels_text(host.labels)),
            ("Paused by", ", ".join(host.paused_by) or "-"),
            *([("Maintenance", ", ".join(host.maintenance))] if host.maintenance else []),
            *([("At work there", host.present)] if host.present else []),
            ("Enrolled", when(host.enrolled_ms, now_ms)),
            ("Last seen", when(host.last_seen_ms if host.HasField("last_seen_ms") else None, now_ms)),
            ("Agent", host.agent_version or "-"),
            ("Boot", answer.boot_id or "-"),
            *([("Clock", _skew(answer.clock_skew_ms))] if answer.HasField("clock_skew_ms") else []),
            ("Permits", ", ".join(answer.permitted_actions) or "not said yet"),
            ("May do alone", _alone(host.live_permits)),
            ("Certificate", f"ends {when(host.certificate_not_after_ms, now_ms)}"),
        ]
    )
    if answer.incidents:
        print_heading("Open incidents")
        print_incidents(answer.incidents, now_ms)


def _alone(permits: int) -> str:
    if not permits:
        return "nothing"
    return f"{permits} {'repair' if permits == 1 else 'repairs'}, if no controller can be asked"


def _skew(skew_ms: int) -> str:
    if abs(skew_ms) < MINUTE_MS:
        return f"within a minute of the controller's ({skew_ms:+d} ms)"
    return f"{short(abs(skew_ms))} {'ahead of' if skew_ms > 0 else 'behind'} the controller's: display times from it are off"


COMMAND = command(
    "show",
    "Show one host and its open incidents.",
    _run,
    params=[click.Argument(["host"])],
    examples=["fleetmend hosts show web-3", "fleetmend hosts show h-0123456789abcdef --output yaml"],
    json="GetHostResponse",
    text="HOST is an id or a name.",
)
