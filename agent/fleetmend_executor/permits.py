"""Using a sealed permit: the newest set is kept, and what the agent says it saw must fit it before anything may begin.

A permit is an order that waited: after these checks it takes the way of every order, under its own id in the ledger. So it has
one effect at most and one end, whoever dies in between.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, NamedTuple

from fleetmend import permits as shared
from fleetmend.permits import Grant, PermitError, PermitSet, Sighting
from fleetmend.seal import SealError, canonical, unseal

from .actions import Action, Cost, Refused
from .ledger import Entry
from .store import StateError, read_bounded, write_synced

FILE_NAME = "permits.json"
FILE_BYTES_MAX = 1024 * 1024
# The sample that a permit is used on must be this young.
SAMPLE_AGE_MS_MAX = 30_000
# How many used permits the agent is told of when it asks.
TOLD_MAX = 64


class Trigger(NamedTuple):
    """What the agent saw: the finding, since when it is bad, when it was sampled last, how long nobody could be asked."""

    seen: Sighting
    summary: str
    since_clock_ms: int
    sampled_clock_ms: int
    away_ms: int


def load(state_dir: str, key: bytes, host_id: str) -> PermitSet | None:
    """The set in force, its seal verified again; None if there is none, or none that can be trusted."""
    try:
        envelope = json.loads(read_bounded(f"{state_dir}/{FILE_NAME}", FILE_BYTES_MAX))
        payload, mac = str(envelope["payload"]).encode(), bytes.fromhex(envelope["mac"])
        held = shared.parse(unseal(key, payload, mac, shared.KIND))
    except (OSError, StateError, SealError, ValueError, KeyError, TypeError):
        return None
    return held if held.host_id == host_id else None


def store(state_dir: str, payload: bytes, mac: bytes) -> None:
    """Replace the set in force, durably. Raises OSError."""
    text = json.dumps({"payload": payload.decode(), "mac": mac.hex()}, separators=(",", ":"))
    write_synced(f"{state_dir}/{FILE_NAME}", text.encode() + b"\n")


def parse_trigger(given: object) -> Trigger:
    """What the agent gave; Refused("bad_trigger") if it is not all there."""
    document = given if isinstance(given, dict) else {}
    texts = {name: document.get(name) for name in ("check", "check_type", "key", "summary")}
    clocks = {name: document.get(name) for name in ("since_clock_ms", "sampled_clock_ms", "away_ms")}
    finding = document.get("finding")
    fits = all(isinstance(text, str) and len(text) <= shared.TEXT_CHARS_MAX for text in texts.values())
    fits = fits and all(isinstance(ms, int) and not isinstance(ms, bool) and ms >= 0 for ms in clocks.values())
    if not fits or not isinstance(finding, dict) or not all(isinstance(v, str | int | float) for v in finding.values()):
        raise Refused("bad_trigger", "cannot use a permit: what was seen is not told in full")
    seen = Sighting(str(texts["check"]), str(texts["check_type"]), str(texts["key"]), finding)
    return Trigger(seen, str(texts["summary"]), *(int(ms or 0) for ms in clocks.values()))


def check(held: PermitSet, grant: Grant, trigger: Trigger, action: Action, now_ms: int) -> None:
    """Refused unless the permit covers what was seen, it lasted long enough, and is still so."""
    if action.cost is Cost.DESTRUCTIVE or (action.cost is Cost.DISRUPTIVE and not action.target):
        raise Refused("not_alone", f"cannot run {action.name} by a permit: it does not say which one declared thing it touches")
    why_not = held.why_not(grant, trigger.seen)
    if why_not:
        raise Refused("not_covered", f"cannot use a permit of {grant.playbook}: {why_not}")
    if not now_ms - SAMPLE_AGE_MS_MAX <= trigger.sampled_clock_ms <= now_ms:
        raise Refused("evidence_stale", "cannot use a permit: the newest sample is old, or not of this time")
    if now_ms - trigger.since_clock_ms < grant.for_ms:
        raise Refused("fault_too_young", f"cannot use a permit: the fault must last {grant.for_ms} ms first")


def check_budget(grant: Grant, used: Iterable[Entry], boot_id: str, now_ms: int) -> None:
    """Refused if so many permits of the playbook were used within its window already."""
    recent = 0
    for entry in used:
        since_ms = now_ms - entry.started_clock_ms
        recent += (
            entry.began and entry.boot_id == boot_id and since_ms < grant.window_ms and playbook_of(entry) == grant.playbook
        )
    if recent >= grant.uses_max:
        raise Refused("over_budget", f"cannot use a permit of {grant.playbook}: {recent} were used within {grant.window_ms} ms")


def playbook_of(entry: Entry) -> str:
    """Whose permit an entry of the ledger was; empty for an order."""
    return str(json.loads(entry.permit).get("playbook", "")) if entry.permit else ""


def described(held: PermitSet, grant: Grant, trigger: Trigger, params: dict[str, Any]) -> str:
    """What goes into ledger and outcome: by which word, what was seen, and what it led to."""
    document = {
        "playbook": grant.playbook,
        "version": held.version,
        "action": grant.deed.action,
        "params": params,
        "within_ms": grant.within_ms,
        "stay_ok_ms": grant.stay_ok_ms,
        "timeout_ms": grant.deed.timeout_ms,
        "check": trigger.seen.check,
        "check_type": trigger.seen.check_type,
        "key": trigger.seen.key,
        "summary": trigger.summary,
        "finding": shared.plain_finding(trigger.seen.finding),
        "since_clock_ms": trigger.since_clock_ms,
        "sampled_clock_ms": trigger.sampled_clock_ms,
        "away_ms": trigger.away_ms,
    }
    return canonical(document).decode()


def filled(grant: Grant, trigger: Trigger) -> dict[str, Any]:
    """The parameters of the deed; Refused("bad_parameter") if the finding lacks one."""
    try:
        return shared.fill(grant.deed, trigger.seen.finding)
    except PermitError as error:
        raise Refused("bad_parameter", str(error)) from error
