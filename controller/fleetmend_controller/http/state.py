"""What the controller holds at this moment, as metrics: computed at each scrape, so that nothing goes stale or is left over."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from ..core import flaps
from ..core.gates.fleet_budget import allowance, fleet_allowance
from ..core.model import EVERYBODY, Fleet, Phase, Trust
from ..core.policy import Policy
from ..core.standing import debt, effective_trust

TRUST_LEVELS = {Trust.OBSERVE: 0, Trust.SUGGEST: 1, Trust.ACT: 2}
# Each is a series of its own: the rest is in `fleetmend report risk`.
HEALS_SHOWN_MAX = 50
OPEN_PHASES = tuple(phase for phase in Phase if phase is not Phase.RESOLVED)

Family = CounterMetricFamily | GaugeMetricFamily


@dataclass(frozen=True, slots=True)
class Budget:
    """One group of hosts: how many are being healed, how many incidents wait for their turn, and the tightest limit on it."""

    label: str
    value: str
    used: int
    waiting: int
    limit: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Plain numbers, taken quickly where the fleet lives, rendered wherever there is time."""

    incidents: dict[Phase, int]
    oldest_s: dict[Phase, float]
    hosts: dict[str, int]
    budgets: tuple[Budget, ...]
    trust: dict[str, int]
    pauses: dict[str, int]
    epoch: int
    orders: int
    storms: int
    flapping: int
    approvals: int
    heals: dict[tuple[str, str], int]


def take(fleet: Fleet, policy: Policy, now_ms: int) -> Snapshot:
    """Count what there is. Must run where the fleet is changed, or it may change underneath."""
    phases: Counter[Phase] = Counter()
    since: dict[Phase, int] = {}
    orders = approvals = 0
    for incident in fleet.incidents.values():
        if incident.phase not in OPEN_PHASES:
            continue
        phases[incident.phase] += 1
        since[incident.phase] = min(since.get(incident.phase, now_ms), incident.opened_ms)
        orders += incident.order is not None
        approvals += incident.phase is Phase.HELD and incident.asked_ms is not None
    return Snapshot(
        incidents={phase: phases[phase] for phase in OPEN_PHASES},
        oldest_s={phase: max(0, now_ms - since.get(phase, now_ms)) / 1000 for phase in OPEN_PHASES},
        hosts=_hosts(fleet),
        budgets=_budgets(fleet, policy),
        trust={playbook.name: TRUST_LEVELS[effective_trust(fleet, playbook)] for playbook in policy.playbooks},
        pauses=_pauses(fleet),
        epoch=fleet.epoch,
        orders=orders,
        storms=len(fleet.outbreaks),
        flapping=flaps.count(fleet, now_ms),
        approvals=approvals,
        heals=_heals(fleet, now_ms),
    )


def _hosts(fleet: Fleet) -> dict[str, int]:
    counts = dict.fromkeys(("up", "lost", "new"), 0)
    for host in fleet.hosts.values():
        counts["lost" if host.lost_since_ms is not None else "up" if host.boot else "new"] += 1
    return counts


def _budgets(fleet: Fleet, policy: Policy) -> tuple[Budget, ...]:
    """Every group that some playbook limits and that has hosts: the tightest limit counts."""
    limits: dict[tuple[str, str], int] = {}
    for budget, by in [(each, label) for each in policy.budgets for label in each.labels]:
        values = [value for label, value in fleet.group_size if label == by and value != "*"]
        for value in (*values, ""):
            limits[(by, value)] = min(limits.get((by, value), budget.at_most), allowance(fleet, budget, value, by))
    limits[EVERYBODY] = fleet_allowance(fleet, policy)
    return tuple(
        # A label without a name would be none in Prometheus: the whole fleet is its own group there.
        Budget(
            label or EVERYBODY[1],
            value,
            len(fleet.in_flight.get((label, value), ())),
            len(fleet.waiting.get((label, value), ())),
            limit,
        )
        for (label, value), limit in sorted(limits.items())
        if value or (label, value) in fleet.in_flight or (label, value) in fleet.waiting
    )


def _heals(fleet: Fleet, now_ms: int) -> dict[tuple[str, str], int]:
    """Repairs within the window of debt by host and subject, the worst ones."""
    counts: dict[tuple[str, str], int] = {}
    for target in fleet.heals:
        recent = len(debt(fleet, target, now_ms))
        host = fleet.hosts.get(target.host)
        if recent and host is not None:
            counts[(host.name, f"{target.check} {target.key}".strip())] = recent
    return dict(sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))[:HEALS_SHOWN_MAX])


def _pauses(fleet: Fleet) -> dict[str, int]:
    kinds = dict.fromkeys(("global", "group", "host", "playbook"), 0)
    for scope in fleet.pauses:
        kind = scope.partition(":")[0]
        kinds[kind] = kinds.get(kind, 0) + 1
    return kinds


def render(snapshot: Snapshot, version: str) -> bytes:
    """The text of the exposition format."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Families((*_incident_families(snapshot), *_fleet_families(snapshot, version))))
    return generate_latest(registry)


class _Families(Collector):
    def __init__(self, families: Sequence[Family]) -> None:
        self._families = families

    def collect(self) -> Iterator[Family]:
        return iter(self._families)


def _gauge(name: str, doc: str, labels: Sequence[str], rows: Sequence[tuple[Sequence[str], float]]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"fleetmend_{name}", doc, labels=labels)
    for values, number in rows:
        family.add_metric(values, number)
    return family


def _incident_families(s: Snapshot) -> Iterator[Family]:
    yield _gauge(
        "incidents_open",
        "Incidents that have not ended, by phase.",
        ["phase"],
        [([p.value], n) for p, n in s.incidents.items()],
    )
    yield _gauge(
        "incidents_oldest_seconds",
        "Age of the oldest incident in each phase; 0 without one.",
        ["phase"],
        [([p.value], age) for p, age in s.oldest_s.items()],
    )
    yield _gauge("orders_open", "Orders whose outcome is not journalled.", [], [([], s.orders)])
    yield _gauge("approvals_waiting", "Orders that wait for people's approval.", [], [([], s.approvals)])


def _fleet_families(s: Snapshot, version: str) -> Iterator[Family]:
    groups = ["label", "value"]
    yield _gauge(
        "hosts",
        "Enrolled hosts, by state: up, lost, or new (never connected).",
        ["state"],
        [([k], n) for k, n in s.hosts.items()],
    )
    yield _gauge(
        "budget_used", "Hosts of a group that are being healed.", groups, [([b.label, b.value], b.used) for b in s.budgets]
    )
    yield _gauge(
        "budget_limit",
        "Most hosts of a group that may be healed at once.",
        groups,
        [([b.label, b.value], b.limit) for b in s.budgets],
    )
    yield _gauge(
        "budget_waiting", "Incidents that wait for budget.", groups, [([b.label, b.value], b.waiting) for b in s.budgets]
    )
    yield _gauge(
        "playbook_trust",
        "How far a playbook may go now, after demotions: 0 observe, 1 suggest, 2 act.",
        ["playbook"],
        [([n], v) for n, v in s.trust.items()],
    )
    yield _gauge(
        "pauses", "Scopes in which healing is paused, by kind of scope.", ["kind"], [([k], n) for k, n in s.pauses.items()]
    )
    yield _gauge("storms", "Types of checks that many hosts fail together: their repairs are held.", [], [([], s.storms)])
    yield _gauge(
        "flapping_subjects",
        "Subjects that come and go: people know, and they are left alone until they are quiet.",
        [],
        [([], s.flapping)],
    )
    yield _gauge(
        "masking_heals",
        "Proved repairs of one subject within 7 days; the worst 50.",
        ["host", "subject"],
        [([host, subject], n) for (host, subject), n in s.heals.items()],
    )
    yield _gauge("decider_epoch", "Epoch of the active decider; it rises with each take-over.", [], [([], s.epoch)])
    yield _gauge("build_info", "1, with the version of the controller.", ["version"], [([version], 1)])
