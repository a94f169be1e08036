"""Maintenance over the socket: announced, seen where it matters, holding what it covers, and gone."""

from __future__ import annotations

from collections.abc import Iterator

import grpc
import pytest

from fleetmend.v1 import admin_pb2 as pb
from fleetmend.v1 import admin_pb2_grpc
from fleetmend_controller.core.model import Status

from .office import Office, now_ms

HOUR_MS = 3_600_000
INVALID, MISSING, NOT_NOW = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND, grpc.StatusCode.FAILED_PRECONDITION


@pytest.fixture
def admin(office: Office) -> Iterator[admin_pb2_grpc.AdminServiceStub]:
    with grpc.insecure_channel(f"unix:{office.socket}") as channel:
        yield admin_pb2_grpc.AdminServiceStub(channel)


def announce(admin, **changes) -> pb.MaintenanceWindow:
    values = {"selector": "role=web", "length_ms": HOUR_MS, "reason": "kernel"}
    return admin.AddMaintenance(pb.AddMaintenanceRequest(**{**values, **changes})).window


def test_a_window_holds_what_it_covers_until_it_is_removed(office, admin):
    web, db = office.enrol("web-1", role="web"), office.enrol("db-1", role="db")
    window = announce(admin)
    assert (window.hosts_covered, dict(window.labels), window.by) == (1, {"role": "web"}, "local")
    for host in (web, db):
        office.observe(host, Status.CRIT)
    assert [order.host for order in office.orders] == [db]
    status = admin.GetStatus(pb.GetStatusRequest())
    assert [w.id for w in status.maintenance] == [window.id]
    assert list(admin.GetHost(pb.GetHostRequest(host="web-1")).host.maintenance) == [window.id]
    assert list(admin.GetHost(pb.GetHostRequest(host="db-1")).host.maintenance) == []
    told = " ".join(admin.Explain(pb.ExplainRequest(incident_id="inc-1")).text.split())
    assert f"hold maintenance: local announced maintenance {window.id}: kernel" in told
    admin.RemoveMaintenance(pb.RemoveMaintenanceRequest(id=window.id))
    assert [order.host for order in office.orders] == [db, web]
    assert admin.ListMaintenance(pb.ListMaintenanceRequest()).windows == []
    words = [entry.what for entry in admin.ListAudit(pb.ListAuditRequest()).entries]
    assert words[:2] == ["maintenance_removed", "maintenance_added"]


def test_windows_are_listed_with_what_is_in_force_first(office, admin):
    office.enrol("web-1", role="web")
    later = announce(admin, start_ms=now_ms() + HOUR_MS)
    weekly = announce(admin, repeat="weekly Sat 02:00 Europe/Berlin", start_ms=now_ms() + 300 * 24 * HOUR_MS)
    now = announce(admin, selector="", hosts=["web-1"])
    listed = admin.ListMaintenance(pb.ListMaintenanceRequest()).windows
    assert [w.id for w in listed] == [now.id, later.id, weekly.id]
    assert [w.HasField("ends_ms") for w in listed] == [True, False, False]
    assert listed[1].next_ms == later.start_ms
    assert (listed[2].repeat, listed[2].length_ms) == ("weekly Sat 02:00 Europe/Berlin", HOUR_MS)
    assert listed[2].next_ms >= weekly.start_ms
    assert list(listed[0].host_names) == ["web-1"]


def test_a_window_that_is_over_is_forgotten(office, admin):
    office.enrol("web-1", role="web")
    over = announce(admin, start_ms=now_ms() - HOUR_MS, length_ms=HOUR_MS + 50)
    while any(w.id == over.id for w in admin.ListMaintenance(pb.ListMaintenanceRequest()).windows):
        pass
    with pytest.raises(grpc.RpcError) as caught:
        admin.RemoveMaintenance(pb.RemoveMaintenanceRequest(id=over.id))
    assert caught.value.code() is MISSING
    kept = announce(admin)
    assert list(office.decider.fleet.windows) == [kept.id], "the next one takes its place"


@pytest.mark.parametrize(
    ("changes", "code", "words"),
    [
        ({"selector": ""}, INVALID, "choose hosts either by selector or by name"),
        ({"hosts": ["web-1"]}, INVALID, "choose hosts either by selector or by name"),
        ({"selector": "role=nobody"}, NOT_NOW, "no host has role=nobody"),
        ({"selector": "", "hosts": ["nobody"]}, MISSING, "cannot find host 'nobody'"),
        ({"reason": "  "}, INVALID, "without a reason"),
        ({"reason": "x" * 501}, INVALID, "at most 500"),
        ({"length_ms": 0}, INVALID, "of this length"),
        ({"length_ms": 32 * 24 * HOUR_MS}, INVALID, "of this length"),
        ({"start_ms": 1}, INVALID, "over already"),
        ({"start_ms": 9_000_000_000_000}, INVALID, "so far away"),
        ({"repeat": "weekly Sun 02:00 Nowhere/Land"}, INVALID, "cannot find time zone"),
        ({"repeat": "sometimes"}, INVALID, "cannot read repetition"),
    ],
)
def test_what_cannot_be_meant_is_turned_down(office, admin, changes, code, words):
    office.enrol("web-1", role="web")
    with pytest.raises(grpc.RpcError) as caught:
        announce(admin, **changes)
    assert caught.value.code() is code
    assert words in caught.value.details()
    assert caught.value.details().startswith("cannot ")
    assert office.decider.fleet.windows == {}
