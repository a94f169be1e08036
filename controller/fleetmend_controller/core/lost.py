"""A host fell silent: ask others near it, judge, and let a playbook answer or tell people which it is."""

from __future__ import annotations

import hashlib
import itertools

from .effects import AskWitness, Escalated, Verdict, Why
from .ending import reconsider
from .events import HostSilent, WitnessSaid
from .gates.observer import many_lost
from .incidents import HOST_LOST_CHECK, WAITING, escalate, open_host_lost
from .inquiry import CONTROLLER, Inquiry, Judgement, Reach, Word, evidence_ms, independent, judge
from .model import Fleet, Host, Incident, Phase, Subject
from .orders import REBOOT
from .storms import FLEET, fleet_incident
from .transitions import Trigger
from .turn import Turn

MANY_LOST_CHECK = "many_hosts_lost"
WITNESSES_MAX = 3
# A probe takes 5 s at most; a witness that has said nothing by then says nothing.
WAIT_MS = 10_000
WAIT_AFTER_START_MS = 60_000
# When many fall silent at once, each gets its incident; not each is asked about.
INQUIRIES_MAX = 20
RACK, SITE = "rack", "site"


def silent(turn: Turn, event: HostSilent) -> None:
    """Heartbeats stopped. That is an incident of its own and never a reason to restart anything on other hosts."""
    host = turn.fleet.hosts.get(event.host)
    if host is None or host.lost_since_ms is not None:
        return
    host.lost_since_ms = turn.now_ms - event.silent_ms
    turn.fleet.lost[host.id] = None
    incident = open_host_lost(turn, host, event.silent_ms)
    incident.inquiry = Inquiry(0, turn.now_ms, event.stream)
    back_by_ms = _reboots_until_ms(turn.fleet, host)
    many = many_lost(turn.fleet, turn.policy)
    if many and Subject(FLEET, MANY_LOST_CHECK, "") not in turn.fleet.by_subject:
        share = f"{len(turn.fleet.lost)} of {len(turn.fleet.hosts)} hosts seem lost"
        text = f"{share}: the controller may be the one cut off. Nothing is done anywhere until they are heard"
        all_lost = fleet_incident(turn, MANY_LOST_CHECK, "", text, Why.MANY_HOSTS_LOST)
        to = turn.policy.default_escalate_to
        turn.do(Escalated(all_lost.id, all_lost.subject, to, "page", Why.MANY_HOSTS_LOST, text, MANY_LOST_CHECK))
    if not many and back_by_ms is not None and back_by_ms > turn.now_ms:
        incident.inquiry.until_ms = back_by_ms
        turn.move(incident, Trigger.HOLD)
        turn.say(incident, Why.HOST_REBOOTS, f"{host.name} was told to reboot; its silence is expected", "", Verdict.HOLD)
        turn.wake(incident, back_by_ms)
        return
    if not _ask(turn, host, incident):
        _conclude(turn, host, incident)
        reconsider(turn, [incident.id])


def said(turn: Turn, event: WitnessSaid) -> None:
    """One witness spoke. A word of an earlier round, or of somebody who was not asked, is nothing."""
    incident = turn.fleet.incidents.get(event.incident)
    inquiry = incident.inquiry if incident is not None else None
    if incident is None or inquiry is None or inquiry.round != event.round:
        return
    # Too late is too late, but for who reaches a host that was called dead.
    if inquiry.verdict is not None and (inquiry.verdict, event.reach) != (Judgement.DEAD, Reach.REACHED):
        return
    word = inquiry.of(event.witness)
    if word is None or word.reach is not None or incident.phase not in WAITING:
        return
    word.reach, word.said_ms, word.text = event.reach, turn.now_ms, event.text
    host = turn.fleet.hosts[incident.subject.host]
    turn.say(incident, Why.WITNESS_SAID, f"{word.name}{f' (rack {word.rack})' if word.rack else ''}: {event.text}")
    if inquiry.all_said or inquiry.verdict is not None:
        _conclude(turn, host, incident)
        reconsider(turn, [incident.id])


def is_judged(turn: Turn, incident: Incident) -> bool:
    """Whether there is a verdict by now; if its time has come, it is made here."""
    inquiry = incident.inquiry
    if inquiry is None or inquiry.verdict is not None:
        return True
    host = turn.fleet.hosts[incident.subject.host]
    if turn.now_ms < inquiry.until_ms:
        turn.wake(incident, inquiry.until_ms)
        return False
    if inquiry.round == 0 and _ask(turn, host, incident):
        return False
    _conclude(turn, host, incident)
    return True


def ask_again(turn: Turn, incident: Incident) -> bool:
    """What was said has grown old: another round. False if nobody is left to ask."""
    return _ask(turn, turn.fleet.hosts[incident.subject.host], incident)


def connected(turn: Turn, host: Host) -> None:
    """A witness that was asked may not have heard it: ask it once more."""
    for incident_id in turn.fleet.inquiries:
        incident = turn.fleet.incidents[incident_id]
        inquiry = incident.inquiry
        word = inquiry.of(host.id) if inquiry is not None else None
        if inquiry is not None and word is not None and word.reach is None:
            turn.do(AskWitness(incident.id, incident.subject.host, word.host, word.control, inquiry.round))


def restarted(turn: Turn) -> None:
    """The controller was away: its witnesses come back first, and get their whole time again."""
    for incident_id in turn.fleet.inquiries:
        incident = turn.fleet.incidents[incident_id]
        inquiry = incident.inquiry
        if inquiry is None:
            continue
        inquiry.until_ms = turn.now_ms + WAIT_AFTER_START_MS
        turn.wake(incident, inquiry.until_ms)
        turn.do(AskWitness(incident.id, incident.subject.host, CONTROLLER, "", inquiry.round))


def tell(turn: Turn, incident: Incident) -> None:
    """No playbook answers it: people are told at once which it is."""
    host = turn.fleet.hosts[incident.subject.host]
    # Where most seem lost one page is enough; each host still has its incident.
    many = many_lost(turn.fleet, turn.policy)
    part_of = turn.fleet.by_subject.get(Subject(FLEET, MANY_LOST_CHECK, ""), "")
    text = f"{incident.summary}; nothing is done on {host.name} until it is back"
    escalate(turn, incident, Trigger.REFUSE, Why.HOST_LOST, text, "ticket" if many else "page", part_of)


def choose(fleet: Fleet, host: Host) -> list[Word]:
    """Whom to ask: hosts of the same rack first, then of the same site, then any; one at least from another rack."""
    chosen: list[Word] = []
    by_rack = several_racks(fleet)
    for other in itertools.chain.from_iterable(_tiers(fleet, host)):
        if len(chosen) == WITNESSES_MAX:
            break
        word = Word(other.id, other.name, other.labels.get(RACK, ""))
        # The last place is kept for a witness elsewhere: those of one rack share its switch, and are one.
        if len(chosen) < WITNESSES_MAX - 1 or not by_rack or independent([*chosen, word], by_rack) > 1:
            chosen.append(word)
    for index, word in enumerate(chosen):
        word.control = chosen[(index + 1) % len(chosen)].host if len(chosen) > 1 else ""
    return chosen


def several_racks(fleet: Fleet) -> bool:
    """Whether the label rack tells hosts apart."""
    return sum(1 for label, value in fleet.group_size if label == RACK and value != "*") > 1


def _tiers(fleet: Fleet, host: Host) -> tuple[list[Host], ...]:
    rack, site = host.labels.get(RACK), host.labels.get(SITE)
    here: tuple[list[Host], ...] = ([], [], [])
    for other in fleet.hosts.values():
        if other.id == host.id or not other.boot or other.lost_since_ms is not None:
            continue
        if rack is not None and other.labels.get(RACK) == rack:
            here[0].append(other)
        elif site is not None and other.labels.get(SITE) == site:
            here[1].append(other)
        else:
            here[2].append(other)
    # Another place to begin for each host: when many are lost, not all ask the same few.
    start = int.from_bytes(hashlib.sha256(host.id.encode()).digest()[:4], "big")
    return tuple(tier[start % len(tier) :] + tier[: start % len(tier)] if tier else [] for tier in here)


def _ask(turn: Turn, host: Host, incident: Incident) -> bool:
    inquiry = incident.inquiry or Inquiry(0, turn.now_ms)
    witnesses = choose(turn.fleet, host)
    if not witnesses or many_lost(turn.fleet, turn.policy) or len(turn.fleet.inquiries) >= INQUIRIES_MAX:
        return False
    words = [*witnesses, Word(CONTROLLER, "the controller", "")]
    incident.inquiry = Inquiry(inquiry.round + 1, turn.now_ms + WAIT_MS, inquiry.stream, words)
    turn.fleet.inquiries[incident.id] = None
    turn.move(incident, Trigger.HOLD)
    names = ", ".join(word.name for word in witnesses)
    turn.say(incident, Why.WITNESSES_ASKED, f"asked {names} whether they reach {host.name}", "", Verdict.HOLD)
    for word in words:
        turn.do(AskWitness(incident.id, host.id, word.host, word.control, incident.inquiry.round))
    turn.wake(incident, incident.inquiry.until_ms)
    return True


def _conclude(turn: Turn, host: Host, incident: Incident) -> None:
    inquiry = incident.inquiry
    if inquiry is None:
        return
    turn.fleet.inquiries.pop(incident.id, None)
    inquiry.verdict, text = judge(inquiry, several_racks(turn.fleet))
    if many_lost(turn.fleet, turn.policy):
        inquiry.verdict = Judgement.CONTROLLER_CUT_OFF
        text = f"{len(turn.fleet.lost)} of {len(turn.fleet.hosts)} hosts seem lost at once"
    elif inquiry.round == 0 and choose(turn.fleet, host):
        text = "too many hosts fell silent at once to ask about each"
    since_ms = turn.now_ms - (host.lost_since_ms or turn.now_ms)
    incident.summary = f"no heartbeat from {host.name} for {since_ms // 1000} s: {inquiry.verdict.value}: {text}"
    missed = sum(1 for word in inquiry.words if word.host and word.reach is not None and word.reach.value == "not_reached")
    incident.finding = {"silent_ms": since_ms, "verdict": inquiry.verdict.value, "witnesses_missed": missed}
    incident.evidence_ms = evidence_ms(inquiry) or turn.now_ms
    # Another verdict may be answered by another playbook.
    incident.policy = ""
    turn.say(incident, Why.HOST_JUDGED, f"{inquiry.verdict.value}: {text}")


def _reboots_until_ms(fleet: Fleet, host: Host) -> int | None:
    """Until when a reboot that we ordered may keep this host silent."""
    for incident_id in fleet.by_host.get(host.id, {}):
        incident = fleet.incidents[incident_id]
        if not incident.attempts or incident.attempts[-1].action != REBOOT or incident.subject.check == HOST_LOST_CHECK:
            continue
        if incident.phase in (Phase.ORDERED, Phase.RUNNING):
            return incident.wake_ms
        if incident.phase is Phase.PROVING:
            return incident.prove_by_ms
    return None
