"""Approval by people: who may, when, how often, and what is said to those who may not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import grpc
import pytest

from fleetmend.v1 import admin_pb2 as pb
from fleetmend.v1 import admin_pb2_grpc
from fleetmend_controller.admin import approvals
from fleetmend_controller.admin.errors import AdminError
from fleetmend_controller.core.model import Approval, NeedApproval, Status
from fleetmend_controller.pki.names import Caller, Kind, Role

from .office import Office
from .world import playbook

NOT_NOW, INVALID, MISSING = grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND
ANN, ANN_AS_ADMIN = (Caller(Kind.OPERATOR, "ann", role) for role in (Role.RESPONDER, Role.ADMIN))
BOB = Caller(Kind.OPERATOR, "bob", Role.RESPONDER)
DISRUPTIVE = Approval(NeedApproval.DISRUPTIVE)


@pytest.fixture
def admin(office: Office) -> Iterator[admin_pb2_grpc.AdminServiceStub]:
    with grpc.insecure_channel(f"unix:{office.socket}") as channel:
        yield admin_pb2_grpc.AdminServiceStub(channel)


def shown(office: Office, order: str = "ord-1-1") -> str:
    """The digest of an order as it is listed now."""
    return next((wanted.digest for wanted in approvals.waiting(office.desk) if wanted.order_id == order), "")


def approve(office: Office, who: Caller, order: str = "ord-1-1", digest: str | None = None) -> pb.ApproveResponse:
    request = pb.ApproveRequest(order_id=order, digest=shown(office, order) if digest is None else digest)
    return office.do(approvals.approve(office.desk, request, who))


def deny(office: Office, who: Caller, reason: str = "still needed", order: str = "ord-1-1") -> pb.DenyResponse:
    return office.do(approvals.deny(office.desk, pb.DenyRequest(order_id=order, reason=reason), who))


def refused(work, *arguments) -> str:
    with pytest.raises(AdminError) as caught:
        work(*arguments)
    assert caught.value.code is NOT_NOW
    return caught.value.text


def sick(office: Office, **wanted) -> str:
    office.want_approval(**wanted)
    host = office.enrol("web-1", role="web")
    office.observe(host, Status.CRIT)
    return host


def test_an_order_that_waits_is_listed_with_what_a_person_must_know(office, admin):
    sick(office, people=2, within_ms=600_000, role="admin")
    (wanted,) = admin.ListApprovals(pb.ListApprovalsRequest()).approvals
    assert (wanted.order_id, wanted.incident_id, wanted.host_name) == ("ord-1-1", "inc-1", "web-1")
    assert (wanted.action, dict(wanted.params), wanted.cost) == (
        "restart_unit",
        {"unit": "nginx.service"},
        pb.ACTION_COST_DISRUPTIVE,
    )
    assert (wanted.asked, wanted.people_needed, wanted.role) == ("platform-oncall", 2, pb.APPROVAL_ROLE_ADMIN)
    assert wanted.until_ms - wanted.asked_ms == 600_000
    assert list(admin.GetStatus(pb.GetStatusRequest()).approvals) == [wanted]
    assert office.orders == []


def test_a_yes_over_the_socket_gives_the_order_and_leaves_a_trail(office, admin):
    sick(office)
    digest = shown(office)
    answer = admin.Approve(pb.ApproveRequest(order_id="ord-1-1", digest=digest))
    assert (answer.ordered, answer.text) == (True, "ord-1-1 is given to web-1")
    assert list(answer.approval.approved_by) == ["local"]
    assert [order.id for order in office.orders] == ["ord-1-1"]
    assert admin.ListApprovals(pb.ListApprovalsRequest()).approvals == []
    entry = admin.ListAudit(pb.ListAuditRequest(what="approved")).entries[0]
    assert (entry.who, dict(entry.detail)) == ("local", {"order": "ord-1-1", "action": "restart_unit", "digest": digest})


def test_two_people_are_two_people_and_nobody_is_two(office):
    sick(office, people=2)
    first = approve(office, ANN)
    assert (first.ordered, first.text) == (False, "1 more person must approve it")
    assert refused(approve, office, ANN) == (
        "cannot approve ord-1-1 twice: ann (responder) approved it already; 1 more person must approve it"
    )
    assert refused(approve, office, ANN_AS_ADMIN).startswith("cannot approve ord-1-1 twice"), "one person in two roles is one"
    assert office.orders == []
    assert list(approve(office, BOB).approval.approved_by) == ["ann (responder)", "bob (responder)"]
    assert len(office.orders) == 1


def test_what_changed_since_it_was_shown_is_neither_approved_nor_denied(office):
    step = replace(playbook().steps[0], params=(("unit", "{finding.name}"),))
    office.follow(steps=(step,), approval=replace(DISRUPTIVE, people=2))
    host = office.enrol("web-1", role="web")
    office.observe(host, Status.CRIT, unit="nginx.service", name="nginx.service")
    digest = shown(office)
    approve(office, ANN)
    office.observe(host, Status.CRIT, unit="nginx.service", name="other.service")
    changed = "ord-1-1: it changed since you saw it; look again with `fleetmend approvals ls`"
    assert refused(approve, office, BOB, "ord-1-1", digest) == f"cannot approve {changed}"
    denial = pb.DenyRequest(order_id="ord-1-1", reason="no", digest=digest)
    assert refused(office.do, approvals.deny(office.desk, denial, BOB)) == f"cannot deny {changed}"
    assert not approve(office, BOB).ordered
    assert approve(office, ANN).ordered
    assert dict(office.orders[0].params) == {"unit": "other.service"}


def test_nothing_is_approved_unseen(office):
    sick(office)
    with pytest.raises(AdminError, match="cannot approve ord-1-1 unseen"):
        approve(office, BOB, digest="")
    assert office.orders == []


def test_a_no_gives_the_incident_to_people(office, admin):
    sick(office)
    assert deny(office, BOB).incident_id == "inc-1"
    assert office.orders == []
    incident = admin.GetIncident(pb.GetIncidentRequest(id="inc-1")).incident
    assert (incident.phase, incident.why) == (pb.INCIDENT_PHASE_ESCALATED, "denied")
    assert refused(approve, office, ANN) == (
        "cannot approve ord-1-1: somebody denied it, and people have inc-1 now; see `fleetmend explain inc-1`"
    )
    told = admin.Explain(pb.ExplainRequest(incident_id="inc-1")).text
    assert "bob (responder) denied ord-1-1: still needed" in " ".join(told.split())


@pytest.mark.parametrize("reason", ["", "  ", "x" * 501])
def test_a_no_needs_a_reason_of_a_bounded_length(office, reason):
    sick(office)
    with pytest.raises(AdminError) as caught:
        deny(office, BOB, reason)
    assert caught.value.code is INVALID


def test_a_playbook_can_ask_for_admins(office):
    sick(office, role="admin")
    assert refused(approve, office, ANN) == (
        "cannot approve ord-1-1: restart-failed-unit asks for the role admin, and you are ann (responder)"
    )
    assert approve(office, ANN_AS_ADMIN).ordered
    assert office.orders[0].id == "ord-1-1"


def test_what_nobody_asks_for_is_said(office, admin):
    host = office.enrol("web-1", role="web")
    office.observe(host, Status.CRIT)
    given = refused(approve, office, ANN)
    assert given == "cannot approve ord-1-1: it was given already; see `fleetmend explain inc-1`"
    assert "nobody asks for it; `fleetmend approvals ls`" in refused(approve, office, ANN, "ord-1-2")
    office.obey(host)
    office.submit_ok_later(host)
    assert "inc-1 is over (healed)" in refused(approve, office, ANN)


@pytest.mark.parametrize(
    ("order", "code"),
    [("ord-7-1", MISSING), ("nonsense", INVALID), ("ord-0-1", INVALID), ("ord-1-1-1", INVALID), ("", INVALID)],
)
def test_an_unknown_order_is_said(office, admin, order, code):
    yes, no = pb.ApproveRequest(order_id=order), pb.DenyRequest(order_id=order, reason="x")
    for call, request in ((admin.Approve, yes), (admin.Deny, no)):
        with pytest.raises(grpc.RpcError) as caught:
            call(request)
        assert caught.value.code() is code
        assert caught.value.details().startswith("cannot ")


def test_an_approval_after_its_time_says_so(office, admin):
    sick(office, within_ms=1)
    while admin.ListApprovals(pb.ListApprovalsRequest()).approvals:
        pass
    text = refused(approve, office, ANN)
    assert "its time" in text
    assert "people have inc-1 now" in text
    assert office.orders == []


def test_what_another_gate_holds_is_not_asked_for_yet(office, admin):
    office.want_approval()
    admin.Pause(pb.PauseRequest(scope="global", reason="freeze"))
    office.observe(office.enrol("web-1", role="web"), Status.CRIT)
    assert admin.ListApprovals(pb.ListApprovalsRequest()).approvals == []
    assert "nobody asks for it; paused:paused, approval:approval_needed hold it" in refused(approve, office, ANN)


def test_explain_tells_who_was_asked_and_who_approved(office, admin):
    sick(office, people=2)
    approve(office, ANN)
    approve(office, BOB)
    text = " ".join(admin.Explain(pb.ExplainRequest(incident_id="inc-1")).text.split())
    assert "ord-1-1 waits for approval by 2 people of platform-oncall, within 1 h" in text
    assert "ann (responder) approved ord-1-1" in text
    assert "allow approval: ord-1-1 is approved by ann, bob" in text
