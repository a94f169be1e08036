"""Why an incident went the way it did, from its story alone: the same telling for what was done and for what was withheld.

Pure: rows of the journal in, an explanation out. Nothing here asks how things stand now, so an incident of last month reads as
it read then.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum, unique
from typing import Any

from fleetmend.plain import plain_line

from ..core.incidents import OPERATOR_CHECK
from ..core.permits import is_permit
from ..core.storms import FLEET
from .case import Case, build_case, gate_answers, pairs
from .spans import span
from .story import Story, StoryRow

SECTIONS_MAX = 60
SECTION_LINES_MAX = 60
EVIDENCE_LINES_MAX = 20
EVIDENCE_CHARS_MAX = 300


@unique
class Topic(Enum):
    """What a section is about, in the order of telling."""

    SEEN = "seen"
    PLAYBOOKS = "playbooks"
    GATES = "gates"
    ORDER = "order"
    ANSWER = "answer"
    PROOF = "proof"
    END = "end"
    HOST = "host"


TITLES = {
    Topic.SEEN: "What was seen",
    Topic.PLAYBOOKS: "Which playbook answers",
    Topic.GATES: "What the gates said",
    Topic.ORDER: "What was ordered",
    Topic.ANSWER: "What the host answered",
    Topic.PROOF: "Whether it helped",
    Topic.END: "How it ended",
    Topic.HOST: "What holds for the whole host",
}

_TOPICS = {
    Topic.SEEN: (
        "fault_seen",
        "same_target",
        "storm",
        "common_cause",
        "many_hosts_lost",
        "witnesses_asked",
        "witness_said",
        "host_judged",
        "host_reboots",
    ),
    Topic.PLAYBOOKS: (
        "playbook_matched",
        "playbook_other_check",
        "playbook_later",
        "playbook_where_false",
        "playbook_where_error",
        "playbook_bad_parameter",
        "no_playbook",
        "operator_request",
    ),
    Topic.ORDER: ("ordered", "alone_used", "drained"),
    Topic.ANSWER: (
        "action_started",
        "action_done",
        "action_failed",
        "action_refused",
        "action_expired",
        "action_unknown",
        "fault_gone",
        "executor_unreachable",
    ),
    Topic.PROOF: ("host_rebooted", "proof_first_ok", "proof_timeout", "proof_broken"),
    Topic.END: (
        "healed",
        "healed_alone",
        "recovered_unsure",
        "went_away",
        "healed_by_person",
        "ran",
        "host_back",
        "host_removed",
        "steps_exhausted",
        "host_lost",
        "drain_failed",
        "undrain_failed",
        "undrained",
        "storm_over",
        "trust_demoted",
        "trust_restored",
        "masking",
        "acknowledged",
        "flapping_over",
    ),
}
_TOPIC_OF = {word: topic for topic, words in _TOPICS.items() for word in words}
_GATE_PREFIX = {"hold": "holds", "refuse": "refuses", "allow": "allows"}


@dataclass(frozen=True, slots=True)
class Line:
    """One sentence of the telling. `until_ms` is set when it stands for `count` > 1 decisions."""

    at_ms: int
    text: str
    why: str = ""
    gate: str = ""
    verdict: str = ""
    playbook: str = ""
    host_clock_ms: int | None = None
    until_ms: int | None = None
    count: int = 1
    evidence: tuple[str, ...] = ()


@dataclass(slots=True)
class Section:
    """Lines about one topic, in the order of events."""

    topic: Topic
    title: str
    lines: list[Line] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Explanation:
    """The whole telling. `seen_ms` is what relative times count from."""

    case: Case
    host_name: str
    headline: str
    sections: tuple[Section, ...]


def explain(
    story: Story, host_names: Mapping[str, str], asides: Sequence[Line] = (), deliveries: Sequence[Line] = ()
) -> Explanation | None:
    """Tell a story; None for an empty one.

    `asides` are what else the journal knows about what was seen, `deliveries` who was told over which channel.
    """
    case = build_case(story)
    if case is None:
        return None
    host_name = host_names.get(case.host, case.host)
    rounds: dict[tuple[int, Topic], list[Line]] = {}
    orders = 0
    for row in story.rows:
        for topic, line in _lines(row, host_name):
            orders += line.why == "ordered" or (line.why == "alone_used" and row.event.get("type") == "PermitUsed")
            rounds.setdefault((_round(topic, orders), topic), []).append(_plain(line))
    if asides:
        rounds.setdefault((0, Topic.SEEN), []).extend(_plain(line) for line in asides)
    if deliveries:
        rounds.setdefault((_round(Topic.END, orders), Topic.END), []).extend(_plain(line) for line in deliveries)
    sections = _sections(rounds, orders)
    if case.phase == "held":
        _say_when_again(story, sections)
    if story.omitted:
        note = Line(
            story.rows[-1].at_ms,
            f"{story.omitted} decisions in the middle are left out here; `fleetmend incidents show` lists them",
        )
        sections[0].lines.append(note)
    return Explanation(case, host_name, _headline(case, host_name, story), tuple(sections))


def _round(topic: Topic, orders: int) -> int:
    """Gates and playbooks come before the order that they lead to; seeing and ending belong to no try."""
    if topic is Topic.SEEN:
        return 0
    if topic is Topic.END:
        return 1_000_000
    return orders + 1 if topic in (Topic.PLAYBOOKS, Topic.GATES) else max(1, orders)


def _sections(rounds: dict[tuple[int, Topic], list[Line]], orders: int) -> list[Section]:
    sections: list[Section] = []
    matched: list[str] = []
    places = list(Topic)
    for number, topic in sorted(rounds, key=lambda place: (place[0], places.index(place[1]))):
        lines = rounds[(number, topic)]
        if topic is Topic.GATES:
            lines = _collapse(lines, by_gate=True)
        elif topic in (Topic.PLAYBOOKS, Topic.ORDER):
            lines = _collapse(lines, by_gate=False)
        if topic is Topic.PLAYBOOKS:
            texts = [line.text for line in lines]
            if texts == matched:
                continue
            matched = texts
        title = TITLES[topic]
        if orders > 1 and topic not in (Topic.SEEN, Topic.END):
            title += f", round {number}" if number <= orders else ", after that"
        sections.append(Section(topic, title, _bounded(lines)))
    if len(sections) <= SECTIONS_MAX:
        return sections
    # The beginning, and of many tries the newest.
    first, last = sections[: SECTIONS_MAX // 3], sections[-2 * SECTIONS_MAX // 3 :]
    left_out = len(sections) - len(first) - len(last)
    last[0].lines.insert(0, Line(last[0].lines[0].at_ms, f"... {left_out} sections about earlier tries left out ..."))
    return [*first, *last]


def _say_when_again(story: Story, sections: list[Section]) -> None:
    """When a held incident looks at itself again, if nothing wakes it before."""
    found = next(((row, e["at_ms"]) for row in reversed(story.rows) for e in row.effects if e["type"] == "WakeAt"), None)
    gates = next((section for section in reversed(sections) if section.topic is Topic.GATES), None)
    if found is not None and gates is not None:
        row, at_ms = found
        gates.lines.append(
            Line(row.at_ms, f"asked again when something changes, at the latest {span(at_ms - row.at_ms)} later")
        )


def _collapse(lines: list[Line], *, by_gate: bool) -> list[Line]:
    """One line for the same answer several times in a row. Of a hold whose text has changing numbers the newest stays."""
    kept: list[Line] = []
    newest: dict[str, int] = {}
    for line in lines:
        key = line.gate if by_gate and line.gate else f"{line.why} {line.text}"
        index = newest.get(key)
        if index is not None and (kept[index].why, kept[index].verdict) == (line.why, line.verdict):
            known = kept[index]
            newest_word = known if line.verdict == "allow" else line
            kept[index] = replace(newest_word, at_ms=known.at_ms, until_ms=line.at_ms, count=known.count + 1)
            continue
        newest[key] = len(kept)
        kept.append(line)
    return kept


def _bounded(lines: list[Line]) -> list[Line]:
    if len(lines) <= SECTION_LINES_MAX:
        return lines
    half = SECTION_LINES_MAX // 2
    left_out = len(lines) - 2 * half
    return [*lines[:half], Line(lines[half].at_ms, f"... {left_out} lines left out ..."), *lines[-half:]]


def _lines(row: StoryRow, host_name: str) -> Iterator[tuple[Topic, Line]]:
    said = set()
    handed_over = {effect["why"] for effect in row.effects if effect["type"] == "Escalated"}
    for reason in row.reasons:
        topic = Topic.GATES if reason.get("gate") else _topic(reason["why"], handed_over)
        if topic is Topic.ANSWER and reason["why"] in said:
            # What the core concludes from the answer repeats the answer.
            continue
        said.add(reason["why"])
        line = Line(
            row.at_ms,
            str(reason["text"]),
            why=reason["why"],
            gate=reason.get("gate") or "",
            verdict=reason.get("verdict") or "",
            playbook=reason.get("playbook") or "",
        )
        yield topic, _with_event(topic, line, row, host_name)
    for effect in row.effects:
        if effect["type"] == "SendOrder" and "ordered" not in said:
            yield Topic.ORDER, Line(row.at_ms, f"{effect['order']['id']} sent again; the host runs an order once at most")
        elif effect["type"] == "Escalated":
            yield Topic.END, _told(row, effect)
        elif effect["type"] == "ApprovalWanted":
            yield Topic.GATES, _asked(row, effect)
        elif effect["type"] == "Closed":
            yield Topic.END, Line(row.at_ms, _durations(effect), why="closed")


def _topic(why: str, handed_over: set[str]) -> Topic:
    topic = _TOPIC_OF.get(why, Topic.GATES)
    # A gate's refusal is said twice: by the gate, and as the reason why people have it now.
    return Topic.END if topic is Topic.GATES and why in handed_over else topic


def _with_event(topic: Topic, line: Line, row: StoryRow, host_name: str) -> Line:
    event = row.event
    kind = event.get("type")
    # A fault that outlives the incident it was a symptom of is opened by another check's result.
    own = topic is Topic.PROOF or (topic is Topic.SEEN and line.text.startswith(f"{event.get('check')} "))
    if own and kind == "Observed":
        return replace(line, host_clock_ms=int(event["sampled_clock_ms"]), evidence=_sample(event, host_name))
    if own and kind == "AlertSaid":
        return replace(line, evidence=_told_by_alertmanager(event))
    if kind == "PermitUsed" and line.why == "alone_used":
        return replace(line, host_clock_ms=int(event["started_clock_ms"]), evidence=_permit(event, host_name))
    if kind == "PermitUsed" and topic is Topic.SEEN:
        return replace(line, host_clock_ms=int(event["since_clock_ms"]), evidence=_sample(event, host_name))
    if topic is Topic.ORDER:
        order = next((e["order"] for e in row.effects if e["type"] == "SendOrder"), None)
        return line if order is None else replace(line, evidence=_order(order, host_name))
    if topic is Topic.ANSWER and kind == "OrderEnded":
        return replace(line, text=_outcome(event), host_clock_ms=int(event["ended_clock_ms"]), evidence=_answer(event))
    if topic is Topic.PLAYBOOKS and kind == "RunRequested":
        return replace(line, text=f"{event['by']} asked for {event['action']}")
    return line


def _sample(event: dict[str, Any], host_name: str) -> tuple[str, ...]:
    behind_ms = max(0, int(event["clock_ms"]) - int(event["sampled_clock_ms"]))
    clock = int(event["sampled_clock_ms"]) / 1000
    told = f"sampled on {host_name} {clock:.3f} s after its boot, {span(behind_ms)} before the controller had it"
    finding = ", ".join(f"{name}={value}" for name, value in sorted(pairs(event["finding"]).items()))
    return (told, f"found: {finding}") if finding else (told,)


def _told_by_alertmanager(event: dict[str, Any]) -> tuple[str, ...]:
    age_ms = max(0, int(event["at_ms"]) - int(event["said_ms"]))
    told = "told by Alertmanager" + (f" {span(age_ms)} before" if age_ms else "")
    finding = ", ".join(f"{name}={value}" for name, value in sorted(pairs(event["finding"]).items()))
    return (told, f"found: {finding}")


def _order(order: dict[str, Any], host_name: str) -> tuple[str, ...]:
    ttl_ms = int(order["expires_ms"]) - int(order["issued_ms"])
    return (
        f"asked for by {order['requested_by']}; {order['cost']}; may run {span(int(order['timeout_ms']))}",
        f"only on {host_name}, only in its boot {order['boot'][:8]}, only if begun within {span(ttl_ms)}",
    )


def _permit(event: dict[str, Any], host_name: str) -> tuple[str, ...]:
    lasted_ms = max(0, int(event["started_clock_ms"]) - int(event["since_clock_ms"]))
    ago_ms = max(0, int(event["clock_ms"]) - int(event["started_clock_ms"]))
    return (
        f"{event['check']} {event['key']}".rstrip() + f" was bad for {span(lasted_ms)} by then: {event['summary']}",
        f"given ahead of time, for one use, sealed for this boot of {host_name}; told {span(ago_ms)} later",
    )


def _outcome(event: dict[str, Any]) -> str:
    word = event["refusal"] or event["outcome"]
    detail = "" if event["detail"] == word else str(event["detail"]).removeprefix(f"{word}: ")
    return f"{event['order']} {word}" + (f": {detail}" if detail else "")


def _answer(event: dict[str, Any]) -> tuple[str, ...]:
    commands = [f"$ {command}" for command in event.get("commands", ())]
    lines = str(event.get("output", "")).splitlines()
    shown = lines[-EVIDENCE_LINES_MAX:]
    if len(lines) > len(shown):
        shown.insert(0, f"... {len(lines) - len(shown)} lines before, in `fleetmend incidents show` ...")
    return (*commands, *shown)


def _told(row: StoryRow, effect: dict[str, Any]) -> Line:
    # What the journal knows: to whom it went. Whether anybody was reached, their channel knows.
    what = "handed over" if _handed_over(effect) else "a note"
    known = any(reason["text"] == effect["text"] for reason in row.reasons)
    text = f"{what} to {effect['to']}, severity {effect['severity']}"
    return Line(row.at_ms, text + ("" if known else f": {effect['text']}"), why=effect["why"])


def _asked(row: StoryRow, effect: dict[str, Any]) -> Line:
    people = "1 person" if effect["people"] == 1 else f"{effect['people']} people"
    text = f"{effect['order']} waits for approval by {people} of {effect['to']}, within {span(effect['until_ms'] - row.at_ms)}"
    return Line(row.at_ms, text, why="approval_needed")


def _durations(effect: dict[str, Any]) -> str:
    words = (("seen", "detect_ms"), ("decided", "decide_ms"), ("acted", "act_ms"), ("proved", "prove_ms"))
    parts = [f"{word} in {span(int(effect[name]))}" for word, name in words if effect.get(name) is not None]
    return f"closed {span(int(effect['total_ms']))} after the fault began: {', '.join(parts)}"


def _headline(case: Case, host_name: str, story: Story) -> str:
    subject = case.summary if case.check == OPERATOR_CHECK else f"{case.check} {case.key}".strip()
    what = plain_line(f"{subject} across the fleet" if case.host == FLEET else f"{subject} on {host_name}")
    if case.closed_ms is not None:
        return f"{what}: {_closed_headline(case, story)}"
    if case.phase == "escalated":
        told = next((e for row in reversed(story.rows) for e in reversed(row.effects) if _handed_over(e)), None)
        tries = f" after {_tries(case)}" if case.orders else " without a try"
        return plain_line(
            f"{what}: in the hands of {told['to']}{tries}: {told['text']}" if told else f"{what}: in the hands of people"
        )
    if case.phase in ("ordered", "running", "proving"):
        order = list(case.orders.values())[-1]
        state = {"ordered": "is on its way to the host", "running": "is running", "proving": "is over and has to prove itself"}[
            case.phase
        ]
        return plain_line(f"{what}: {order.action} ({order.id}) {state}")
    blockers = _blockers(story)
    if blockers:
        return plain_line(f"{what}: nothing is done now, because " + "; and ".join(blockers))
    return f"{what}: nothing is done yet"


def _handed_over(effect: dict[str, Any]) -> bool:
    """Whether people got the incident by this, not a note about its playbook or its past."""
    return effect["type"] == "Escalated" and effect["why"] not in ("trust_demoted", "masking")


def _closed_headline(case: Case, story: Story) -> str:
    lasted = span((case.closed_ms or 0) - case.seen_ms)
    if case.why == "healed":
        order = list(case.orders.values())[-1]
        return f"healed by {order.action} and proved, {lasted} after the fault began ({_tries(case)})"
    if case.why == "healed_alone":
        order = list(case.orders.values())[-1]
        return f"healed by {order.action} while the controller was away, by permit, and proved{_within(story)} ({_tries(case)})"
    final = next((r["text"] for row in reversed(story.rows) for r in reversed(row.reasons)), "")
    if case.why == "ran":
        return f"done, {lasted} after it was asked for"
    if case.why == "went_away" and not case.orders:
        return f"went away by itself after {lasted}; nothing was done"
    return plain_line(f"over after {lasted} ({_tries(case)}): {final}")


def _within(story: Story) -> str:
    total_ms = next((e["total_ms"] for row in story.rows for e in row.effects if e["type"] == "Closed"), None)
    return "" if total_ms is None else f", {span(int(total_ms))} after the fault began"


def _tries(case: Case) -> str:
    count = len(case.orders)
    if count == 0:
        return "no order was given"
    alone = sum(1 for order in case.orders if is_permit(order))
    orders = [f"{count - alone} order" + "s" * (count - alone > 1)] if count > alone else []
    return " and ".join([*orders, *([f"{alone} permit" + "s" * (alone > 1)] if alone else [])])


def _blockers(story: Story) -> list[str]:
    """What the newest word of every gate has against acting."""
    for row in reversed(story.rows):
        answers = list(gate_answers(row))
        if answers:
            return [
                f"{a['gate']} {_GATE_PREFIX.get(a['verdict'], a['verdict'])}: {a['text']}"
                for a in answers
                if a["verdict"] != "allow"
            ]
        waiting = next((r for r in row.reasons if r["why"] == "wait_step"), None)
        if waiting is not None:
            return [f"the playbook {waiting['text']}"]
    return []


def _plain(line: Line) -> Line:
    evidence = tuple(plain_line(text[:EVIDENCE_CHARS_MAX]) for text in line.evidence)
    return replace(line, text=plain_line(line.text), evidence=evidence)
