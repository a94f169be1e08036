"""Does what the core wants done, after it is journalled: orders out, checks asked for, people told, everything counted."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field

from ..core.effects import (
    Acknowledged,
    ActionEnded,
    ApprovalWanted,
    AskWitness,
    Closed,
    CompareHosts,
    DrainHost,
    Effect,
    Escalated,
    PermitSpent,
    PhaseChanged,
    Reason,
    RequestCheck,
    SendOrder,
    SendPermits,
    Step,
    UndrainHost,
    Verdict,
    WakeAt,
    WakeHostAt,
)
from ..core.model import Fleet, Order, Phase
from ..core.permits import is_permit
from ..http.metrics import Metrics
from .ports import GatewayPort
from .timers import Timers

log = logging.getLogger("fleetmend.decider")

Listener = Callable[[PhaseChanged], None]
Comparer = Callable[[CompareHosts], None]


@dataclass(slots=True)
class Performer:
    """Where effects go. `epoch` is that of the decider that journalled them."""

    metrics: Metrics
    timers: Timers
    gateway: GatewayPort | None = None
    epoch: int = 0
    listeners: list[Listener] = field(default_factory=list)
    on_compare: Comparer | None = None
    hands: Callable[[Order], None] | None = None
    drains: Callable[[DrainHost | UndrainHost], None] | None = None

    def perform(self, step: Step) -> None:
        """Carry out one step."""
        for reason in step.reasons:
            self._count_reason(reason)
        for effect in step.effects:
            self._perform(effect)

    def repeat(self, fleet: Fleet) -> None:
        """After an outage of the journal: what it holds may be more than was performed. To hear it twice harms nobody."""
        if self.gateway is None:
            return
        for incident in fleet.incidents.values():
            order = incident.order
            if order is not None and not order.permit and incident.phase in (Phase.ORDERED, Phase.RUNNING):
                self._perform(DrainHost(order) if order.drain else SendOrder(order))
        self.gateway.rules_changed()

    def _perform(self, effect: Effect) -> None:
        match effect:
            case SendOrder() | SendPermits() | RequestCheck() | AskWitness() | DrainHost() | UndrainHost():
                self._send(effect)
            case PermitSpent():
                pass
            case WakeHostAt(host, at_ms):
                self.timers.set_host(host, at_ms)
            case WakeAt(incident, at_ms):
                self.timers.set(incident, at_ms)
            case PhaseChanged():
                for listener in self.listeners:
                    listener(effect)
            case Escalated():
                self._escalated(effect)
            case ApprovalWanted():
                self.metrics.approvals_wanted.inc()
                log.warning(
                    "incident=%s approval wanted of=%s order=%s: %s", effect.incident, effect.to, effect.order, effect.text
                )
            case Closed():
                self._closed(effect)
            case Acknowledged(incident, by):
                log.info("incident=%s taken by=%s", incident, by)
            case CompareHosts():
                if self.on_compare is not None:
                    self.on_compare(effect)
            case ActionEnded():
                self.metrics.actions.labels(effect.action, effect.outcome).inc()
                if is_permit(effect.order):
                    self.metrics.permits_used.labels(effect.outcome).inc()

    def _send(self, effect: SendOrder | SendPermits | RequestCheck | AskWitness | DrainHost | UndrainHost) -> None:
        """To hosts by the gateway; what the controller does itself, to its hands."""
        if isinstance(effect, DrainHost | UndrainHost):
            if self.drains is not None:
                self.drains(effect)
            return
        if isinstance(effect, SendOrder) and effect.order.here:
            if self.hands is not None:
                self.hands(effect.order)
            return
        if isinstance(effect, SendPermits):
            self.metrics.permits_issued.inc(effect.fresh)
        if self.gateway is None:
            return
        match effect:
            case SendOrder(order):
                self.gateway.send_order(order, self.epoch)
            case SendPermits():
                self.gateway.send_permits(effect, self.epoch)
            case RequestCheck(subject):
                self.gateway.request_check(subject)
            case AskWitness():
                self.gateway.ask_witness(effect)

    def _count_reason(self, reason: Reason) -> None:
        why, gate = reason.why.value, reason.gate
        log.info(
            "incident=%s why=%s%s%s playbook=%s: %s",
            reason.incident,
            why,
            f" gate={gate}" if gate else "",
            f" verdict={reason.verdict.value}" if reason.verdict else "",
            reason.playbook or "-",
            reason.text,
        )
        self.metrics.reason(why).inc()
        if gate and reason.verdict is not Verdict.ALLOW:
            self.metrics.held_back(gate, why).inc()

    def _escalated(self, effect: Escalated) -> None:
        self.metrics.escalations.labels(effect.severity, effect.why.value).inc()
        log.warning(
            "incident=%s escalated to=%s severity=%s why=%s: %s",
            effect.incident,
            effect.to,
            effect.severity,
            effect.why.value,
            effect.text,
        )

    def _closed(self, effect: Closed) -> None:
        self.metrics.incidents_closed.labels(effect.why.value).inc()
        durations = {
            "detect": effect.detect_ms,
            "decide": effect.decide_ms,
            "act": effect.act_ms,
            "prove": effect.prove_ms,
            "total": effect.total_ms,
        }
        for phase, spent_ms in durations.items():
            if spent_ms is not None:
                self.metrics.incident_phase.labels(phase).observe(spent_ms / 1000)
