"""The hosts of the fleet: who is there, under which labels, and how they leave."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from fleetmend.v1 import admin_pb2 as pb

from ..calendar import window_end
from ..core.gates.paused import scopes
from ..core.model import Host
from ..core.permits import live
from ..pki.registry import HostRecord, UnknownHost
from ..pki.tokens import LabelError, check_labels
from ..store.tables import facts, hosts
from .desk import Desk
from .errors import AdminError, invalid, not_found, not_now
from .paging import decode_token, encode_token, page_size
from .selector import matches, parse_selector

_IN_CHUNK = 500


def find_host(desk: Desk, named: str) -> HostRecord:
    """The living host of an id or a name. NOT_FOUND if there is none."""
    if not named:
        raise invalid("cannot find a host without id or name; `fleetmend hosts ls` lists them")
    found = desk.registry.find(named)
    if found is None:
        raise _unknown(named)
    return found


async def find_host_id(desk: Desk, named: str) -> str:
    """As `find_host`, and also the id of a host that was removed: its history stays."""
    living = desk.registry.find(named)
    if living is not None:
        return living.id
    query = sa.select(hosts.c.id).where(hosts.c.id == named)
    if await desk.store.read(lambda connection: connection.execute(query).scalar()):
        return named
    raise _unknown(named)


def host_names(connection: Connection, ids: Iterable[str]) -> dict[str, str]:
    """Names by id, those of removed hosts too."""
    wanted = list(dict.fromkeys(ids))
    names: dict[str, str] = {}
    for start in range(0, len(wanted), _IN_CHUNK):
        query = sa.select(hosts.c.id, hosts.c.name).where(hosts.c.id.in_(wanted[start : start + _IN_CHUNK]))
        names.update((row.id, row.name) for row in connection.execute(query))
    return names


def list_hosts(desk: Desk, request: pb.ListHostsRequest) -> pb.ListHostsResponse:
    """A page of hosts by name."""
    size = page_size(request.page_size)
    place = decode_token(request.page_token, (str, str))
    terms = parse_selector(request.selector)
    picked = [host for host in desk.registry.all() if matches(terms, host.labels)]
    if request.state:
        picked = [host for host in picked if state_of(desk, host.id) == request.state]
    rest = picked if place is None else [host for host in picked if (host.name, host.id) > place]
    page = rest[:size]
    token = encode_token(page[-1].name, page[-1].id) if len(rest) > size else ""
    return pb.ListHostsResponse(hosts=[host_of(desk, host) for host in page], next_page_token=token, total=len(picked))


async def label_host(desk: Desk, request: pb.LabelHostRequest, who: str) -> pb.LabelHostResponse:
    """Change labels; groups, limits and rules follow the registry."""
    host = find_host(desk, request.host)
    if not request.set and not request.remove:
        raise invalid("cannot label without labels to set or to remove; try `fleetmend hosts label HOST role=web`")
    absent = [name for name in request.remove if name not in host.labels]
    if absent:
        raise invalid(f"cannot remove label {absent[0]!r}: {host.name} does not have it")
    both = sorted(set(request.remove) & set(request.set))
    if both:
        raise invalid(f"cannot both set and remove label {both[0]!r}")
    kept = {name: value for name, value in host.labels.items() if name not in request.remove}
    try:
        after = check_labels({**kept, **request.set})
    except LabelError as error:
        raise invalid(str(error)) from error
    await desk.decider.audit("host_labelled", who, host.id, {"before": _written(host.labels), "after": _written(after)})
    try:
        changed = await desk.registry.label(host.id, request.set, tuple(request.remove))
    except (UnknownHost, KeyError) as error:
        raise not_now(
            f"cannot label {host.name}: it was changed by somebody else at this moment; look and try again"
        ) from error
    return pb.LabelHostResponse(host=host_of(desk, changed))


async def remove_host(desk: Desk, request: pb.RemoveHostRequest, who: str) -> pb.RemoveHostResponse:
    """Refuse the host from now on. Audited afterwards: a journal without space must not keep a stolen host in the fleet."""
    host = find_host(desk, request.host)
    try:
        await desk.registry.remove(host.id, who)
    except UnknownHost as error:
        raise _unknown(request.host) from error
    await desk.audit_done("host_removed", who, host.id, {"name": host.name})
    return pb.RemoveHostResponse(id=host.id, name=host.name)


async def get_facts(desk: Desk, request: pb.GetFactsRequest) -> pb.GetFactsResponse:
    """The inventory of a host; sections by name."""
    host = find_host(desk, request.host)
    query = sa.select(facts).where(facts.c.host == host.id).order_by(facts.c.name)
    rows = await desk.store.read(lambda connection: connection.execute(query).all())
    known = {row.name for row in rows}
    absent = [name for name in request.sections if name not in known]
    if absent:
        has = f"it has {', '.join(sorted(known))}" if known else "it has sent none yet"
        raise not_found(f"cannot find section {absent[0]!r} of {host.name}: {has}")
    sections = [
        pb.FactsSection(name=row.name, at_ms=row.at_ms, json=row.body, error=row.error)
        for row in rows
        if not request.sections or row.name in request.sections
    ]
    return pb.GetFactsResponse(host_id=host.id, host_name=host.name, sections=sections)


def state_of(desk: Desk, host_id: str) -> pb.HostState.ValueType:
    """Whether a living host's agent is heard."""
    known = desk.decider.fleet.hosts.get(host_id)
    # A stream can outlive the agent's voice: a process that is stopped, a network that drops everything.
    is_silent = known is not None and known.lost_since_ms is not None
    if desk.sessions.is_online(host_id) and not is_silent:
        return pb.HOST_STATE_UP
    return pb.HOST_STATE_LOST if known is not None and known.boot else pb.HOST_STATE_NEVER_CONNECTED


def host_of(desk: Desk, record: HostRecord) -> pb.Host:
    """A host as lists show it."""
    fleet = desk.decider.fleet
    known = fleet.hosts.get(record.id) or Host(record.id, record.name, record.labels, record.enrolled_ms)
    now_ms = desk.now_ms()
    seen = fleet.presence.get(record.id)
    covering = [fleet.pauses[scope] for scope in scopes(known, "") if scope in fleet.pauses]
    state = state_of(desk, record.id)
    return pb.Host(
        id=record.id,
        name=record.name,
        labels=record.labels,
        state=state,
        lost_since_ms=(known.lost_since_ms or record.last_seen_ms) if state == pb.HOST_STATE_LOST else None,
        enrolled_ms=record.enrolled_ms,
        last_seen_ms=record.last_seen_ms,
        agent_version=record.agent_version,
        certificate_not_after_ms=record.certificate_not_after_ms,
        incidents_open=len(fleet.by_host.get(record.id, {})),
        paused_by=[pause.scope for pause in covering if pause.until_ms is None or pause.until_ms > now_ms],
        maintenance=[w.id for w in fleet.windows.values() if w.covers(known.id, known.labels) and window_end(w, now_ms)],
        present=seen.who if seen is not None and seen.until_ms > now_ms else "",
        live_permits=live(known, now_ms),
    )


def _unknown(named: str) -> AdminError:
    return not_found(f"cannot find host {named!r}: no host has this id or name; `fleetmend hosts ls` lists them")


def _written(labels: Mapping[str, str]) -> str:
    return ",".join(f"{name}={value}" for name, value in sorted(labels.items()))
