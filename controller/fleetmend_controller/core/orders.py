"""From permission to order, and what its end means."""

from __future__ import annotations

from .effects import ActionEnded, DrainHost, RequestCheck, SendOrder, Why
from .events import OrderEnded
from .incidents import hold_budget
from .model import ActionStep, Attempt, Cost, Host, Incident, Order, Outcome, Params, Playbook
from .transitions import Trigger
from .turn import Turn

# Actions after which the host has another boot: it comes by the order, it does not spoil it.
REBOOT, POWER_CYCLE = "reboot_host", "power_cycle"
# Steps of their own, by the hook.
DRAIN, UNDRAIN = "drain", "undrain"

# After an order's last possible end its outcome may still be on the way.
OUTCOME_GRACE_MS = 15_000
# So long a hook may take to drain a host.
DRAIN_MS_MAX = 300_000


def issue(turn: Turn, host: Host, incident: Incident, playbook: Playbook, step: ActionStep, params: Params) -> None:
    """Write the order and take what it uses: host, budget, rate, attempt."""
    number = incident.id.removeprefix("inc-")
    expires_ms = turn.now_ms + turn.policy.order_ttl_ms
    order = Order(
        id=f"ord-{number}-{len(incident.attempts) + 1}",
        incident=incident.id,
        host=host.id,
        check="" if incident.run else incident.subject.check,
        key="" if incident.run else incident.subject.key,
        boot=host.boot,
        action=step.action,
        params=params,
        cost=step.cost,
        timeout_ms=step.timeout_ms,
        issued_ms=turn.now_ms,
        expires_ms=expires_ms,
        expires_clock_ms=expires_ms + host.clock_offset_ms,
        requested_by=playbook.owner if incident.run else f"playbook {playbook.name}",
        here=step.here,
        drain=step.drain,
    )
    incident.order = order
    incident.attempts.append(Attempt(order.id, order.action, turn.now_ms, None, ""))
    incident.ordered_ms = turn.now_ms if incident.ordered_ms is None else incident.ordered_ms
    incident.holds = ()
    incident.alone = None
    if step.cost is not Cost.HARMLESS:
        turn.fleet.acting.setdefault(host.id, {})[incident.id] = None
        hold_budget(turn, incident, host, playbook)
        count_order(turn, host, incident, playbook)
    if step.drain or step.action == DRAIN:
        # Whatever the hook answers, and whether that is heard: from now on it may hold the host.
        incident.drained = True
        turn.fleet.drained[host.id] = None
    turn.move(incident, Trigger.ALLOW)
    wake_when_overdue(turn, incident, order)
    turn.say(
        incident,
        Why.ORDERED,
        f"{order.action} {_show(params)} ordered as {order.id}, to start within {turn.policy.order_ttl_ms // 1000} s",
    )
    send(turn, order)


def send(turn: Turn, order: Order) -> None:
    """To the host; what it is drained for waits for that."""
    turn.do(DrainHost(order) if order.drain else SendOrder(order))


def ask_fresh_time(turn: Turn, host: Host, incident: Incident, order: Order) -> None:
    """An order that waited before it was sent gets its whole time."""
    order.expires_ms = turn.now_ms + turn.policy.order_ttl_ms
    order.expires_clock_ms = order.expires_ms + host.clock_offset_ms
    wake_when_overdue(turn, incident, order)


def wake_when_overdue(turn: Turn, incident: Incident, order: Order) -> None:
    """Whoever still has to drain its host has time for that before."""
    drain_ms = DRAIN_MS_MAX if order.drain else 0
    turn.wake(incident, overdue_ms(turn.now_ms, turn.policy.order_ttl_ms, order.timeout_ms) + drain_ms)


def overdue_ms(now_ms: int, ttl_ms: int, timeout_ms: int) -> int:
    """When an order that is out now must have ended, whenever it began, and its outcome should have come."""
    return now_ms + ttl_ms + timeout_ms + OUTCOME_GRACE_MS


def count_order(turn: Turn, host: Host, incident: Incident, playbook: Playbook, at_ms: int | None = None) -> None:
    """Enter an order into the host's rate and the subject's attempts; forget what no window reaches any more.

    `at_ms`: when it was, if it is told only now.
    """
    of_host = host.orders_at.setdefault(playbook.name, [])
    of_subject = turn.fleet.attempts_at.setdefault(incident.tried, [])
    for times, window_ms in ((of_host, playbook.limits.per_host.window_ms), (of_subject, playbook.limits.attempts.window_ms)):
        times[:] = [t for t in times if t > turn.now_ms - window_ms]
        times.append(turn.now_ms if at_ms is None else min(at_ms, turn.now_ms))
        times.sort()
    turn.permits_differ([host])


def record_end(turn: Turn, incident: Incident, event: OrderEnded) -> None:
    """Keep how an order ended with its incident."""
    _replace_attempt(incident, event.order, event.outcome, event.detail)
    order = incident.order
    if order is not None and order.id == event.order:
        turn.do(ActionEnded(incident.id, order.id, order.host, order.action, order.params, event.outcome.value, event.detail))


def record_late_end(turn: Turn, incident: Incident, event: OrderEnded) -> None:
    """An outcome that comes after the order was given up: known now, but it decides nothing any more."""
    for attempt in incident.attempts:
        if attempt.order == event.order and attempt.outcome is Outcome.UNKNOWN:
            _replace_attempt(incident, event.order, event.outcome, event.detail)
            turn.say(
                incident, Why.ACTION_UNKNOWN, f"late word about {event.order}: {event.outcome.value} {event.detail}".rstrip()
            )


def resend(turn: Turn, incident: Incident) -> None:
    """Send an order again; the executor's ledger makes that harmless."""
    if incident.order is not None and not incident.order.permit:
        send(turn, incident.order)


def ask_check(turn: Turn, incident: Incident) -> None:
    """Ask the host for a fresh result of the incident's own check."""
    turn.do(RequestCheck(incident.subject))


def _replace_attempt(incident: Incident, order: str, outcome: Outcome, detail: str) -> None:
    for index, attempt in enumerate(incident.attempts):
        if attempt.order == order:
            incident.attempts[index] = Attempt(attempt.order, attempt.action, attempt.at_ms, outcome, detail)


def _show(params: Params) -> str:
    return " ".join(f"{name}={value}" for name, value in params)
