"""Why nothing is done on a host now: what holds there, every gate for every open incident, or that nothing is wrong."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import grpc
import pytest

from fleetmend.v1 import admin_pb2 as pb
from fleetmend.v1 import admin_pb2_grpc
from fleetmend_controller.core.events import PersonSeen
from fleetmend_controller.core.model import Status, Trust
from fleetmend_controller.core.survey import survey

from .office import Office, now_ms
from .world import GATES

HOUR_MS = 3_600_000
GATE_NAMES = [gate.name for gate in GATES]


@pytest.fixture
def admin(office: Office) -> Iterator[admin_pb2_grpc.AdminServiceStub]:
    with grpc.insecure_channel(f"unix:{office.socket}") as channel:
        yield admin_pb2_grpc.AdminServiceStub(channel)


def why_not(admin, host: str = "web-1", **options) -> pb.ExplainHostResponse:
    return admin.ExplainHost(pb.ExplainHostRequest(host=host, **options))


def words(answer: pb.ExplainHostResponse) -> str:
    return " ".join(answer.text.split())


def test_where_nothing_is_wrong_it_says_so(office, admin):
    office.enrol("web-1", role="web")
    answer = why_not(admin)
    assert answer.headline == "web-1: nothing is wrong there, and nothing would hold a repair back"
    assert (answer.text, answer.sections) == (answer.headline + "\n", [])
    assert answer.host.name == "web-1"


def test_what_holds_for_the_whole_host_is_told_although_nothing_is_wrong(office, admin):
    host = office.enrol("web-1", role="web")
    admin.Pause(pb.PauseRequest(scope="group:role=web", reason="freeze", for_ms=HOUR_MS))
    admin.AddMaintenance(pb.AddMaintenanceRequest(selector="role=web", length_ms=HOUR_MS, reason="kernel"))
    office.submit(PersonSeen(now_ms(), host, "ann has logged in on tty1", now_ms() + HOUR_MS))
    answer = why_not(admin)
    assert answer.headline.startswith("web-1: no fault is known there; if one came now: local paused group:role=web: freeze")
    (section,) = answer.sections
    assert section.topic == pb.EXPLAIN_TOPIC_HOST
    assert [line.why for line in section.lines] == ["paused", "maintenance", "human_present"]
    assert answer.host.present == "ann has logged in on tty1"


def test_every_gate_is_asked_for_every_open_incident(office, admin):
    office.want_approval()
    host = office.enrol("web-1", role="web")
    office.submit(PersonSeen(now_ms(), host, "ann has logged in", now_ms() + HOUR_MS))
    admin.Pause(pb.PauseRequest(scope="playbook:restart-failed-unit", reason="it misbehaves"))
    for unit in ("a.service", "b.service"):
        office.observe(host, Status.CRIT, unit)
    answer = why_not(admin)
    assert answer.headline == "web-1: nothing is done there now, because of paused, human_present, approval"
    incidents = answer.sections[1:]
    assert [section.title.split()[0] for section in incidents] == ["inc-1", "inc-2"]
    for section in incidents:
        assert [line.gate for line in section.lines[1:]] == GATE_NAMES
        assert section.lines[0].text == "restart-failed-unit would take restart_unit; 3 gates do not allow it"
    text = words(answer)
    assert "hold paused: local paused playbook:restart-failed-unit: it misbehaves" in text
    assert "hold human_present: ann has logged in on web-1" in text
    assert "minimum_healthy, storm (each answer: --gates)" in text
    assert "storm: " not in text, "gates that just allow share a line"
    assert "storm: no storm of this check" in words(why_not(admin, all_gates=True))


def test_looking_changes_nothing(office, admin):
    office.want_approval()
    host = office.enrol("web-1", role="web")
    office.observe(host, Status.CRIT)
    before, head = copy.deepcopy(office.decider.fleet), office.decider._head.seq
    why_not(admin)
    survey(office.decider.fleet, office.rules.policy, host, now_ms() + HOUR_MS)
    assert office.decider.fleet == before
    assert office.decider._head.seq == head


def test_what_is_being_done_or_in_peoples_hands_is_said(office, admin):
    host = office.enrol("web-1", role="web")
    office.observe(host, Status.CRIT)
    assert why_not(admin).headline == "web-1: something is done there now, for inc-1"
    assert "its order is on its way to the host" in words(why_not(admin))
    office.follow(trust=Trust.OBSERVE)
    other = office.enrol("db-1", role="db")
    office.observe(other, Status.CRIT)
    answer = why_not(admin, "db-1")
    assert answer.headline == "db-1: nothing is done there now, because people have what is wrong: inc-2"
    assert "Fleetmend does nothing more about it" in words(answer)


def test_a_lost_host_and_one_that_never_connected(office, admin):
    gone = office.enrol("web-1", role="web")
    office.lose(gone)
    assert "nothing was heard from it for 30" in words(why_not(admin))
    office.enrol("new-1", connected=False, role="web")
    assert "its agent has not connected since it was enrolled" in why_not(admin, "new-1").headline


def test_a_storm_and_a_budget_that_is_used_up_are_told(office, admin):
    for number in range(1, 8):
        office.observe(office.enrol(f"web-{number}", role="web"), Status.CRIT)
    held = why_not(admin, "web-7")
    storm = next(incident for incident in admin.GetStatus(pb.GetStatusRequest()).storms)
    assert f"a storm of unit_failed holds every repair of it; see {storm.id}" in words(held)
    assert "1 hosts of role=web are being healed, and no playbook may heal more" in words(held)
    assert "storm" in held.headline
    told = admin.Explain(pb.ExplainRequest(incident_id=storm.id))
    assert told.headline.startswith("storm unit_failed across the fleet: in the hands of ")
    members = next(line for line in told.sections[0].lines if line.text.startswith("incidents that it holds"))
    assert any("unit_failed nginx.service on web-7" in line for line in members.evidence)


def test_a_journal_without_space_is_the_first_thing_said(office, admin):
    office.enrol("web-1", role="web")
    office.fill_disk()
    assert "nothing is ordered anywhere: cannot write to the store: no space left" in words(why_not(admin))


def test_an_unknown_host_is_said(office, admin):
    with pytest.raises(grpc.RpcError) as caught:
        why_not(admin, "nobody")
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
