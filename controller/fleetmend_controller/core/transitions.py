"""Which way an incident may move: rows of data with a sentence each. No guards here: the gates say whether, the table what."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, unique

from .model import Phase


@unique
class Trigger(Enum):
    """What moves an incident."""

    HOLD = "hold"
    ALLOW = "allow"
    ALONE = "alone"
    REFUSE = "refuse"
    STARTED = "started"
    ENDED = "ended"
    NEXT = "next step"
    RETRY = "retry"
    PROVED = "proved"
    GIVEN_UP = "given up"
    RECOVERED = "recovered"


@dataclass(frozen=True, slots=True)
class Row:
    """From these phases, on this trigger, to that phase."""

    before: tuple[Phase, ...]
    trigger: Trigger
    after: Phase
    sentence: str


P = Phase
TABLE: tuple[Row, ...] = (
    Row((P.OPEN, P.HELD), Trigger.HOLD, P.HELD, "A gate holds, or a step waits; asked again when something changes."),
    Row((P.OPEN, P.HELD), Trigger.ALLOW, P.ORDERED, "Every gate allows: the order is journalled and sent."),
    Row((P.OPEN, P.HELD), Trigger.REFUSE, P.ESCALATED, "No playbook, or a gate refuses: a person must look."),
    Row(
        (P.OPEN, P.HELD, P.ESCALATED),
        Trigger.ALONE,
        P.RUNNING,
        "The host used a permit while no controller could be asked.",
    ),
    Row((P.ORDERED,), Trigger.STARTED, P.RUNNING, "The executor has the order in its ledger and begins."),
    Row((P.ORDERED, P.RUNNING), Trigger.ENDED, P.PROVING, "The action is over; only the check can say whether it helped."),
    Row(
        (P.ORDERED, P.RUNNING),
        Trigger.NEXT,
        P.HELD,
        "A step that heals nothing by itself is over; the next one passes the gates.",
    ),
    Row(
        (P.ORDERED, P.RUNNING, P.PROVING),
        Trigger.RETRY,
        P.HELD,
        "It did not run, failed, or did not hold: the next try passes the gates afresh.",
    ),
    Row((P.PROVING,), Trigger.PROVED, P.RESOLVED, "The check said OK after the action and stayed OK."),
    Row((P.ORDERED, P.RUNNING, P.PROVING), Trigger.GIVEN_UP, P.ESCALATED, "Nothing is left to try: a person must look."),
    Row(
        (P.OPEN, P.HELD, P.ESCALATED), Trigger.RECOVERED, P.RESOLVED, "The check says OK though no action of ours is under way."
    ),
    Row(
        (P.ORDERED, P.RUNNING, P.PROVING),
        Trigger.RECOVERED,
        P.RESOLVED,
        "The order ended without a need for proof, or its host is gone.",
    ),
)

_NEXT: dict[tuple[Phase, Trigger], Phase] = {(before, row.trigger): row.after for row in TABLE for before in row.before}


class IllegalTransition(AssertionError):
    """The flow asked for a move that no row has: a defect, never to be ignored."""


def after(before: Phase, trigger: Trigger) -> Phase:
    """The phase that follows."""
    found = _NEXT.get((before, trigger))
    if found is None:
        raise IllegalTransition(f"cannot move an incident from {before.value} on {trigger.value}: no such row")
    return found
