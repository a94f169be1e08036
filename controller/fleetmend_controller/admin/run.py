"""One action on chosen hosts, because an operator wants it. It passes the gates like any other; this follows it to its end."""

from __future__ import annotations

import asyncio
import secrets
import shlex
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from fleetmend.v1 import admin_pb2 as pb

from ..core.effects import PhaseChanged
from ..core.events import RunRequested
from ..core.incidents import OPERATOR_CHECK
from ..core.model import Phase, Scalar
from ..pki.names import Caller, Kind, Role
from ..pki.registry import HostRecord
from ..store.tables import incidents
from .case import Case, build_case, gate_answers
from .convert import OUTPUT_CHARS_MAX, cost_of, cut
from .desk import Desk
from .errors import invalid, not_now
from .hosts import find_host
from .selector import matches, parse_selector
from .story import Story, read_story

WAIT_MS_DEFAULT = 10 * 60_000
WAIT_MS_MAX = 24 * 3_600_000
REASON_CHARS_MAX = 500
SUBMIT_MAX = 500
TEXT_CHARS_MAX = 300
# All outputs of a summary together: it is one message.
OUTPUT_CHARS_TOTAL_MAX = 1_000_000
HOSTS_NAMED_MAX = 20
# Changes come by themselves; this looks after one that got lost because the caller was slow.
LOOK_AGAIN_S = 5.0

_STATES = {
    Phase.OPEN: pb.RUN_STATE_REQUESTED,
    Phase.HELD: pb.RUN_STATE_HELD,
    Phase.ORDERED: pb.RUN_STATE_ORDERED,
    Phase.RUNNING: pb.RUN_STATE_RUNNING,
}
_FAILED = ("action_failed", "action_unknown", "action_expired", "executor_unreachable")


@dataclass(frozen=True, slots=True)
class Request:
    """What is to be done, checked."""

    id: str
    action: str
    cost: str
    timeout_ms: int
    params: tuple[tuple[str, Scalar], ...]
    hosts: tuple[HostRecord, ...]


@dataclass(slots=True)
class _Progress:
    """Where each host stands. `left` are those without a final state."""

    request: Request
    results: dict[str, pb.RunUpdate]
    left: dict[str, None] = field(default_factory=dict)


async def run_action(desk: Desk, message: pb.RunActionRequest, who: Caller) -> AsyncGenerator[pb.RunActionResponse, None]:
    """The plan, then every move of every host, then the summary."""
    request = read_request(desk, message)
    if message.approve_myself and not may_approve_alone(who):
        raise not_now(
            f"cannot approve {message.action} yourself: that takes the role admin, and you are {who}; another person must"
        )
    wait_ms = message.wait_ms or WAIT_MS_DEFAULT
    if not 0 < wait_ms <= WAIT_MS_MAX:
        raise invalid("cannot wait for this long: give a duration of at most 1d")
    hosts = [pb.RunHost(id=host.id, name=host.name, unwilling=_unwilling(desk, host, request.action)) for host in request.hosts]
    yield pb.RunActionResponse(
        plan=pb.RunPlan(request_id=request.id, action=request.action, cost=cost_of(request.cost), hosts=hosts)
    )
    results = {
        host.id: pb.RunUpdate(host_id=host.id, host_name=host.name, state=pb.RUN_STATE_REQUESTED) for host in request.hosts
    }
    progress = _Progress(request, results, dict.fromkeys(results))
    key, changes = desk.decider.subscribe()
    try:
        await _submit(desk, request, message, str(who))
        async for update in _follow(desk, progress, changes, desk.now_ms() + wait_ms):
            yield pb.RunActionResponse(update=update)
    finally:
        desk.decider.unsubscribe(key)
    done = sum(result.state == pb.RUN_STATE_DONE for result in results.values())
    output_chars_max = min(OUTPUT_CHARS_MAX, OUTPUT_CHARS_TOTAL_MAX // len(results))
    for result in results.values():
        result.output = cut(result.output, output_chars_max)
    yield pb.RunActionResponse(summary=pb.RunSummary(results=results.values(), done=done, not_done=len(results) - done))


def may_approve_alone(who: Caller) -> bool:
    """Whether this person may order what cannot be undone without another's approval."""
    return who.kind is Kind.LOCAL or (who.kind is Kind.OPERATOR and who.role is Role.ADMIN)


def read_request(desk: Desk, message: pb.RunActionRequest) -> Request:
    """Check everything that can be known before anything is asked for."""
    on_hosts = {name for name, spec in desk.catalogue.actions.items() if not spec.here}
    if message.action in desk.catalogue.actions and message.action not in on_hosts:
        text = f"cannot run {message.action} by hand: the controller does it as a step of a playbook, when its witnesses agree"
        raise invalid(text)
    if message.action not in on_hosts:
        known = ", ".join(sorted(on_hosts)) or "none"
        raise invalid(f"cannot run {message.action!r}: there is no such action; there are {known}")
    spec = desk.catalogue.actions[message.action]
    values, errors = desk.catalogue.validate_params("action", message.action, message.params)
    if errors:
        raise invalid(
            f"cannot run {message.action}: "
            + "; ".join(errors)
            + f"; `fleetmend actions ls {message.action}` shows its parameters"
        )
    if len(message.reason) > REASON_CHARS_MAX:
        raise invalid(
            f"cannot run {message.action}: the reason has {len(message.reason)} characters, at most {REASON_CHARS_MAX}"
        )
    hosts = choose_hosts(desk, message)
    params = tuple((name, shlex.join(value) if isinstance(value, list) else value) for name, value in sorted(values.items()))
    return Request(f"run-{secrets.token_hex(6)}", message.action, spec.cost, round(spec.timeout_s * 1000), params, hosts)


def choose_hosts(desk: Desk, message: pb.RunActionRequest) -> tuple[HostRecord, ...]:
    """The hosts that are meant. More than one must be expected in so many words."""
    if message.hosts and (message.selector or message.all):
        raise invalid("cannot choose hosts both by name and by selector; use one of them")
    if message.all and message.HasField("expect"):
        raise invalid("cannot both expect a number and take all; use one of --expect and --all")
    if message.hosts:
        chosen = list({host.id: host for host in (find_host(desk, named) for named in message.hosts)}.values())
    elif message.selector or message.all:
        terms = parse_selector(message.selector)
        if not terms and not message.all:
            raise invalid("cannot choose hosts by an empty selector; name hosts, or take every host with --all")
        chosen = [host for host in desk.registry.all() if matches(terms, host.labels)]
    else:
        raise invalid("cannot run on no host: name hosts or a selector with --on, or every host with --all")
    picked = f"{len(chosen)} {'host is' if len(chosen) == 1 else 'hosts are'} chosen"
    if not chosen:
        raise not_now(
            f"cannot run {message.action}: no host matches {message.selector or 'this'}; `fleetmend hosts ls` shows the labels"
        )
    if message.HasField("expect") and message.expect != len(chosen):
        raise not_now(f"cannot run {message.action}: {picked}, {message.expect} expected; look with `fleetmend hosts ls`")
    if len(chosen) > 1 and not message.all and not message.HasField("expect"):
        raise not_now(f"cannot run {message.action}: {picked}; say --expect {len(chosen)} if that is right, or --all")
    return tuple(chosen)


def _unwilling(desk: Desk, host: HostRecord, action: str) -> bool:
    """Whether the host's own policy did not list the action when its agent connected. It may have changed: ask anyway."""
    session = desk.sessions.get(host.id)
    return session is not None and bool(session.permitted_actions) and action not in session.permitted_actions


async def _submit(desk: Desk, request: Request, message: pb.RunActionRequest, who: str) -> None:
    detail = {
        "request": request.id,
        "action": request.action,
        "params": " ".join(f"{name}={value}" for name, value in request.params),
        "hosts": ",".join(host.name for host in request.hosts[:HOSTS_NAMED_MAX])
        + (",..." if len(request.hosts) > HOSTS_NAMED_MAX else ""),
        "count": str(len(request.hosts)),
        "reason": message.reason.strip(),
    }
    if message.approve_myself:
        detail["approved"] = "by whoever asked, alone"
    only = request.hosts[0].id if len(request.hosts) == 1 else ""
    await desk.decider.audit("run_requested", who, only, detail)
    now_ms, alone = desk.now_ms(), message.approve_myself
    events = [
        RunRequested(now_ms, host.id, request.action, request.params, request.cost, request.timeout_ms, who, request.id, alone)
        for host in request.hosts
    ]
    for start in range(0, len(events), SUBMIT_MAX):
        await desk.decider.submit(events[start : start + SUBMIT_MAX])


async def _follow(
    desk: Desk, progress: _Progress, changes: asyncio.Queue[PhaseChanged], until_ms: int
) -> AsyncGenerator[pb.RunUpdate, None]:
    while progress.left:
        left_s = (until_ms - desk.now_ms()) / 1000
        if left_s <= 0:
            break
        for incident, host in await _next_moves(desk, progress, changes, min(left_s, LOOK_AGAIN_S)):
            update = await _update(desk, progress.results[host], incident)
            if update == progress.results[host] or host not in progress.left:
                continue
            progress.results[host] = update
            if update.state in {pb.RUN_STATE_DONE, pb.RUN_STATE_FAILED, pb.RUN_STATE_REFUSED}:
                del progress.left[host]
            yield update
    for host in list(progress.left):
        known = progress.results[host]
        text = known.text or "nothing happened yet"
        known.text = f"{text}; the request lives on" + (
            f", see `fleetmend explain {known.incident_id}`" if known.incident_id else ""
        )
        known.state = pb.RUN_STATE_WAIT_OVER
        yield known


async def _next_moves(
    desk: Desk, progress: _Progress, changes: asyncio.Queue[PhaseChanged], wait_s: float
) -> list[tuple[str, str]]:
    """(incident, host) of what moved; after a silence, of everything that is left."""
    try:
        async with asyncio.timeout(wait_s):
            while True:
                change = await changes.get()
                mine = change.subject.check == OPERATOR_CHECK and change.subject.key == progress.request.id
                if mine and change.subject.host in progress.left:
                    return [(change.incident, change.subject.host)]
    except TimeoutError:
        query = sa.select(incidents.c.id, incidents.c.host).where(
            incidents.c.check == OPERATOR_CHECK, incidents.c.key == progress.request.id
        )
        rows = await desk.store.read(lambda connection: connection.execute(query).all())
        return [(row.id, row.host) for row in rows if row.host in progress.left]


async def _update(desk: Desk, before: pb.RunUpdate, incident: str) -> pb.RunUpdate:
    def job(connection: Connection) -> tuple[Story, Case | None]:
        story = read_story(connection, incident)
        return story, build_case(story)

    story, case = await desk.store.read(job)
    if case is None:
        return before
    order = next(reversed(case.orders.values()), None)
    state, text = _state(case, story)
    final = case.closed_ms is not None and order is not None
    return pb.RunUpdate(
        host_id=before.host_id,
        host_name=before.host_name,
        incident_id=incident,
        state=state,
        text=text[:TEXT_CHARS_MAX],
        output=order.output if final and order is not None else "",
    )


def _state(case: Case, story: Story) -> tuple[pb.RunState.ValueType, str]:
    newest = next((str(r["text"]) for row in reversed(story.rows) for r in reversed(row.reasons)), "")
    order = next(reversed(case.orders.values()), None)
    if case.closed_ms is not None:
        text = order.detail if order is not None and order.detail else newest
        if case.why == "ran":
            return pb.RUN_STATE_DONE, text
        return (pb.RUN_STATE_FAILED if case.why in _FAILED else pb.RUN_STATE_REFUSED), text
    if case.phase == Phase.HELD.value:
        against = [f"{a['gate']}: {a['text']}" for row in story.rows[-1:] for a in gate_answers(row) if a["verdict"] != "allow"]
        return pb.RUN_STATE_HELD, "; ".join(against) or newest
    return _STATES.get(Phase(case.phase), pb.RUN_STATE_REQUESTED), newest
