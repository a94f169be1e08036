"""What must always hold of a fleet, one function each. Simulation and tests ask all of them after every event."""

from __future__ import annotations

from collections.abc import Callable

from .gates.fleet_budget import allowance, fleet_allowance
from .inquiry import INDEPENDENT_MIN, Reach, independent
from .lost import several_racks
from .model import EVERYBODY, Cost, Fleet, Phase
from .orders import POWER_CYCLE
from .policy import Policy

Invariant = Callable[[Fleet, Policy], list[str]]


def one_incident_a_subject(fleet: Fleet, _policy: Policy) -> list[str]:
    """Every open incident is the only one of its subject, and every index points at it."""
    wrong = [
        f"{i.id} is not found under its subject" for i in fleet.incidents.values() if fleet.by_subject.get(i.subject) != i.id
    ]
    wrong += [f"{s} points at {i}, which is closed" for s, i in fleet.by_subject.items() if i not in fleet.incidents]
    wrong += [f"{t} points at {i}, which is closed" for t, i in fleet.by_target.items() if i not in fleet.incidents]
    wrong += [f"symptom {s} of closed {i}" for s, i in fleet.symptom_of.items() if i not in fleet.incidents]
    return wrong


def closed_incidents_are_gone(fleet: Fleet, _policy: Policy) -> list[str]:
    """A resolved incident is history: it is in the journal, not in the fleet."""
    return [f"{i.id} is resolved and still here" for i in fleet.incidents.values() if i.phase is Phase.RESOLVED]


def one_disruptive_action_a_host(fleet: Fleet, _policy: Policy) -> list[str]:
    """Never two disruptive orders out on one host."""
    out: dict[str, list[str]] = {}
    for incident in fleet.incidents.values():
        # What a host does alone is no order of ours: it keeps the two apart itself.
        ours = incident.order is not None and not incident.order.permit and incident.order.cost is not Cost.HARMLESS
        if incident.phase in (Phase.ORDERED, Phase.RUNNING) and ours:
            out.setdefault(incident.subject.host, []).append(incident.id)
    wrong = [f"{host}: orders of {ids} are out together" for host, ids in out.items() if len(ids) > 1]
    wrong += [
        f"{host}: {sorted(ids)} are marked as acting, {sorted(out.get(host, []))} are"
        for host, ids in fleet.acting.items()
        if list(ids) != out.get(host)
    ]
    return wrong


def an_order_out_has_its_incident(fleet: Fleet, _policy: Policy) -> list[str]:
    """Ordered and running incidents have an order; waiting and escalated ones have none."""
    wrong = []
    for incident in fleet.incidents.values():
        should = incident.phase in (Phase.ORDERED, Phase.RUNNING)
        may = should or incident.phase is Phase.PROVING
        if should and incident.order is None:
            wrong.append(f"{incident.id} is {incident.phase.value} without an order")
        if not may and incident.order is not None:
            wrong.append(f"{incident.id} is {incident.phase.value} and still has {incident.order.id}")
    return wrong


def budget_is_the_sum_of_its_holders(fleet: Fleet, _policy: Policy) -> list[str]:
    """The ledger of the fleet budget says exactly what the incidents hold."""
    held: dict[tuple[str, str], dict[str, int]] = {}
    for incident in fleet.incidents.values():
        for group in incident.groups:
            hosts = held.setdefault(group, {})
            hosts[incident.subject.host] = hosts.get(incident.subject.host, 0) + 1
    return [] if held == fleet.in_flight else [f"the budget ledger says {fleet.in_flight}, the incidents hold {held}"]


def groups_are_counted(fleet: Fleet, _policy: Policy) -> list[str]:
    """Group sizes match the hosts' labels."""
    sizes: dict[tuple[str, str], int] = {}
    for host in fleet.hosts.values():
        for label, value in host.labels.items():
            sizes[(label, value)] = sizes.get((label, value), 0) + 1
            sizes[(label, "*")] = sizes.get((label, "*"), 0) + 1
    return [] if sizes == fleet.group_size else [f"group sizes are {fleet.group_size}, should be {sizes}"]


def the_sick_are_counted(fleet: Fleet, _policy: Policy) -> list[str]:
    """The number of open incidents of each host in each of its groups is right."""
    sick: dict[tuple[str, str], dict[str, int]] = {}
    for incident in fleet.incidents.values():
        host = fleet.hosts.get(incident.subject.host)
        if host is None or incident.run is not None:
            continue
        for group in host.labels.items():
            hosts = sick.setdefault(group, {})
            hosts[host.id] = hosts.get(host.id, 0) + 1
    return [] if sick == fleet.sick else [f"the sick are {fleet.sick}, should be {sick}"]


def the_lost_are_known(fleet: Fleet, _policy: Policy) -> list[str]:
    """Who is lost is lost in both places."""
    lost = {host.id for host in fleet.hosts.values() if host.lost_since_ms is not None}
    return [] if lost == fleet.lost.keys() else [f"lost are {sorted(fleet.lost)}, should be {sorted(lost)}"]


def witnesses_are_asked_about_what_is_open(fleet: Fleet, _policy: Policy) -> list[str]:
    """Who is asked about is an open incident of a lost host without a verdict, and all such incidents are known."""
    asked = {i.id for i in fleet.incidents.values() if i.inquiry is not None and i.inquiry.round and i.inquiry.verdict is None}
    return [] if asked == fleet.inquiries.keys() else [f"asked about {sorted(fleet.inquiries)}, should be {sorted(asked)}"]


def only_the_dead_are_power_cycled(fleet: Fleet, policy: Policy) -> list[str]:
    """A power cycle that was just ordered stands on the fresh words of two independent witnesses."""
    wrong = []
    for i in fleet.incidents.values():
        if i.order is None or i.order.action != POWER_CYCLE or i.order.issued_ms != fleet.now_ms:
            continue
        missed = [w for w in i.inquiry.words if w.reach is Reach.NOT_REACHED and w.host] if i.inquiry is not None else []
        fresh = [w for w in missed if fleet.now_ms - w.said_ms <= policy.evidence_max_age_ms]
        seen = i.inquiry is not None and any(w.reach is Reach.REACHED for w in i.inquiry.words)
        if seen or independent(fresh, several_racks(fleet)) < INDEPENDENT_MIN:
            wrong.append(f"{i.order.id} on {i.subject.host} without two independent witnesses: {missed}")
    return wrong


def the_drained_are_known(fleet: Fleet, _policy: Policy) -> list[str]:
    """A host that an open incident drained is known to be drained."""
    return [
        f"{i.id} drained {i.subject.host}, which nobody knows"
        for i in fleet.incidents.values()
        if i.drained and i.subject.host not in fleet.drained
    ]


def storms_have_their_incident(fleet: Fleet, _policy: Policy) -> list[str]:
    """A storm is an open incident that people were told of."""
    return [f"storm of {kind} without its incident" for kind, o in fleet.outbreaks.items() if o.incident not in fleet.incidents]


def who_counts_for_a_storm_is_sick(fleet: Fleet, _policy: Policy) -> list[str]:
    """Only hosts with an open incident of the type count as freshly sick."""
    sick = {(i.fault, i.subject.host) for i in fleet.incidents.values()}
    return [
        f"{host} counts for a storm of {kind} in {label}={value}, and has no such incident"
        for (kind, label, value), hosts in fleet.fresh_bad.items()
        for host in hosts
        if (kind, host) not in sick
    ]


def waiting_incidents_will_be_woken(fleet: Fleet, _policy: Policy) -> list[str]:
    """Every incident that is neither escalated nor closed has a time at which it looks at itself again."""
    awake = (Phase.ESCALATED, Phase.RESOLVED)
    return [
        f"{i.id} is {i.phase.value} and nothing will wake it"
        for i in fleet.incidents.values()
        if i.phase not in awake and i.wake_ms is None
    ]


def budgets_are_kept(fleet: Fleet, policy: Policy) -> list[str]:
    """No group has more hosts in work than the most generous playbook over its label allows, nor the fleet than its ceiling.

    What hosts do alone takes a place, but nobody could ask whether there is one.
    """
    wrong = []
    holding = [i for i in fleet.incidents.values() if i.groups]
    ours = {i.subject.host for i in holding if i.order is None or not i.order.permit}
    alone = {i.subject.host for i in holding} - ours
    in_work = {group: [host for host in hosts if host not in alone] for group, hosts in fleet.in_flight.items()}
    for (label, value), hosts in in_work.items():
        budgets = [budget for budget in policy.budgets if label in budget.labels]
        if budgets and len(hosts) > max(allowance(fleet, b, value, label) for b in budgets):
            wrong.append(f"{label}={value}: {len(hosts)} hosts in work")
    everywhere = len(in_work.get(EVERYBODY, ()))
    if everywhere > fleet_allowance(fleet, policy):
        wrong.append(f"the whole fleet: {everywhere} hosts in work")
    return wrong


ALWAYS: tuple[Invariant, ...] = (
    one_incident_a_subject,
    closed_incidents_are_gone,
    one_disruptive_action_a_host,
    an_order_out_has_its_incident,
    budget_is_the_sum_of_its_holders,
    groups_are_counted,
    the_sick_are_counted,
    the_lost_are_known,
    witnesses_are_asked_about_what_is_open,
    only_the_dead_are_power_cycled,
    the_drained_are_known,
    storms_have_their_incident,
    who_counts_for_a_storm_is_sick,
    waiting_incidents_will_be_woken,
)


def broken(fleet: Fleet, policy: Policy, invariants: tuple[Invariant, ...] = ALWAYS) -> list[str]:
    """Every violation, as sentences."""
    return [f"{i.__name__}: {text}" for i in invariants for text in i(fleet, policy)]
