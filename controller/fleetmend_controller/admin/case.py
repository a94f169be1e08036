"""An incident as its story tells it: who, what, which phase, which orders. Pure, and good for incidents of any age."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from ..core.effects import ASIDES
from ..core.permits import is_permit
from .story import Story, StoryRow

# The words of decisions (core.effects.Why) that close the book on one order.
ENDED = (
    "action_done",
    "action_failed",
    "action_refused",
    "action_expired",
    "action_unknown",
    "fault_gone",
    "executor_unreachable",
)


_ASIDES = tuple(why.value for why in ASIDES)


@dataclass(slots=True)
class OrderTold:
    """One order and what is known of its end. `outcome` is empty while it is not over."""

    id: str
    action: str
    params: dict[str, str]
    requested_by: str
    ordered_ms: int
    started_ms: int | None = None
    ended_ms: int | None = None
    outcome: str = ""
    detail: str = ""
    output: str = ""
    commands: tuple[str, ...] = ()


@dataclass(slots=True)
class Case:
    """The state at the end of a story."""

    incident: str
    host: str = ""
    check: str = ""
    key: str = ""
    phase: str = ""
    why: str = ""
    summary: str = ""
    playbook: str = ""
    opened_ms: int = 0
    seen_ms: int = 0
    changed_ms: int = 0
    closed_ms: int | None = None
    taken_by: str = ""
    taken_ms: int | None = None
    finding: dict[str, str] = field(default_factory=dict)
    orders: dict[str, OrderTold] = field(default_factory=dict)


def build_case(story: Story) -> Case | None:
    """Follow a story to its end; None for an empty one."""
    if not story.rows:
        return None
    first = story.rows[0]
    case = Case(story.incident, opened_ms=first.at_ms, seen_ms=seen_ms(first))
    for row in story.rows:
        _follow(case, row)
    return case


def seen_ms(row: StoryRow) -> int:
    """When the fault was first sampled, on the controller's clock."""
    event = row.event
    if event.get("type") == "Observed":
        return row.at_ms - max(0, int(event["clock_ms"]) - int(event["sampled_clock_ms"]))
    if event.get("type") == "AlertSaid":
        return int(event["said_ms"])
    if event.get("type") == "PermitUsed":
        return row.at_ms - max(0, int(event["clock_ms"]) - int(event["since_clock_ms"]))
    if event.get("type") == "HostSilent":
        return row.at_ms - int(event["silent_ms"])
    return row.at_ms


def show(value: object) -> str:
    """A typed value as people write it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:g}" if isinstance(value, float) else str(value)


def pairs(values: Any) -> dict[str, str]:
    """Parameters or findings of the journal as text; a mapping and a list of pairs say the same."""
    items = values.items() if isinstance(values, dict) else values or ()
    return {str(name): show(value) for name, value in items}


def _follow(case: Case, row: StoryRow) -> None:
    case.changed_ms = row.at_ms
    for reason in row.reasons:
        if reason["why"] not in _ASIDES and case.closed_ms is None:
            case.why = reason["why"]
        if reason["why"] == "host_judged":
            case.finding["verdict"] = str(reason["text"]).partition(": ")[0]
            case.summary = f"{case.summary.partition(': ')[0]}: {reason['text']}"
        if reason["why"] in ("playbook_matched", "ordered", "alone_used"):
            case.playbook = reason.get("playbook", "") or case.playbook
    for effect in row.effects:
        _follow_effect(case, row, effect)
    _follow_event(case, row)


def _follow_event(case: Case, row: StoryRow) -> None:
    event = row.event
    kind = event.get("type")
    if not case.summary:
        case.summary = _first_summary(row)
    own = kind in ("Observed", "AlertSaid") and (event["check"], event["key"]) == (case.check, case.key)
    if own and event["status"] == "crit":
        case.summary = str(event["summary"])
        case.finding = pairs(event["finding"])
    order = case.orders.get(str(event.get("order", "")))
    if order is None:
        return
    if kind == "OrderStarted":
        order.started_ms = row.at_ms
    if kind == "OrderEnded":
        order.ended_ms = row.at_ms
        if is_permit(order.id):
            order.ended_ms -= max(0, int(event["clock_ms"]) - int(event["ended_clock_ms"]))
        order.outcome = str(event["outcome"])
        order.detail = str(event.get("detail", "")) or str(event.get("refusal", ""))
        order.output = str(event.get("output", ""))
        order.commands = tuple(event.get("commands", ()))


def _follow_effect(case: Case, row: StoryRow, effect: dict[str, Any]) -> None:
    kind = effect["type"]
    if kind == "PhaseChanged":
        subject = effect["subject"]
        case.host, case.check, case.key = subject["host"], subject["check"], subject["key"]
        case.phase = effect["after"]
    elif kind == "Closed":
        case.closed_ms = row.at_ms
        case.why = effect["why"]
        case.playbook = effect["playbook"]
    elif kind == "Acknowledged":
        case.taken_by, case.taken_ms = effect["by"], row.at_ms
    elif kind in ("SendOrder", "PermitSpent") and effect["order"]["id"] not in case.orders:
        case.orders[effect["order"]["id"]] = _ordered(row, effect["order"])
    elif kind == "ActionEnded" and effect["order"] in case.orders and not case.orders[effect["order"]].outcome:
        # Given up without a word from the host.
        order = case.orders[effect["order"]]
        order.ended_ms, order.outcome, order.detail = row.at_ms, effect["outcome"], effect["detail"]


def _first_summary(row: StoryRow) -> str:
    if row.event.get("type") == "RunRequested":
        return f"{row.event['action']} for {row.event['by']}"
    return next((str(reason["text"]) for reason in row.reasons if reason["why"] == "fault_seen"), "")


def _ordered(row: StoryRow, order: dict[str, Any]) -> OrderTold:
    told = OrderTold(order["id"], order["action"], pairs(order["params"]), order["requested_by"], row.at_ms)
    if order.get("permit"):
        # Done before the controller heard of it.
        told.ordered_ms, told.started_ms = order["issued_ms"], order["started_ms"]
    return told


def gate_answers(row: StoryRow) -> Iterator[dict[str, Any]]:
    """The gates' answers of one decision."""
    return (reason for reason in row.reasons if reason.get("gate"))
