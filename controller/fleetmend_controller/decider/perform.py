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
    DrainHost,
    Effect,
    Escalated,
    PhaseChanged,
    Reason,
    RequestCheck,
    SendOrder,
    Step,
    UndrainHost,
    Verdict,
    WakeAt,
    Why,
)
from ..core.model import Order
from ..core.storms import STORM_CHECK
from ..http.metrics import Metrics
from .ports import GatewayPort
from .timers import Timers

log = logging.getLogger("fleetmend.decider")

Listener = Callable[[PhaseChanged], None]
StormListener = Callable[[Escalated], None]


@dataclass(slots=True)
class Performer:
    """Where effects go. `epoch` is that of the decider that journalled them."""

    metrics: Metrics
    timers: Timers
    gateway: GatewayPort | None = None
    epoch: int = 0
    listeners: list[Listener] = field(default_factory=list)
    on_storm: StormListener | None = None
    hands: Callable[[Order], None] | None = None
    drains: Callable[[DrainHost | UndrainHost], None] | None = None

    def perform(self, step: Step) -> None:
        """Carry out one step."""
        for reason in step.reasons:
            self._count_reason(reason)
        for effect in step.effects:
            self._perform(effect)

    def _perform(self, effect: Effect) -> None:
        match effect:
            case DrainHost() | UndrainHost():
                if self.drains is not None:
                    self.drains(effect)
            case SendOrder() | RequestCheck() | AskWitness():
                self._ask(effect)
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
            case ActionEnded():
                self.metrics.actions.labels(effect.action, effect.outcome).inc()

    def _ask(self, effect: SendOrder | RequestCheck | AskWitness) -> None:
        """Of hosts by the gateway; of the controller itself by its hands."""
        if isinstance(effect, SendOrder) and effect.order.here:
            if self.hands is not None:
                self.hands(effect.order)
        elif self.gateway is None:
            return
        elif isinstance(effect, SendOrder):
            self.gateway.send_order(effect.order, self.epoch)
        elif isinstance(effect, RequestCheck):
            self.gateway.request_check(effect.subject)
        else:
            self.gateway.ask_witness(effect)

    def _count_reason(self, reason: Reason) -> None:
        log.info(
            "incident=%s why=%s%s%s playbook=%s: %s",
            reason.incident,
            reason.why.value,
            f" gate={reason.gate}" if reason.gate else "",
            f" verdict={reason.verdict.value}" if reason.verdict else "",
            reason.playbook or "-",
            reason.text,
        )
        if reason.gate and reason.verdict is not Verdict.ALLOW:
            self.metrics.withheld.labels(reason.gate, reason.why.value).inc()

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
        if effect.why is Why.STORM and effect.subject.check == STORM_CHECK and self.on_storm is not None:
            self.on_storm(effect)

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
