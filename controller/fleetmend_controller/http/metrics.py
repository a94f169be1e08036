"""The controller's own metrics, in one object handed to whoever counts. Names and labels are a contract with the dashboards."""

from __future__ import annotations

import itertools
from functools import cache

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics

from ..core.effects import Why
from ..core.model import Outcome

# The usual ends of incidents; others get a series when they first happen.
CLOSED_BY = (
    *(Why.HEALED, Why.HEALED_ALONE, Why.RECOVERED_UNSURE, Why.WENT_AWAY, Why.HEALED_BY_PERSON),
    *(Why.RAN, Why.HOST_BACK, Why.HOST_REMOVED),
)
ESCALATED_BY = (Why.STEPS_EXHAUSTED, Why.ATTEMPTS_EXHAUSTED, Why.NO_PLAYBOOK, Why.HOST_LOST)
DOUBTED_BY = ("loop_stalled", "clock_jumped", "journal_outage")
SEVERITIES = ("page", "ticket")
PHASES = ("detect", "decide", "act", "prove", "total")
_PHASE_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 7200)


class Metrics:
    """Every counter, gauge and histogram of one controller, on a registry of its own."""

    def __init__(self) -> None:
        # The time at which each series began doubles what is scraped, and the text format has no use for it.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        self._of_healing(self.registry)
        self._of_the_journal(self.registry)
        self._of_the_gateway(self.registry)
        self._of_other_systems(self.registry)
        self._begin_at_zero()

    def _of_healing(self, r: CollectorRegistry) -> None:
        self.incident_phase = Histogram(
            "fleetmend_incident_phase_seconds",
            "How long ended incidents took: detect, decide, act, prove, total.",
            ["phase"],
            buckets=_PHASE_BUCKETS,
            registry=r,
        )
        self.incidents_closed = Counter(
            "fleetmend_incidents_closed_total", "Incidents that ended, by reason.", ["reason"], registry=r
        )
        self.actions = Counter(
            "fleetmend_actions_total", "Orders that ended, by action and outcome.", ["action", "outcome"], registry=r
        )
        self.withheld = Counter(
            "fleetmend_actions_withheld_total", "Candidate actions that a gate held or refused.", ["gate", "reason"], registry=r
        )
        self.escalations = Counter(
            "fleetmend_escalations_total", "Incidents handed to people.", ["severity", "reason"], registry=r
        )
        self.reasons = Counter(
            "fleetmend_reasons_total",
            "Everything that was decided, by reason: the words of explain and log.",
            ["reason"],
            registry=r,
        )
        # Finding a series by its labels costs more than counting, and a storm counts tens of thousands of reasons.
        self.reason = cache(self.reasons.labels)
        self.held_back = cache(self.withheld.labels)
        self.approvals_wanted = Counter(
            "fleetmend_approvals_wanted_total", "Orders that people were asked to approve.", registry=r
        )
        self.permits_issued = Counter(
            "fleetmend_permits_issued_total",
            "Permits given to hosts ahead of time, for repairs while no controller can be asked.",
            registry=r,
        )
        self.permits_used = Counter(
            "fleetmend_permits_used_total", "Permits that hosts reported as used, by outcome.", ["outcome"], registry=r
        )
        self.observer_doubted = Counter(
            "fleetmend_observer_doubted_total",
            "Times the controller could not trust what it knew, by cause: no orders until hosts are heard afresh.",
            ["cause"],
            registry=r,
        )
        self.condition_errors = Counter(
            "fleetmend_playbook_condition_errors_total",
            "Playbook conditions that failed to evaluate, which counts as no.",
            ["playbook"],
            registry=r,
        )
        self.rules_reloads = Counter(
            "fleetmend_rules_reloads_total", "Loads of the rule files, by result.", ["result"], registry=r
        )

    def _of_the_journal(self, r: CollectorRegistry) -> None:
        self.journal_rows = Counter("fleetmend_journal_rows_total", "Rows appended to the journal.", registry=r)
        self.journal_commit = Histogram(
            "fleetmend_journal_commit_seconds",
            "Time of one group commit.",
            buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1, 5),
            registry=r,
        )
        self.journal_failures = Counter("fleetmend_journal_failures_total", "Group commits that failed.", registry=r)
        self.journal_writable = Gauge(
            "fleetmend_journal_writable", "1 while the journal takes rows; 0: no orders are given.", registry=r
        )
        self.decisions = Histogram(
            "fleetmend_decision_seconds",
            "From the arrival of an event to its durable decision.",
            buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1, 5),
            registry=r,
        )

    def _of_the_gateway(self, r: CollectorRegistry) -> None:
        self.refused = Counter(
            "fleetmend_gateway_refused_total",
            "Connections and calls refused before any handler, by reason.",
            ["reason"],
            registry=r,
        )
        self.streams = Gauge("fleetmend_gateway_streams", "Agent streams that are open.", registry=r)
        self.messages = Counter("fleetmend_gateway_messages_total", "Messages from agents, by kind.", ["kind"], registry=r)
        self.rejected_records = Counter(
            "fleetmend_gateway_rejected_records_total",
            "Records from agents that were not accepted, by reason.",
            ["reason"],
            registry=r,
        )
        self.rpc_errors = Counter(
            "fleetmend_rpc_errors_total", "Calls whose handler failed unexpectedly.", ["method"], registry=r
        )
        self.certificate_expiry = Gauge(
            "fleetmend_certificate_expiry_timestamp_seconds",
            "When a certificate of the controller ends, Unix time: `ca` or `server`.",
            ["certificate"],
            registry=r,
        )

    def _of_other_systems(self, r: CollectorRegistry) -> None:
        self.notifications = Counter(
            "fleetmend_notifications_total",
            "Tries to tell people, by channel and outcome: accepted, retried, refused or given_up.",
            ["channel", "outcome"],
            registry=r,
        )
        self.notifications_pending = Gauge(
            "fleetmend_notifications_pending", "Messages to people that no channel has taken yet.", registry=r
        )
        self.alerts = Counter(
            "fleetmend_alerts_received_total",
            "Alerts that Alertmanager told, by what became of them: placed, unplaced (no host or several), own, rejected.",
            ["outcome"],
            registry=r,
        )
        self.alerts_unplaced = Gauge(
            "fleetmend_alerts_unplaced", "Alerts that fire and belong to no host, or to several.", registry=r
        )
        self.webhook_refused = Counter(
            "fleetmend_alertmanager_refused_total", "Calls of Alertmanager's webhook that were refused.", ["reason"], registry=r
        )

    def _begin_at_zero(self) -> None:
        """Series whose labels are known exist from the start, so that a first increase is seen as one."""
        for phase in PHASES:
            self.incident_phase.labels(phase)
        for result in ("loaded", "unchanged", "refused"):
            self.rules_reloads.labels(result)
        for cause in DOUBTED_BY:
            self.observer_doubted.labels(cause)
        for ended in Outcome:
            self.permits_used.labels(ended.value)
        for why in Why:
            self.reasons.labels(why.value)
        for why in CLOSED_BY:
            self.incidents_closed.labels(why.value)
        for outcome in ("placed", "unplaced", "own", "rejected"):
            self.alerts.labels(outcome)
        for severity, why in itertools.product(SEVERITIES, ESCALATED_BY):
            self.escalations.labels(severity, why.value)
