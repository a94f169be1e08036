"""The gates asked again, from the checkers' own books: at each new order, was there something against it?

One function a gate, under its name; it says which promise is broken, or nothing. The flaws of the form `gate:<name>` prove that
each would notice if its gate were not there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

from fleetmend_controller.core.incidents import HOST_LOST_CHECK
from fleetmend_controller.core.model import (
    ActionStep,
    Cost,
    FleetBudget,
    NeedApproval,
    Order,
    Playbook,
    Status,
    Storm,
    Subject,
    Trust,
)
from fleetmend_controller.core.policy import Policy
from fleetmend_controller.core.storms import PAGE_WAIT_MS

from ..books import Books, Case
from .storms import CAUSE_HOSTS, fresh, groups_of, too_many

DAY_MS = 86_400_000
DEBT_MS = 7 * DAY_MS
DEBT_STEPS = (10, 30, 100)


@dataclass(frozen=True, slots=True)
class Asked:
    """A new order and what it comes from. `storm` is the most lenient limit of all rules of this world."""

    books: Books
    order: Order
    case: Case
    playbook: Playbook
    step: ActionStep
    policy: Policy
    storm: Storm

    @property
    def now_ms(self) -> int:
        """When it was given."""
        return self.books.now_ms

    @property
    def labels(self) -> dict[str, str]:
        """Those of its host."""
        return self.books.labels[self.order.host]

    @property
    def subject(self) -> Subject:
        """What it is to heal."""
        return self.case.subject

    @property
    def harmless(self) -> bool:
        """Whether it disturbs nothing."""
        return self.order.cost is Cost.HARMLESS

    @property
    def evidence_ms(self) -> int:
        """When what it stands on was seen: the newest bad sample, of a silent host the oldest word of who missed it."""
        if self.subject.check == HOST_LOST_CHECK:
            return min(self.books.missed_ms(self.case.id).values(), default=0)
        return self.books.evidence_ms.get(self.subject, 0)

    @property
    def trust(self) -> Trust:
        """How far its playbook may go, after demotions."""
        return Trust.ACT if self.case.run else self.books.trust(self.playbook)


def paused(a: Asked) -> str:
    """No order in a scope that somebody paused."""
    name = "operator" if a.case.run else a.playbook.name
    scopes = {"global", f"host:{a.order.host}", f"playbook:{name}"} | {f"group:{k}={v}" for k, v in a.labels.items()}
    for pause in a.books.pauses.values():
        if pause.scope in scopes and (pause.until_ms is None or pause.until_ms > a.now_ms):
            return f"although {pause.scope} is paused"
    return ""


def trust(a: Asked) -> str:
    """A playbook that only observes orders nothing."""
    return f"although {a.playbook.name} only observes" if a.trust is Trust.OBSERVE else ""


def maintenance(a: Asked) -> str:
    """No order of a playbook while maintenance is announced."""
    if a.case.run:
        return ""
    for window in a.books.windows.values():
        covers = a.order.host in window.hosts or (
            bool(window.terms) and all(a.labels.get(label) in values for label, values in window.terms)
        )
        if not covers:
            continue
        start_ms = window.start_ms
        if window.repeat:
            # The simulated windows repeat daily, in UTC.
            hours, minutes = window.repeat.split()[1].split(":")
            start_ms = a.now_ms // DAY_MS * DAY_MS + int(hours) * 3_600_000 + int(minutes) * 60_000
            start_ms -= DAY_MS if start_ms > a.now_ms else 0
        length_ms = window.end_ms - window.start_ms
        if window.start_ms <= start_ms <= a.now_ms < start_ms + length_ms:
            return f"within maintenance {window.id}"
    return ""


def observer(a: Asked) -> str:
    """No order while most of the fleet seems lost, nor on evidence from before the last doubt."""
    lost, hosts = len(a.books.lost), len(a.books.labels)
    if lost >= 3 and lost * 100 >= hosts * a.policy.lost_share_percent:
        return f"although {lost} of {hosts} hosts seem lost"
    if not a.case.run and a.evidence_ms < a.books.doubt_ms:
        return "on evidence from before the controller doubted itself"
    return ""


def evidence_fresh(a: Asked) -> str:
    """Orders rest on a recent sample that says CRIT, on a host that is there."""
    witnessed = a.subject.check == HOST_LOST_CHECK and a.order.here
    if a.order.host in a.books.lost and not witnessed:
        return "on a lost host"
    if a.case.run:
        return ""
    age_ms = a.now_ms - a.evidence_ms
    if age_ms > a.policy.evidence_max_age_ms:
        return f"on evidence that is {age_ms} ms old"
    result = a.books.results.get(a.subject)
    if witnessed:
        return ""
    if result is None or result.status is not Status.CRIT:
        return f"although the newest result is {result}"
    return ""


def fault_duration(a: Asked) -> str:
    """A fault lasts for a while before anything is done."""
    lasted_ms = a.now_ms - a.books.first_bad_ms.get(a.subject, a.now_ms)
    if not a.case.run and lasted_ms < a.playbook.for_ms:
        return f"after {lasted_ms} ms of fault, {a.playbook.for_ms} asked for"
    return ""


def one_at_a_time(a: Asked) -> str:
    """Never two disruptive orders out on one host."""
    others = [o for o in a.books.out.get(a.order.host, {}) if o != a.order.id]
    return f"while {others} are out on {a.order.host}" if others and not a.harmless else ""


def flapping(a: Asked) -> str:
    """What comes and goes is not repaired again and again."""
    if a.case.run:
        return ""
    limit, times = a.playbook.limits.flapping, a.books.openings.get(a.case.tried, [])
    recent = sum(1 for t in times if t > a.now_ms - limit.within_ms)
    if recent >= limit.count:
        return f"although {a.case.tried} turned bad {recent} times"
    told_ms = a.books.flapping.get(a.case.tried)
    if told_ms is None:
        return ""
    since = times[max(0, sum(1 for t in times if t <= told_ms) - 1) :]
    quiet = any(later - earlier >= limit.quiet_ms for earlier, later in pairwise([*since, a.now_ms]))
    return "" if quiet else f"although {a.case.tried} flaps and was not quiet since"


def attempts(a: Asked) -> str:
    """Tries on one subject are few, and further and further apart; fewer for what is healed again and again."""
    if a.harmless:
        return ""
    limit = a.playbook.limits.attempts
    heals = sum(1 for t in a.books.heals.get(a.case.tried, []) if t > a.now_ms - DEBT_MS)
    most = max(1, limit.max >> sum(1 for step in DEBT_STEPS if heals >= step))
    recent = [t for t in a.books.tries.get(a.case.tried, []) if t > a.now_ms - limit.window_ms]
    if len(recent) >= most:
        return f"is try {len(recent) + 1} within the window, limit {most}"
    if recent and a.now_ms - recent[-1] < limit.backoff_ms * limit.factor ** (len(recent) - 1):
        return f"comes {a.now_ms - recent[-1]} ms after try {len(recent)}"
    return ""


def per_host(a: Asked) -> str:
    """A playbook acts on one host at its rate at most."""
    rate = a.playbook.limits.per_host
    used = sum(1 for t in a.books.acted.get((a.order.host, a.playbook.name), []) if t > a.now_ms - rate.window_ms)
    if not a.harmless and used >= rate.count:
        return f"is one too many on {a.order.host}: {rate.count} within {rate.window_ms} ms"
    return ""


def fleet_budget(a: Asked) -> str:
    """No more hosts of any group are disturbed than allowed, nor of the whole fleet."""
    if a.harmless:
        return ""
    others = {host for host in _disturbed_before(a) if host != a.order.host}
    if a.order.host in _disturbed_before(a):
        return ""
    ceiling, hosts = a.policy.ceiling, len(a.books.labels)
    if len(others) >= min(ceiling.at_most, max(ceiling.at_least, hosts * ceiling.percent // 100)):
        return f"is one too many for the fleet: {sorted(others)} are in work"
    budgets = [a.playbook.limits.fleet]
    if a.case.run:
        budgets += [playbook.limits.fleet for playbook in a.policy.playbooks]
    for budget in budgets:
        for label in (budget.by, *budget.also):
            text = _too_many(a, budget, label, others)
            if text:
                return text
    return ""


def _too_many(a: Asked, budget: FleetBudget, label: str, others: set[str]) -> str:
    value = a.labels.get(label, "")
    used = sum(1 for host in others if a.books.labels[host].get(label, "") == value)
    most = min(budget.at_most, max(1, a.books.size(label, value) * budget.percent // 100))
    return f"is one too many: {used} hosts of {label}={value} are in work, {most} may be" if used >= most else ""


def _disturbed_before(a: Asked) -> set[str]:
    """The hosts in work but for this order's own incident."""
    return {c.subject.host for c in a.books.cases.values() if c.disturbs and c.id != a.case.id}


def minimum_healthy(a: Asked) -> str:
    """No group is taken below its floor, whoever wants it."""
    if a.harmless:
        return ""
    floors = [a.playbook.limits.floor, *(playbook.limits.floor for playbook in a.policy.playbooks)]
    for floor in floors:
        value = a.labels.get(floor.by, "") if floor is not None else ""
        if floor is None or not value:
            continue
        down = {c.subject.host for c in a.books.cases.values() if not c.run or c.disturbs} | {a.order.host}
        size = a.books.size(floor.by, value)
        healthy = size - sum(1 for host in down if a.books.labels.get(host, {}).get(floor.by) == value)
        needed = min(size - 1, -(-size * floor.percent // 100))
        if healthy < needed:
            return f"takes {floor.by}={value} to {healthy} healthy hosts of {size}, {needed} needed"
    return ""


def storm(a: Asked) -> str:
    """What many hosts have at about one time is not repaired one by one, until it is over."""
    if a.case.run:
        return ""
    if a.case.kind in a.books.storms:
        return f"although {a.books.storms[a.case.kind]} is a storm of {a.case.kind}"
    hosts = fresh(a.books, a.case.kind, a.storm.within_ms)
    for group in groups_of(a.labels):
        if too_many(a.books, group, hosts, a.storm):
            return f"although hosts of {group} fail {a.case.kind} together: {sorted(hosts)}"
    if len(hosts) >= max(CAUSE_HOSTS, a.storm.hosts) and a.now_ms < a.case.opened_ms + PAGE_WAIT_MS:
        return f"although {len(hosts)} hosts have begun to fail {a.case.kind}: what they share is not known yet"
    return ""


def human_present(a: Asked) -> str:
    """Nothing is disturbed where somebody is at work."""
    until_ms = a.books.people.get(a.order.host, 0)
    if not a.harmless and not a.case.run and until_ms > a.now_ms:
        return f"although somebody is at work on {a.order.host} until {until_ms}"
    return ""


def approval(a: Asked) -> str:
    """What needs approval has that of enough different people, for just this, and of nobody who asked for it."""
    does = content(a.playbook, a.order)
    if a.books.contents.get((a.order.id, a.books.denied.get(a.order.id, ""))) == does:
        return "although it was denied"
    wanted = a.playbook.approval
    needed = a.trust is Trust.SUGGEST or wanted.needed_for is NeedApproval.DISRUPTIVE
    needed |= a.order.cost is Cost.DESTRUCTIVE and wanted.needed_for is not NeedApproval.NEVER
    if a.harmless or not needed:
        return ""
    asked = a.books.asked.get(a.order.id)
    if asked is None:
        return "although nobody was asked to approve it"
    if a.books.contents.get((a.order.id, asked.what)) != does:
        return f"although people were asked for something else ({asked.what})"
    said = people(a)
    return f"with the approval of {sorted(said)}, {wanted.people} needed" if len(said) < wanted.people else ""


def people(a: Asked) -> set[str]:
    """Who approved just this, in time, and did not ask for it."""
    since_ms, asked = a.now_ms - a.playbook.approval.within_ms, a.books.asked.get(a.order.id)
    answers = a.books.answers.get(a.order.id, [])
    said = [answer for answer in answers if asked is not None and answer.what == asked.what and answer.at_ms > since_ms]
    found = {answer.by.partition(" (")[0] for answer in said}
    return found - {a.playbook.owner.partition(" (")[0]} if a.case.run else found


def content(playbook: Playbook, order: Order) -> tuple[object, ...]:
    """What an order does, as people approve it."""
    return playbook.name, order.action, order.params, order.cost


WATCHES: dict[str, Callable[[Asked], str]] = {
    watch.__name__: watch
    for watch in (
        paused,
        trust,
        maintenance,
        observer,
        evidence_fresh,
        fault_duration,
        one_at_a_time,
        flapping,
        attempts,
        per_host,
        fleet_budget,
        minimum_healthy,
        storm,
        human_present,
        approval,
    )
}
