"""The safety questions, one file each. Each file declares `GATE = Gate(...)`; `order` is its place in the row.

A gate is a pure function of a candidate action and answers allow, hold (with the time to ask again) or refuse, with a reason.
Every gate is asked for every candidate, so that people see all blockers at once. A gate that lacks data holds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from ..effects import Verdict, Why
from ..model import ActionStep, Fleet, Host, Incident, Params, Playbook, Trust

if TYPE_CHECKING:
    from ..policy import Policy


@dataclass(frozen=True, slots=True)
class Candidate:
    """An action that a playbook would take now. `trust` is how far the playbook may go after demotions.

    `params` are the step's parameters with the values of the finding.
    """

    now_ms: int
    fleet: Fleet
    policy: Policy
    host: Host
    incident: Incident
    playbook: Playbook
    step: ActionStep
    trust: Trust
    params: Params = ()


class Answer(NamedTuple):
    """What a gate says. `recheck_ms`: when a hold may have ended (controller time); None when an event will tell."""

    verdict: Verdict
    why: Why
    text: str
    recheck_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Gate:
    """One safety question. `ahead`: it needs no fault to look at, and is also asked before a host gets permits."""

    name: str
    order: int
    question: str
    ask: Callable[[Candidate], Answer]
    ahead: bool = False


def allow(text: str) -> Answer:
    """Nothing against it."""
    return Answer(Verdict.ALLOW, Why.ALLOWED, text)


def hold(why: Why, text: str, recheck_ms: int | None = None) -> Answer:
    """Not now."""
    return Answer(Verdict.HOLD, why, text, recheck_ms)


def refuse(why: Why, text: str) -> Answer:
    """Not by this playbook: a person must look."""
    return Answer(Verdict.REFUSE, why, text)
