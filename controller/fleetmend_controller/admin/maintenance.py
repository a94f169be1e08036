"""Maintenance that people announce: once or again and again, on hosts by name or by label."""

from __future__ import annotations

import secrets

from fleetmend.v1 import admin_pb2 as pb

from ..calendar import LENGTH_MS_MAX, CalendarError, next_start, parse_repeat, window_end
from ..core.events import WindowAdded, WindowRemoved
from ..core.model import Window
from .desk import Desk
from .errors import invalid, not_found, not_now
from .hosts import find_host
from .selector import matches, parse_selector

REASON_CHARS_MAX = 500
WINDOWS_MAX = 1000
HOSTS_MAX = 1000
AHEAD_MS_MAX = 5 * 366 * 24 * 3_600_000


async def add(desk: Desk, request: pb.AddMaintenanceRequest, who: str) -> pb.AddMaintenanceResponse:
    """Announce maintenance. What covers no host is a mistake, not maintenance."""
    now_ms = desk.now_ms()
    window = _read(desk, request, who, now_ms)
    over = [known for known in desk.decider.fleet.windows.values() if _is_over(known, now_ms)]
    if len(desk.decider.fleet.windows) - len(over) >= WINDOWS_MAX:
        raise not_now(f"cannot announce more than {WINDOWS_MAX} windows; end some with `fleetmend maintenance rm`")
    covered = _of(desk, window, now_ms)
    if covered.hosts_covered == 0:
        raise not_now(f"cannot announce maintenance: no host has {request.selector}; `fleetmend hosts ls` shows the labels")
    detail = {
        "window": window.id,
        "on": request.selector or ",".join(covered.host_names[:20]),
        "start_ms": str(window.start_ms),
        "length_ms": str(window.end_ms - window.start_ms),
        "repeat": window.repeat,
        "reason": window.reason,
    }
    await desk.decider.audit("maintenance_added", who, window.hosts[0] if len(window.hosts) == 1 else "", detail)
    forgotten = [WindowRemoved(now_ms, known.id, "its end") for known in over]
    await desk.decider.submit([*forgotten, WindowAdded(now_ms, window)])
    return pb.AddMaintenanceResponse(window=_of(desk, window, now_ms))


def listed(desk: Desk) -> list[pb.MaintenanceWindow]:
    """Windows that are not over: those in force first, then by their next beginning."""
    now_ms = desk.now_ms()
    windows = [_of(desk, w, now_ms) for w in desk.decider.fleet.windows.values() if not _is_over(w, now_ms)]
    return sorted(windows, key=lambda w: (not w.HasField("ends_ms"), w.ends_ms or w.next_ms, w.id))


def in_force(desk: Desk, host_id: str = "") -> list[pb.MaintenanceWindow]:
    """Windows that are in force now, on one host or anywhere."""
    now_ms = desk.now_ms()
    host = desk.decider.fleet.hosts.get(host_id)
    if host_id and host is None:
        return []
    known = desk.decider.fleet.windows.values()
    chosen = [w for w in known if (host is None or w.covers(host.id, host.labels)) and window_end(w, now_ms) is not None]
    return sorted((_of(desk, w, now_ms) for w in chosen), key=lambda w: (w.ends_ms, w.id))


async def remove(desk: Desk, request: pb.RemoveMaintenanceRequest, who: str) -> pb.RemoveMaintenanceResponse:
    """End or withdraw maintenance."""
    now_ms = desk.now_ms()
    window = desk.decider.fleet.windows.get(request.id)
    if window is None or _is_over(window, now_ms):
        raise not_found(f"cannot find maintenance {request.id!r}; `fleetmend maintenance ls` lists what is announced")
    shown = _of(desk, window, now_ms)
    await desk.decider.audit("maintenance_removed", who, "", {"window": window.id, "reason": window.reason})
    await desk.decider.submit([WindowRemoved(now_ms, window.id, who)])
    return pb.RemoveMaintenanceResponse(window=shown)


def _read(desk: Desk, request: pb.AddMaintenanceRequest, who: str, now_ms: int) -> Window:
    reason = request.reason.strip()
    if not reason:
        raise invalid("cannot announce maintenance without a reason; say why with --reason, people will ask")
    if len(reason) > REASON_CHARS_MAX:
        raise invalid(f"cannot announce maintenance: the reason has {len(reason)} characters, at most {REASON_CHARS_MAX}")
    terms = parse_selector(request.selector)
    if bool(terms) == bool(request.hosts):
        raise invalid("cannot announce maintenance: choose hosts either by selector or by name, and never none")
    if len(request.hosts) > HOSTS_MAX:
        raise invalid(f"cannot announce maintenance on {len(request.hosts)} named hosts: at most {HOSTS_MAX}; use a selector")
    hosts = tuple(dict.fromkeys(find_host(desk, named).id for named in request.hosts))
    if not 0 < request.length_ms <= LENGTH_MS_MAX:
        raise invalid("cannot announce maintenance of this length: give --for or --until, from 1 ms to 31 days")
    repeat = request.repeat.strip()
    if repeat:
        try:
            parse_repeat(repeat)
        except CalendarError as error:
            raise invalid(str(error)) from error
    start_ms = request.start_ms or now_ms
    if not 0 < start_ms <= now_ms + AHEAD_MS_MAX:
        raise invalid("cannot announce maintenance that begins so far away: at most five years ahead")
    end_ms = start_ms + request.length_ms
    if not repeat and end_ms <= now_ms:
        raise invalid("cannot announce maintenance that is over already; look at --from and --until")
    wanted = tuple((label, (value,)) for label, value in sorted(terms.items()))
    return Window(f"mnt-{secrets.token_hex(4)}", wanted, hosts, start_ms, end_ms, repeat, who, reason)


def _is_over(window: Window, now_ms: int) -> bool:
    return not window.repeat and window.end_ms <= now_ms


def _of(desk: Desk, window: Window, now_ms: int) -> pb.MaintenanceWindow:
    fleet = desk.decider.fleet
    if window.terms:
        labels = {label: values[0] for label, values in window.terms}
        covered = sum(matches(labels, host.labels) for host in fleet.hosts.values())
    else:
        labels = {}
        covered = sum(host in fleet.hosts for host in window.hosts)
    return pb.MaintenanceWindow(
        id=window.id,
        labels=labels,
        host_ids=window.hosts,
        host_names=[fleet.hosts[host].name if host in fleet.hosts else host for host in window.hosts],
        start_ms=window.start_ms,
        length_ms=window.end_ms - window.start_ms,
        repeat=window.repeat,
        by=window.by,
        reason=window.reason,
        ends_ms=window_end(window, now_ms),
        next_ms=next_start(window, now_ms),
        hosts_covered=covered,
    )
