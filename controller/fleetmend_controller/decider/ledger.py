"""The decider's memory on disk: journal rows for what happened and was decided, the incidents' list, snapshots, replay."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from ..core.effects import ASIDES, Acknowledged, Closed, Effect, Escalated, PhaseChanged, Step
from ..core.events import Event, PolicyLoaded
from ..core.flow import advance
from ..core.model import Fleet, Incident, Phase
from ..core.policy import Policy
from ..rules import RulesError
from ..store import codec, journal
from ..store.journal import Entry, Head
from ..store.tables import incidents, lease, policies, snapshots

SNAPSHOTS_KEPT = 2
# In one question; databases take some ten thousand parameters.
IDS_MAX = 500


@dataclass(slots=True)
class Recovered:
    """What a start or a reload found."""

    fleet: Fleet
    head: Head
    policy: str
    replayed: int
    unusable: str = ""
    """Why this version cannot take the rules that were in force; then none are, and `policy` is empty."""


class PolicyMissing(RuntimeError):
    """The journal names a policy whose documents are not there."""


class PolicyUnusable(RuntimeError):
    """Events must be replayed that were decided by rules which this version does not take."""


def entries_of(event: Event, step: Step, seq: int) -> list[Entry]:
    """The rows of one event whose own row gets `seq`: the event, then one decision row for each incident it touched."""
    touched: dict[str, tuple[list[dict[str, object]], list[dict[str, object]]]] = {}
    for reason in step.reasons:
        row: dict[str, object] = {
            "why": reason.why.value,
            "text": reason.text,
            "gate": reason.gate,
            "verdict": reason.verdict.value if reason.verdict else "",
            "playbook": reason.playbook,
        }
        touched.setdefault(reason.incident, ([], []))[0].append(row)
    for effect in step.effects:
        touched.setdefault(_incident_of(effect), ([], []))[1].append(codec.encode_tagged(effect))
    touched.pop("", None)
    host = getattr(event, "host", "")
    only = next(iter(touched)) if len(touched) == 1 else ""
    rows = [Entry("event", event.at_ms, host, only, codec.dumps(codec.encode_tagged(event)))]
    for incident, (reasons, effects) in touched.items():
        body = {"event_seq": seq, "reasons": reasons, "effects": effects}
        rows.append(Entry("decision", event.at_ms, host, incident, codec.dumps(body)))
    return rows


def _incident_of(effect: Effect) -> str:
    order = getattr(effect, "order", None)
    found = getattr(effect, "incident", "") or getattr(order, "incident", "")
    return str(found)


def project(connection: Connection, fleet: Fleet, steps: Iterable[Step], now_ms: int) -> None:
    """Bring the list of incidents up to date with what the steps changed."""
    closed: dict[str, Closed] = {}
    why: dict[str, str] = {}
    changed: dict[str, None] = {}
    taken: dict[str, str] = {}
    for step in steps:
        for effect in step.effects:
            if isinstance(effect, PhaseChanged):
                changed[effect.incident] = None
            elif isinstance(effect, Closed):
                closed[effect.incident] = effect
            elif isinstance(effect, Escalated):
                why[effect.incident] = effect.why.value
            elif isinstance(effect, Acknowledged):
                taken[effect.incident] = effect.by
        for reason in step.reasons:
            if reason.why not in ASIDES and (reason.incident in changed or reason.incident not in why):
                why[reason.incident] = reason.why.value
    open_now = {i: fleet.incidents[i] for i in changed if i in fleet.incidents}
    _upsert(connection, {i: _row(incident, why.get(i, ""), now_ms) for i, incident in open_now.items()})
    for incident_id, by in taken.items():
        connection.execute(incidents.update().where(incidents.c.id == incident_id).values(taken_by=by, taken_ms=now_ms))
    for incident_id, effect in closed.items():
        values = {
            "phase": Phase.RESOLVED.value,
            "why": effect.why.value,
            "summary": effect.summary,
            "playbook": effect.playbook,
            "changed_ms": now_ms,
            "closed_ms": now_ms,
        }
        done = connection.execute(incidents.update().where(incidents.c.id == incident_id).values(**values)).rowcount
        if not done:
            # It came and went within one commit.
            opened_ms = now_ms - effect.total_ms + (effect.detect_ms or 0)
            subject = {"host": effect.subject.host, "check": effect.subject.check, "key": effect.subject.key}
            connection.execute(incidents.insert().values(id=incident_id, opened_ms=opened_ms, **subject, **values))


def _row(incident: Incident, why: str, now_ms: int) -> dict[str, object]:
    return {
        "host": incident.subject.host,
        "check": incident.subject.check,
        "key": incident.subject.key,
        "phase": incident.phase.value,
        "why": why,
        "summary": incident.summary,
        "playbook": incident.playbook,
        "opened_ms": incident.opened_ms,
        "changed_ms": now_ms,
        "closed_ms": None,
    }


def _upsert(connection: Connection, rows: dict[str, dict[str, object]]) -> None:
    """In a few statements, however many rows: a storm changes a thousand at once."""
    ids = list(rows)
    known: set[str] = set()
    for first in range(0, len(ids), IDS_MAX):
        some = ids[first : first + IDS_MAX]
        known.update(connection.execute(sa.select(incidents.c.id).where(incidents.c.id.in_(some))).scalars())
    fresh = [{"id": i, **values} for i, values in rows.items() if i not in known]
    if fresh:
        connection.execute(incidents.insert(), fresh)
    changed = [{"changed_id": i, **values} for i, values in rows.items() if i in known]
    if changed:
        connection.execute(incidents.update().where(incidents.c.id == sa.bindparam("changed_id")), changed)


def take_lease(connection: Connection, holder: str, now_ms: int) -> int:
    """Become the active decider: the epoch rises by compare-and-set; whoever had it before can neither write nor command."""
    row = connection.execute(sa.select(lease.c.epoch).where(lease.c.id == 1)).one_or_none()
    if row is None:
        connection.execute(lease.insert().values(id=1, epoch=1, holder=holder, until_ms=now_ms))
        return 1
    epoch = int(row.epoch) + 1
    statement = (
        lease.update().where(lease.c.id == 1, lease.c.epoch == row.epoch).values(epoch=epoch, holder=holder, until_ms=now_ms)
    )
    if connection.execute(statement).rowcount != 1:
        raise RuntimeError("cannot become the active decider: another one took over at this moment")
    return epoch


def check_epoch(connection: Connection, epoch: int) -> None:
    """Fence: an append under an epoch that is not the newest must fail."""
    current = connection.execute(sa.select(lease.c.epoch).where(lease.c.id == 1)).scalar()
    if current != epoch:
        raise StaleEpoch(f"cannot append to the journal: this decider has epoch {epoch}, the active one {current}")


class StaleEpoch(RuntimeError):
    """Another decider has taken over."""


def save_policy(connection: Connection, digest: str, documents: dict[str, str], now_ms: int) -> None:
    """Keep the documents of a policy under its digest."""
    if connection.execute(sa.select(policies.c.digest).where(policies.c.digest == digest)).one_or_none() is None:
        connection.execute(policies.insert().values(digest=digest, at_ms=now_ms, documents=codec.dumps(documents)))


def load_policy(connection: Connection, digest: str) -> dict[str, str]:
    """The documents of a policy."""
    text = connection.execute(sa.select(policies.c.documents).where(policies.c.digest == digest)).scalar()
    if text is None:
        raise PolicyMissing(f"cannot replay the journal: the documents of policy {digest[:12]} are not in the database")
    documents: dict[str, str] = json.loads(text)
    return documents


def save_snapshot(connection: Connection, master: bytes, seq: int, now_ms: int, policy: str, body: str) -> None:
    """Keep the fleet after row `seq`, sealed; an earlier one of that row and those long past go."""
    mac = _snapshot_mac(master, seq, policy, body)
    connection.execute(snapshots.delete().where(snapshots.c.seq == seq))
    connection.execute(snapshots.insert().values(seq=seq, at_ms=now_ms, policy=policy, body=body, mac=mac))
    kept = connection.execute(sa.select(snapshots.c.seq).order_by(snapshots.c.seq.desc()).limit(SNAPSHOTS_KEPT)).scalars().all()
    connection.execute(snapshots.delete().where(snapshots.c.seq < min(kept)))


def recover(connection: Connection, master: bytes, compile_policy: Callable[[dict[str, str]], Policy]) -> Recovered:
    """The fleet as the journal has it: the newest snapshot whose seal holds, and every event after it."""
    head = journal.read_head(connection, master)
    fleet, seq, digest = Fleet(), 0, ""
    for row in connection.execute(sa.select(snapshots).where(snapshots.c.seq <= head.seq).order_by(snapshots.c.seq.desc())):
        if hmac.compare_digest(_snapshot_mac(master, row.seq, row.policy, row.body), bytes(row.mac)):
            fleet, seq, digest = codec.decode(Fleet, json.loads(row.body)), row.seq, row.policy
            break
    policy: Policy | None = None
    replayed = 0
    for _, _, entry, _ in journal.scan(connection, seq):
        if entry.kind != "event":
            continue
        event = codec.decode_event(json.loads(entry.body))
        if isinstance(event, PolicyLoaded):
            policy, digest = None, event.digest
        if policy is None:
            policy = _to_replay(connection, digest, compile_policy)
        advance(fleet, event, policy)
        replayed += 1
    if policy is None:
        try:
            _compiled(connection, digest, compile_policy)
        except RulesError as error:
            return Recovered(fleet, head, "", 0, str(error.problems[0]))
    return Recovered(fleet, head, digest, replayed)


def _to_replay(connection: Connection, digest: str, compile_policy: Callable[[dict[str, str]], Policy]) -> Policy:
    try:
        return _compiled(connection, digest, compile_policy)
    except RulesError as error:
        raise PolicyUnusable(
            f"cannot replay the journal: this version does not take the rules {digest[:12]} that were in force: "
            f"{error.problems[0]}; start the version before once more and stop it with SIGTERM, then nothing is left to replay"
        ) from error


def _compiled(connection: Connection, digest: str, compile_policy: Callable[[dict[str, str]], Policy]) -> Policy:
    return compile_policy(load_policy(connection, digest) if digest else {})


def _snapshot_mac(master: bytes, seq: int, policy: str, body: str) -> bytes:
    return hmac.new(
        master, b"fleetmend snapshot" + seq.to_bytes(8, "big") + policy.encode() + b"\0" + body.encode(), hashlib.sha256
    ).digest()
