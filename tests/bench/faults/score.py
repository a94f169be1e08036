"""What one played fault was worth, and the totals. Pure: what was seen goes in, verdicts come out."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

HEALED, ESCALATED, HELD, MISSED, HARMED = "healed", "escalated", "held", "missed", "harmed"


@dataclass(frozen=True)
class Seen:
    """What the benchmark saw of one fault.

    `closed`: after a person's repair the incident ended by itself (True where nobody had to repair). `world_ok`: afterwards the
    host was as before. `pages` and `at_once` (None where the fault has one host): of how many incidents people were told, and
    how many hosts were disturbed at one time. `note`: what a reader should know. `problem`: why it could not be played.
    """

    id: str
    cls: str
    expect: str
    injectable: bool
    seen_s: float | None = None
    seen_by: str = ""
    event: bool = False
    every_s: float = 0.0
    actions: tuple[str, ...] = ()
    healed_s: float | None = None
    proved: bool = False
    check_ok: bool = False
    guard_ok: bool = True
    escalated: bool = False
    cause_reported: bool = False
    closed: bool = True
    world_ok: bool = True
    pages: int | None = None
    at_once: int | None = None
    note: str = ""
    problem: str = ""
    incidents: tuple[str, ...] = field(default=())


def verdict(seen: Seen) -> str:
    """One of five words. A guard that fails is harm, whatever else happened."""
    if not seen.guard_ok:
        return HARMED
    if seen.expect == "hold":
        return HELD if not seen.actions else HARMED
    # What is only simulated has no check of its own: there the product's proof is all that can be asked.
    well = seen.check_ok if seen.injectable else seen.proved
    if seen.expect != "escalate" and well:
        return HEALED
    if seen.cause_reported and seen.escalated:
        return ESCALATED
    return MISSED


def passes(seen: Seen) -> bool:
    """Whether it went as the catalogue expects."""
    word = verdict(seen)
    wanted = {"heal": (HEALED,), "escalate": (ESCALATED,), "heal_or_escalate": (HEALED, ESCALATED), "hold": (HELD,)}
    return word in wanted[seen.expect] and seen.closed and seen.world_ok and not seen.problem


def record(seen: Seen) -> dict[str, Any]:
    """One entry of build/bench-faults.json."""
    whole = asdict(seen) | {"class": seen.cls, "verdict": verdict(seen), "pass": passes(seen)}
    first = ("id", "class", "expect", "seen_s", "seen_by", "actions", "healed_s", "proved", "check_ok", "guard_ok")
    order = (
        *first,
        "cause_reported",
        "verdict",
        "pass",
        "closed",
        "world_ok",
        "pages",
        "at_once",
        "note",
        "problem",
        "incidents",
    )
    return {name: whole[name] for name in order}


def totals(all_seen: Iterable[Seen]) -> dict[str, dict[str, int]]:
    """Verdicts and passes by class, and under `all`."""
    found: dict[str, dict[str, int]] = {}
    for seen in all_seen:
        for name in (seen.cls, "all"):
            row = found.setdefault(name, dict.fromkeys((HEALED, ESCALATED, HELD, MISSED, HARMED, "passed", "played"), 0))
            row[verdict(seen)] += 1
            row["passed"] += passes(seen)
            row["played"] += 1
    return {name: found[name] for name in [*sorted(set(found) - {"all"}), "all"] if name in found}


def latencies(all_seen: Sequence[Seen]) -> dict[str, float | None]:
    """Median seconds from injection to sight: with an event source, and those that are polled."""
    by_event = [s.seen_s for s in all_seen if s.seen_s is not None and s.event]
    polled = [s.seen_s for s in all_seen if s.seen_s is not None and not s.event]
    return {
        "seen_by_event_median_s": statistics.median(by_event) if by_event else None,
        "seen_by_poll_median_s": statistics.median(polled) if polled else None,
    }


def table(all_seen: Sequence[Seen]) -> str:
    """For people."""
    head = f"{'fault':<8} {'class':<22} {'expect':<17} {'seen':>6} {'healed':>7} {'verdict':<10} {'':<5} by / actions / problem"
    lines = [head]
    for seen in all_seen:
        times = (f"{s:.1f}" if s is not None else "-" for s in (seen.seen_s, seen.healed_s))
        many = f"{seen.pages} told of, {seen.at_once} disturbed at once" if seen.pages is not None else ""
        notes = [seen.seen_by, " ".join(seen.actions), many, seen.note, seen.problem]
        notes += [] if seen.closed else ["its incident did not close by itself"]
        notes += [] if seen.world_ok else ["the host was not as before"]
        seen_text, healed_text = times
        passed = "pass" if passes(seen) else "FAIL"
        lines.append(
            f"{seen.id:<8} {seen.cls[:22]:<22} {seen.expect:<17} {seen_text:>6} {healed_text:>7} "
            f"{verdict(seen):<10} {passed:<5} " + " / ".join(note for note in notes if note)
        )
    return "\n".join(lines)
