"""Why nothing is done on a host at this moment: what holds for the whole host, then each open incident before every gate."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from dataclasses import replace

from fleetmend.plain import plain_line
from fleetmend.v1 import admin_pb2 as pb

from ..core.effects import Verdict
from ..core.gates.fleet_budget import allowance, fleet_allowance
from ..core.gates.observer import many_lost
from ..core.gates.paused import scopes
from ..core.incidents import HOST_LOST_CHECK
from ..core.model import EVERYBODY, Fleet, Host, Incident, Phase
from ..core.policy import Policy
from ..core.survey import Survey, survey
from .convert import sections_of
from .desk import Desk
from .explain import Line, Section, Topic
from .explain_text import COLUMNS, compact, sentence
from .hosts import find_host, host_of
from .spans import span

INCIDENTS_MAX = 100
_INDENT = "  "
_BUSY = {
    Phase.ORDERED: "its order is on its way to the host",
    Phase.RUNNING: "the host is carrying its order out",
    Phase.PROVING: "its action is over and has to prove itself",
    Phase.ESCALATED: "it is in the hands of people; Fleetmend does nothing more about it",
}


def explain_host(desk: Desk, request: pb.ExplainHostRequest) -> pb.ExplainHostResponse:
    """Look at the fleet as it is, not at the journal: this is about now."""
    record = find_host(desk, request.host)
    now_ms, fleet, policy = desk.now_ms(), desk.decider.fleet, desk.decider.rules.policy
    known = fleet.hosts.get(record.id)
    general = list(_general(fleet, policy, known, now_ms)) if known is not None else []
    if not desk.decider.writable:
        general.insert(0, Line(now_ms, f"nothing is ordered anywhere: {desk.decider.failure}", why="journal_unavailable"))
    found = survey(fleet, policy, record.id, now_ms)
    sections = [Section(Topic.HOST, "What holds for the whole host", general)] if general else []
    sections += [_section(one, now_ms) for one in found[:INCIDENTS_MAX]]
    headline = plain_line(_headline(record.name, general, found))
    text = render(headline, sections, all_gates=request.all_gates)
    return pb.ExplainHostResponse(host=host_of(desk, record), headline=headline, sections=sections_of(sections), text=text)


def render(headline: str, sections: list[Section], *, all_gates: bool) -> str:
    """The text, lines ending with newlines."""
    parts = ["\n".join(textwrap.wrap(headline, COLUMNS))]
    for section in sections:
        lines = section.lines if all_gates else compact(section.lines)
        wrapped = (textwrap.wrap(sentence(line), COLUMNS - len(_INDENT)) or [""] for line in lines)
        parts.append("\n".join([section.title, *(_INDENT + text for texts in wrapped for text in texts)]))
    return "\n\n".join(parts) + "\n"


def _general(fleet: Fleet, policy: Policy, host: Host, now_ms: int) -> Iterator[Line]:
    if not host.boot:
        yield Line(now_ms, "its agent has not connected since it was enrolled", why="host_never_connected")
    if host.lost_since_ms is not None:
        yield Line(now_ms, f"nothing was heard from it for {span(now_ms - host.lost_since_ms)}", why="host_lost")
    for scope in scopes(host, ""):
        pause = fleet.pauses.get(scope)
        if pause is not None and (pause.until_ms is None or pause.until_ms > now_ms):
            yield Line(now_ms, f"{pause.by} paused {scope}: {pause.reason}{_ends(pause.until_ms, now_ms)}", why="paused")
    for window in fleet.windows.values():
        end_ms = policy.window_end(window, now_ms) if window.covers(host.id, host.labels) else None
        if end_ms is not None:
            text = f"{window.by} announced maintenance {window.id}: {window.reason}{_ends(end_ms, now_ms)}"
            yield Line(now_ms, text, why="maintenance")
    seen = fleet.presence.get(host.id)
    if seen is not None and seen.until_ms > now_ms:
        yield Line(now_ms, f"somebody is at work there: {seen.who}{_ends(seen.until_ms, now_ms)}", why="human_present")
    if many_lost(fleet, policy):
        share = f"{len(fleet.lost)} of {len(fleet.hosts)} hosts seem lost"
        yield Line(
            now_ms, f"{share}: the controller may be the one cut off, so nothing is done anywhere", why="many_hosts_lost"
        )
    yield from _shared(fleet, policy, host, now_ms)


def _shared(fleet: Fleet, policy: Policy, host: Host, now_ms: int) -> Iterator[Line]:
    """What the host shares with others: storms and budgets that are used up."""
    for check_type, outbreak in fleet.outbreaks.items():
        yield Line(now_ms, f"a storm of {check_type} holds every repair of it; see {outbreak.incident}", why="storm")
    for by in dict.fromkeys(label for budget in policy.budgets for label in budget.labels):
        value = host.labels.get(by, "")
        used = len(fleet.in_flight.get((by, value), ()))
        limit = max(allowance(fleet, budget, value, by) for budget in policy.budgets if by in budget.labels)
        if used >= limit:
            group = f"{by}={value}" if value else f"hosts without {by}"
            yield Line(now_ms, f"{used} hosts of {group} are being healed, and no playbook may heal more", why="fleet_budget")
    everywhere = len(fleet.in_flight.get(EVERYBODY, ()))
    if everywhere >= fleet_allowance(fleet, policy):
        text = f"{everywhere} hosts of the whole fleet are being healed, and nobody may heal more"
        yield Line(now_ms, text, why="fleet_budget")


def _section(one: Survey, now_ms: int) -> Section:
    incident = one.incident
    subject = f"{incident.subject.check} {incident.subject.key}".strip()
    title = plain_line(f"{incident.id}  {subject}: {incident.summary}")
    lines = [_standing(one, now_ms)]
    for gate, answer in one.answers:
        text = answer.text
        if answer.verdict is Verdict.HOLD and answer.recheck_ms is not None:
            text += f" (asked again in {span(max(0, answer.recheck_ms - now_ms))} at the latest)"
        verdict = answer.verdict.value
        lines.append(Line(now_ms, text, answer.why.value, gate, verdict, incident.playbook))
    return Section(Topic.GATES, title, [replace(line, text=plain_line(line.text)) for line in lines])


def _standing(one: Survey, now_ms: int) -> Line:
    incident = one.incident
    if incident.phase in _BUSY:
        return Line(now_ms, _BUSY[incident.phase], playbook=incident.playbook)
    if one.answers:
        blockers = sum(answer.verdict is not Verdict.ALLOW for _, answer in one.answers)
        if blockers:
            words = "1 gate does" if blockers == 1 else f"{blockers} gates do"
            return Line(
                now_ms, f"{incident.playbook} would take {one.action}; {words} not allow it", playbook=incident.playbook
            )
        text = f"{incident.playbook} would take {one.action}, and every gate allows it: it is ordered at the next look"
        return Line(now_ms, text + _next_look(incident, now_ms), playbook=incident.playbook)
    if incident.wait_until_ms is not None:
        text = f"{incident.playbook} waits {span(max(0, incident.wait_until_ms - now_ms))} more before its next step"
        return Line(now_ms, text, why="wait_step", playbook=incident.playbook)
    return Line(now_ms, "no step of a playbook waits for the gates", playbook=incident.playbook)


def _next_look(incident: Incident, now_ms: int) -> str:
    return "" if incident.wake_ms is None else f", in {span(max(0, incident.wake_ms - now_ms))} at the latest"


def _headline(name: str, general: list[Line], found: tuple[Survey, ...]) -> str:
    acting = [one for one in found if one.incident.phase in (Phase.ORDERED, Phase.RUNNING, Phase.PROVING)]
    faults = [one for one in found if one.incident.subject.check != HOST_LOST_CHECK]
    if not found:
        if general:
            return f"{name}: no fault is known there; if one came now: " + "; ".join(line.text for line in general)
        return f"{name}: nothing is wrong there, and nothing would hold a repair back"
    if acting:
        return f"{name}: something is done there now, for {', '.join(one.incident.id for one in acting)}"
    held = [one for one in faults if any(answer.verdict is not Verdict.ALLOW for _, answer in one.answers)]
    if held:
        gates = dict.fromkeys(gate for one in held for gate, answer in one.answers if answer.verdict is not Verdict.ALLOW)
        return f"{name}: nothing is done there now, because of {', '.join(gates)}"
    if all(one.incident.phase is Phase.ESCALATED for one in found):
        return (
            f"{name}: nothing is done there now, because people have what is wrong: {', '.join(o.incident.id for o in found)}"
        )
    return f"{name}: nothing holds a repair back; it is a matter of time"


def _ends(until_ms: int | None, now_ms: int) -> str:
    return ", until somebody ends it" if until_ms is None else f", for {span(max(0, until_ms - now_ms))} more"
