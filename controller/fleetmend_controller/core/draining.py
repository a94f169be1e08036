"""Taking a host out of service around what disturbs it, and giving it back: never forgotten drained."""

from __future__ import annotations

from .effects import Escalated, UndrainHost, Why
from .ending import end, give_up
from .events import Drained, OrderEnded, Undrained
from .incidents import open_undrain
from .model import Host, Incident, Order, Outcome, Phase, Subject
from .orders import DRAIN, ask_check, ask_fresh_time, record_end, send
from .transitions import Trigger
from .turn import Turn

UNDRAIN_CHECK = "undrain"


def drained(turn: Turn, event: Drained, incident: Incident | None) -> None:
    """The hook answered. Only now the order may go to the host; without, the repair stops here."""
    host = turn.fleet.hosts.get(event.host)
    if host is None:
        return
    # After a no it may be drained all the same: what is given back once too often does no harm.
    turn.fleet.drained[host.id] = None
    order = incident.order if incident is not None else None
    if incident is None or order is None or order.id != event.order or incident.phase is not Phase.ORDERED or not order.drain:
        _give_back(turn, host)
        return
    incident.drained = True
    if event.ok:
        order.drain = False
        ask_fresh_time(turn, host, incident, order)
        turn.say(incident, Why.DRAINED, f"{host.name} is drained: {event.text}".rstrip(": "))
        send(turn, order)
        return
    failed(turn, host, incident, order, event.text)


def failed(turn: Turn, host: Host, incident: Incident, order: Order, text: str) -> None:
    """A host that could not be drained is not disturbed."""
    clock_ms = turn.now_ms + host.clock_offset_ms
    over = OrderEnded(turn.now_ms, host.id, order.id, Outcome.FAILED, "", text, host.boot, clock_ms, clock_ms)
    record_end(turn, incident, over)
    give_up(turn, incident, Trigger.GIVEN_UP, Why.DRAIN_FAILED, f"cannot drain {host.name}: {text}; nothing was done on it")
    # It may have become well while the hook was asked, and would not say so again.
    ask_check(turn, incident)


def done_by_step(turn: Turn, incident: Incident, action: str) -> None:
    """A step `drain` or `undrain` of a playbook is over."""
    incident.drained = action == DRAIN
    if incident.drained:
        turn.fleet.drained[incident.subject.host] = None
    elif not _is_needed(turn, incident.subject.host):
        turn.fleet.drained.pop(incident.subject.host, None)


def undrained(turn: Turn, event: Undrained) -> None:
    """The hook took a host back, or will not: then people must know that it is still out of service."""
    host = turn.fleet.hosts.get(event.host)
    if host is None:
        turn.fleet.drained.pop(event.host, None)
        return
    known = turn.fleet.by_subject.get(Subject(host.id, UNDRAIN_CHECK, ""))
    if event.ok:
        if not _is_needed(turn, host.id):
            # Otherwise another incident has asked for it meanwhile, and the hook hears of that next.
            turn.fleet.drained.pop(host.id, None)
        if known is not None:
            end(turn, turn.fleet.incidents[known], Trigger.RECOVERED, Why.UNDRAINED, f"{host.name} is in service again")
        return
    if known is None and host.id in turn.fleet.drained:
        text = f"cannot give {host.name} back to service: {event.text}; it is tried again, and stays drained until then"
        incident = open_undrain(turn, host, UNDRAIN_CHECK, text)
        to = turn.policy.default_escalate_to
        turn.do(Escalated(incident.id, incident.subject, to, "page", Why.UNDRAIN_FAILED, text, UNDRAIN_CHECK))


def _give_back(turn: Turn, host: Host) -> None:
    if not _is_needed(turn, host.id):
        turn.do(UndrainHost(host.id))


def _is_needed(turn: Turn, host: str) -> bool:
    """Whether an open incident wants it out of service."""
    return any(turn.fleet.incidents[i].drained for i in turn.fleet.by_host.get(host, {}))
