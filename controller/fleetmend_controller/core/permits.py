"""What a host may do while no controller can be asked: decided while it can, by every gate that can be asked ahead of a fault.

A permit keeps its id over as many sets as it takes until it is used: a host that comes and goes gains none by it. The host's
own ledger counts once more. What changes an answer makes the set be looked at again at once; what ends at a time, at that time.
"""

from __future__ import annotations

import hashlib

from .allowance import Allowance, Permits
from .effects import Grant, SendPermits, Verdict
from .events import HostWoken
from .gates import Answer, Candidate
from .model import ActionStep, Host, Incident, Phase, Playbook, Status, Subject, WaitStep
from .policy import Reach
from .standing import effective_trust
from .turn import Turn

PERMIT_PREFIX = "permit-"
# How often a playbook may act on a host alone within the window of its per_host limit, or less if that limit is lower.
PERMITS_MAX = 3
LEFT_MAX = 1_000
USED_MAX = 256


def woken(turn: Turn, event: HostWoken) -> None:
    """The time has come to look at a host's permits again."""
    host = turn.fleet.hosts.get(event.host)
    if host is not None and host.permits.due_ms is not None and turn.now_ms >= host.permits.due_ms:
        look(turn, host)


def look(turn: Turn, host: Host, *, again: bool = False) -> None:
    """Give the host the permits that fit now, if they differ from what it was given or end soon. `again`: in any case."""
    permits = host.permits
    permits.due_ms = None
    if (not turn.policy.alone and not permits.version) or not host.boot or host.lost_since_ms is not None:
        return
    rechecks: list[int] = []
    minted = sum(len(book.live) for book in permits.books.values())
    grants = [grant for playbook in turn.policy.playbooks if (grant := _grant(turn, host, playbook, rechecks)) is not None]
    minted = sum(len(book.live) for book in permits.books.values()) - minted
    left_units, left_subjects = _left(turn, host) if grants else ((), ())
    told = _digest(grants, left_units, left_subjects)
    half_ms = turn.policy.permit_ttl_ms // 2
    stale = bool(grants) and permits.expires_ms - turn.now_ms <= half_ms
    if again or told != permits.told or stale:
        _give(turn, host, tuple(grants), left_units, left_subjects, minted)
    permits.told = told
    permits.granted = [permit for grant in grants for permit in grant.permits]
    if grants:
        rechecks.append(max(turn.now_ms + 1_000, min(turn.now_ms + half_ms, permits.expires_ms)))
    if rechecks:
        turn.wake_host(host, min(rechecks))


def live(host: Host, now_ms: int) -> int:
    """How many repairs a host may do alone now."""
    permits = host.permits
    return sum(1 for permit in permits.granted if permit not in permits.used) if now_ms < permits.expires_ms else 0


def is_permit(order: str) -> bool:
    """Whether an order's id is a permit's."""
    return order.startswith(PERMIT_PREFIX)


def deed(playbook: Playbook) -> tuple[int, ActionStep] | None:
    """The step that a permit stands for, and its place: the first one that the check proves."""
    steps = enumerate(playbook.steps)
    return next(((n, step) for n, step in steps if isinstance(step, ActionStep) and step.prove is not None), None)


def spend(host: Host, permit: str, playbook: str, at_ms: int) -> None:
    """A permit was used then."""
    book = host.permits.books.setdefault(playbook, Allowance())
    book.used_ms.append(at_ms)
    book.used_ms.sort()
    for other in host.permits.books.values():
        if permit in other.live:
            other.live.remove(permit)


def is_known(host: Host, permit: str) -> bool:
    """Whether the permit was given to the host, and not reported as used."""
    return any(permit in book.live for book in host.permits.books.values())


def _grant(turn: Turn, host: Host, playbook: Playbook, rechecks: list[int]) -> Grant | None:
    reach_of = turn.policy.alone.get(playbook.name)
    found = deed(playbook)
    if reach_of is None or found is None:
        return None
    index, step = found
    reach = reach_of(host)
    if reach is None:
        return None
    blockers = [answer for answer in _ask(turn, host, playbook, step, reach) if answer.verdict is not Verdict.ALLOW]
    if blockers:
        rechecks += [
            answer.recheck_ms for answer in blockers if answer.recheck_ms is not None and answer.recheck_ms > turn.now_ms
        ]
        return None
    ids = _ids(turn, host, playbook, rechecks)
    before = playbook.steps[:index]
    return Grant(
        playbook=playbook.name,
        permits=ids,
        reach=reach.text,
        first=tuple(each for each in before if isinstance(each, ActionStep)),
        step=step,
        for_ms=playbook.for_ms + sum(each.wait_ms for each in before if isinstance(each, WaitStep)),
        backoff_ms=playbook.limits.attempts.backoff_ms,
        factor=playbook.limits.attempts.factor,
        count=min(PERMITS_MAX, playbook.limits.per_host.count),
        window_ms=playbook.limits.per_host.window_ms,
    ) if ids else None  # fmt: skip


def _ask(turn: Turn, host: Host, playbook: Playbook, step: ActionStep, reach: Reach) -> list[Answer]:
    """What the gates say that need no fault to look at. Only a storm asks which check it would be."""
    gates = [gate for gate in turn.policy.gates if gate.ahead]
    trust = effective_trust(turn.fleet, playbook)
    answers: list[Answer] = []
    for check_type in reach.types if turn.fleet.outbreaks else reach.types[:1]:
        incident = _supposed(turn, host, playbook, check_type)
        candidate = Candidate(turn.now_ms, turn.fleet, turn.policy, host, incident, playbook, step, trust)
        answers += [gate.ask(candidate) for gate in gates]
    return answers


def _supposed(turn: Turn, host: Host, playbook: Playbook, check_type: str) -> Incident:
    now_ms = turn.now_ms
    subject = Subject(host.id, playbook.check, "")
    return Incident("", subject, check_type, {}, "", Status.CRIT, Phase.OPEN, now_ms, now_ms, now_ms)


def _ids(turn: Turn, host: Host, playbook: Playbook, rechecks: list[int]) -> tuple[str, ...]:
    """The permits that are left within the window; new ones only where a used one has left it."""
    rate, permits = playbook.limits.per_host, host.permits
    book = permits.books.setdefault(playbook.name, Allowance())
    since_ms = turn.now_ms - rate.window_ms
    book.used_ms[:] = [at_ms for at_ms in book.used_ms if at_ms > since_ms]
    acted = [at_ms for at_ms in host.orders_at.get(playbook.name, ()) if at_ms > since_ms]
    room = max(0, min(PERMITS_MAX - len(book.used_ms), rate.count - len(acted)))
    spent = [*book.used_ms[:1], *acted[:1]]
    if spent:
        rechecks.append(min(spent) + rate.window_ms)
    while len(book.live) < room:
        permits.minted += 1
        book.live.append(f"{PERMIT_PREFIX}{host.id}-{turn.now_ms}-{permits.minted}")
    return tuple(book.live[:room])


def _left(turn: Turn, host: Host) -> tuple[tuple[str, ...], tuple[tuple[str, str], ...]]:
    """Units and subjects that people have in hand."""
    units: dict[str, None] = {}
    subjects: dict[tuple[str, str], None] = {}
    for incident_id in turn.fleet.by_host.get(host.id, {}):
        incident = turn.fleet.incidents[incident_id]
        flaps = any(hold.startswith("flapping:") for hold in incident.holds)
        if incident.run is not None or not (flaps or incident.phase is Phase.ESCALATED):
            continue
        if incident.target is not None:
            units[incident.target[1]] = None
        for subject in (incident.subject, *incident.symptoms):
            subjects[(subject.check, subject.key)] = None
    return tuple(sorted(units))[:LEFT_MAX], tuple(sorted(subjects))[:LEFT_MAX]


def _give(
    turn: Turn,
    host: Host,
    grants: tuple[Grant, ...],
    left_units: tuple[str, ...],
    left_subjects: tuple[tuple[str, str], ...],
    minted: int,
) -> None:
    permits = host.permits
    if not grants and not permits.version:
        return
    _forget(turn, permits)
    permits.version = max(permits.version + 1, turn.now_ms)
    permits.expires_ms = _expires_ms(turn, host)
    turn.do(
        SendPermits(
            host=host.id,
            boot=host.boot,
            version=permits.version,
            expires_clock_ms=max(0, permits.expires_ms + host.clock_offset_ms),
            grants=grants,
            left_units=left_units,
            left_subjects=left_subjects,
            fresh=minted,
        )
    )


def _expires_ms(turn: Turn, host: Host) -> int:
    """A while, and never into maintenance that is announced."""
    ends_ms = turn.now_ms + turn.policy.permit_ttl_ms
    for window in turn.fleet.windows.values():
        if window.covers(host.id, host.labels):
            start_ms = turn.policy.window_start(window, turn.now_ms)
            ends_ms = ends_ms if start_ms is None else min(ends_ms, start_ms)
    return ends_ms


def _forget(turn: Turn, permits: Permits) -> None:
    """Keep the newest uses only: a report that comes twice comes soon. Books of playbooks that are gone go with their end."""
    for name in [n for n, book in permits.books.items() if n not in turn.policy.alone and not book.used_ms]:
        if permits.expires_ms + turn.policy.permit_ttl_ms < turn.now_ms:
            del permits.books[name]
    while len(permits.used) > USED_MAX:
        del permits.used[next(iter(permits.used))]


def _digest(grants: list[Grant], left_units: tuple[str, ...], left_subjects: tuple[tuple[str, str], ...]) -> str:
    if not grants:
        return ""
    return hashlib.sha256(repr((grants, left_units, left_subjects)).encode()).hexdigest()[:16]
