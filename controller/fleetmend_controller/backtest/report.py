"""The result of a backtest, for people and for machines. Each part says whether it is certain or rests on an assumption."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import Any

from ..core.effects import Closed, SendOrder, Why
from ..core.model import Cost
from .history import History
from .record import Episode
from .tally import StormSeen, Tally
from .world import PERSON_MS

TOP = 10


def report(history: History, tally: Tally, episodes: list[Episode], hosts: int, events: int) -> dict[str, Any]:
    """Everything that a replay found, as plain values."""
    return {
        "playbook": tally.name,
        "window": {"from": _time(history.from_ms), "to": _time(history.to_ms), "days": round(_days(history), 1)},
        "read": {"hosts": hosts, "faults": len(episodes), "events_replayed": events},
        "certain": _certain(history, tally),
        "assumed": _assumed(tally),
        "gates": _gates(tally),
        "peaks": [
            {
                "group": group,
                "at_once": peak.count,
                "allowed": peak.allowed,
                "wanted": peak.wanted,
                "breaches": peak.breaches,
                "at": _time(peak.at_ms),
            }
            for group, peak in sorted(tally.peaks.items())
        ],
        "where": {
            "hosts": dict(tally.by_host.most_common(TOP)),
            "groups": dict(tally.by_group.most_common(TOP)),
            "subjects": dict(tally.by_subject.most_common(TOP)),
        },
        "storms": [_storm(storm) for storm in tally.storms],
        "escalated_because": dict(sorted(Counter(tally.escalated.values()).items())),
        "basis": {
            "outcomes_recorded": tally.world.recorded_outcomes,
            "outcomes_assumed": tally.world.assumed_outcomes,
            "faults_prolonged": tally.world.prolonged,
            "person_minutes": PERSON_MS // 60_000,
        },
    }


def _certain(history: History, tally: Tally) -> dict[str, Any]:
    """What the record and the playbook's condition say, whatever the repairs would have done."""
    orders, healed = _then(history, tally.name)
    faults = list(dict.fromkeys(episode for episode in tally.matched.values() if episode is not None))
    return {
        "faults_matched": len(faults),
        "faults_acted_then": sum(1 for e in faults if e.acts),
        "faults_healed_then": sum(1 for e in faults if e.healer is not None),
        "faults_escalated_then": sum(1 for e in faults if e.escalated),
        "playbook_orders_then": orders,
        "playbook_healed_then": healed,
    }


def _assumed(tally: Tally) -> dict[str, Any]:
    return {
        "incidents": len(tally.matched),
        "orders": len(tally.orders),
        "disruptive_orders": sum(1 for order in tally.orders if order.cost is not Cost.HARMLESS),
        "incidents_acted": len(tally.acted),
        "healed": len(tally.healed),
        "went_away_by_itself": len(tally.went_away),
        "escalated": len(tally.escalated),
        "approvals_asked": tally.approvals,
        "demoted_at": [_time(at_ms) for at_ms in tally.demoted_ms],
        "peak_at_once": tally.peak.count,
        "peak_at": _time(tally.peak.at_ms) if tally.peak.count else "-",
    }


def _storm(storm: StormSeen) -> dict[str, Any]:
    return {
        "check": storm.check,
        "from": _time(storm.since_ms),
        "to": _time(storm.until_ms) if storm.until_ms is not None else "-",
        "orders_during": storm.acted,
        "incidents_held": len(storm.held),
        "pages": storm.pages,
        "text": storm.text,
    }


def _gates(tally: Tally) -> list[dict[str, Any]]:
    rows = []
    for verdict, kept in (("held", tally.held), ("refused", tally.refused)):
        for (gate, why), incidents in sorted(kept.items()):
            rows.append({"gate": gate, "answer": verdict, "why": why, "incidents": len(incidents)})
    return rows


def _then(history: History, name: str) -> tuple[int, int]:
    """Orders and repairs of the playbook of that name, as the record has them."""
    orders: dict[str, None] = {}
    healed = 0
    for decided in history.decided:
        effect = decided.effect
        if isinstance(effect, SendOrder) and effect.order.requested_by == f"playbook {name}":
            orders[effect.order.id] = None
        elif isinstance(effect, Closed) and effect.playbook == name and effect.why is Why.HEALED:
            healed += 1
    return len(orders), healed


def _days(history: History) -> float:
    return (history.to_ms - history.from_ms) / 86_400_000


def _time(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def text_of(result: dict[str, Any]) -> str:
    """The report as people read it at a terminal."""
    window, read, certain, assumed, basis = (result[k] for k in ("window", "read", "certain", "assumed", "basis"))
    name, days, hosts = result["playbook"], window["days"], read["hosts"]
    lines = [
        f"{name} over {days} days, {window['from']} to {window['to']}: {hosts} hosts, {read['faults']} faults",
        "",
        "CERTAIN (the record, and the condition on it)",
        f"  faults it answers           {certain['faults_matched']}",
        f"  of these, then acted on     {certain['faults_acted_then']}",
        f"  of these, then healed       {certain['faults_healed_then']}",
        f"  of these, then to people    {certain['faults_escalated_then']}",
        f"  orders by its name then     {certain['playbook_orders_then']}, healed {certain['playbook_healed_then']}",
        "",
        "WITH THIS PLAYBOOK (rests on the assumptions below)",
        f"  would have acted            {assumed['incidents_acted']} of {assumed['incidents']} incidents",
        f"  by orders                   {assumed['orders']}, disruptive {assumed['disruptive_orders']}",
        f"  healed                      {assumed['healed']}",
        f"  went away by itself         {assumed['went_away_by_itself']}",
        f"  to people                   {assumed['escalated']}{_why(result['escalated_because'])}",
        f"  approvals asked for         {assumed['approvals_asked']}",
        f"  trust lowered               {len(assumed['demoted_at'])} times",
        f"  most in work at once        {assumed['peak_at_once']} ({assumed['peak_at']})",
    ]
    lines += _table("GATES that did not allow", result["gates"], ("gate", "answer", "why", "incidents"))
    lines += _table(
        "MOST AT ONCE by group, against the budget",
        result["peaks"],
        ("group", "at_once", "allowed", "wanted", "breaches", "at"),
    )
    for what, counts in result["where"].items():
        rows = [{"name": each, "orders": count} for each, count in counts.items()]
        lines += _table(f"WHERE: {what} with most orders", rows, ("name", "orders"))
    lines += _table("STORMS", result["storms"], ("check", "from", "to", "orders_during", "incidents_held", "pages"))
    return "\n".join([*lines, "", "ASSUMPTIONS", *_assumptions(basis)])


def _assumptions(basis: dict[str, Any]) -> list[str]:
    return [
        f"  {basis['outcomes_recorded']} orders end as the same action on the same fault ended then.",
        f"  {basis['outcomes_assumed']} were not given then: taken not to help; the fault ends when it was recorded to end.",
        f"  {basis['faults_prolonged']} faults had been ended by repairs not made now: {basis['person_minutes']} min added.",
        "  Nobody answers questions for approval. See docs/backtest.md.",
    ]


def _why(counts: dict[str, int]) -> str:
    return f" ({', '.join(f'{why} {count}' for why, count in counts.items())})" if counts else ""


def _table(title: str, rows: list[dict[str, Any]], columns: tuple[str, ...]) -> list[str]:
    if not rows:
        return []
    cells = [[c.replace("_", " ") for c in columns], *([str(row[c]) for c in columns] for row in rows)]
    widths = [max(len(line[n]) for line in cells) for n in range(len(columns))]
    body = ["  " + "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in cells]
    return ["", title, *body]
