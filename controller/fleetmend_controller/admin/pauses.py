"""Switching healing off and on: globally, for a host, for a group of equal label, for a playbook."""

from __future__ import annotations

from fleetmend.v1 import admin_pb2 as pb

from ..core.events import Paused, Resumed
from ..core.model import Pause
from .convert import pause_of
from .desk import Desk
from .errors import invalid, not_found, not_now
from .hosts import find_host

REASON_CHARS_MAX = 500
PAUSE_MS_MAX = 366 * 24 * 3_600_000
_FORMS = "global, host:<host>, group:<label>=<value> or playbook:<name>"


async def pause(desk: Desk, request: pb.PauseRequest, who: str) -> pb.PauseResponse:
    """Switch healing off in a scope that covers something."""
    scope = canonical_scope(desk, request.scope)
    reason = request.reason.strip()
    if not reason:
        raise invalid("cannot pause without a reason; say why with --reason, people will ask")
    if len(reason) > REASON_CHARS_MAX:
        raise invalid(f"cannot pause: the reason has {len(reason)} characters, at most {REASON_CHARS_MAX}")
    now_ms = desk.now_ms()
    until_ms = None
    if request.HasField("for_ms"):
        if not 0 < request.for_ms <= PAUSE_MS_MAX:
            raise invalid(
                "cannot pause for this long: give a duration from 1 ms to 366 days, or none to pause until somebody resumes"
            )
        until_ms = now_ms + request.for_ms
    await desk.decider.audit(
        "paused", who, _host_of(scope), {"scope": scope, "reason": reason, "until_ms": str(until_ms or "")}
    )
    await desk.decider.submit([Paused(now_ms, scope, who, reason, until_ms)])
    return pb.PauseResponse(pause=pause_of(desk.decider.fleet.pauses[scope]))


async def resume(desk: Desk, request: pb.ResumeRequest, who: str) -> pb.ResumeResponse:
    """Switch healing on again where it is off."""
    scope = request.scope
    if scope not in desk.decider.fleet.pauses:
        scope = canonical_scope(desk, scope)
    ended = desk.decider.fleet.pauses.get(scope)
    if ended is None:
        raise not_found(f"cannot resume {scope}: it is not paused; `fleetmend status` lists the pauses")
    await desk.decider.audit("resumed", who, _host_of(scope), {"scope": scope})
    await desk.decider.submit([Resumed(desk.now_ms(), scope, who)])
    return pb.ResumeResponse(pause=pause_of(ended))


def pauses_in_force(desk: Desk) -> list[Pause]:
    """Pauses that have not run out, oldest first."""
    now_ms = desk.now_ms()
    alive = (pause for pause in desk.decider.fleet.pauses.values() if pause.until_ms is None or pause.until_ms > now_ms)
    return sorted(alive, key=lambda pause: (pause.since_ms, pause.scope))


def canonical_scope(desk: Desk, scope: str) -> str:
    """The scope as the core has it. One that covers nothing is a mistake, not a pause."""
    kind, _, rest = scope.partition(":")
    if scope == "global":
        return scope
    if kind == "host" and rest:
        return f"host:{find_host(desk, rest).id}"
    if kind == "playbook" and rest:
        if all(playbook.name != rest for playbook in desk.decider.rules.policy.playbooks):
            raise not_found(f"cannot use scope {scope}: no playbook has this name; `fleetmend playbooks ls` lists them")
        return scope
    label, equals, value = rest.partition("=")
    if kind == "group" and label and equals and value:
        if all(host.labels.get(label) != value for host in desk.registry.all()):
            raise not_now(f"cannot use scope {scope}: no host has {label}={value}; `fleetmend hosts ls` shows the labels")
        return scope
    raise invalid(f"cannot use scope {scope!r}: it is {_FORMS}")


def _host_of(scope: str) -> str:
    return scope.removeprefix("host:") if scope.startswith("host:") else ""
