"""Trust and its record: shown, proposed, lowered by failures, raised by people only. And what healing hides and spares."""

from __future__ import annotations

from collections.abc import Iterator

import grpc
import pytest

from fleetmend.v1 import admin_pb2 as pb
from fleetmend.v1 import admin_pb2_grpc
from fleetmend_controller.admin.playbooks import propose
from fleetmend_controller.core.model import Standing, Status, Trust

from .office import GENEROUS, Office
from .world import playbook

NAME = "restart-failed-unit"


@pytest.fixture
def admin(office: Office) -> Iterator[admin_pb2_grpc.AdminServiceStub]:
    with grpc.insecure_channel(f"unix:{office.socket}") as channel:
        yield admin_pb2_grpc.AdminServiceStub(channel)


@pytest.mark.parametrize(
    ("trust", "standing", "could_be", "words"),
    [
        (Trust.SUGGEST, Standing(proved=10), Trust.ACT, "could be promoted to act"),
        (Trust.SUGGEST, Standing(proved=9), None, "9 of 10 proved repairs"),
        (Trust.SUGGEST, Standing(proved=30, failed=2, failed_in_row=1), None, "not yet"),
        (Trust.SUGGEST, Standing(proved=30, failed=2), Trust.ACT, "30 repairs proved"),
        (Trust.ACT, Standing(proved=99), None, "no higher trust"),
        (Trust.OBSERVE, Standing(), None, "it only observes"),
        (Trust.ACT, Standing(proved=20, lowered=Trust.SUGGEST, why="3 repairs"), None, "--restore"),
        (Trust.SUGGEST, Standing(proved=20, lowered=Trust.OBSERVE, why="3 repairs"), None, "demoted to observe: 3 repairs"),
    ],
)
def test_a_record_proposes_and_never_promotes(trust, standing, could_be, words):
    proposed, advice = propose(playbook(trust=trust), standing)
    assert proposed is could_be
    assert words in advice


def test_repairs_that_do_not_hold_demote_and_a_person_restores(office, admin):
    host = office.enrol("web-1", role="web")
    office.fail_proofs(host)
    shown = admin.GetPlaybook(pb.GetPlaybookRequest(name=NAME))
    assert (shown.playbook.trust, shown.playbook.effective_trust) == (pb.PLAYBOOK_TRUST_ACT, pb.PLAYBOOK_TRUST_SUGGEST)
    assert shown.playbook.demoted_because == "3 repairs in a row were not proved"
    assert (shown.record.proved, shown.record.failed, shown.record.could_be) == (0, 3, pb.PLAYBOOK_TRUST_UNSPECIFIED)
    text = admin.Explain(pb.ExplainRequest(incident_id="inc-3")).text
    assert f"{NAME} is demoted to suggest" in " ".join(text.split())
    orders = len(office.orders)
    office.observe(host, Status.CRIT)
    assert len(office.orders) == orders, "a demoted playbook asks"
    assert admin.RestoreTrust(pb.RestoreTrustRequest(name=NAME)).playbook.effective_trust == pb.PLAYBOOK_TRUST_ACT
    entry = admin.ListAudit(pb.ListAuditRequest(what="trust_restored")).entries[0]
    assert dict(entry.detail)["from"] == "suggest"


def test_what_is_not_demoted_cannot_be_restored_and_what_is_unknown_is_said(office, admin):
    for call, request, code in (
        (admin.RestoreTrust, pb.RestoreTrustRequest(name=NAME), grpc.StatusCode.FAILED_PRECONDITION),
        (admin.RestoreTrust, pb.RestoreTrustRequest(name="nothing"), grpc.StatusCode.NOT_FOUND),
        (admin.GetPlaybook, pb.GetPlaybookRequest(name="nothing"), grpc.StatusCode.NOT_FOUND),
    ):
        with pytest.raises(grpc.RpcError) as caught:
            call(request)
        assert caught.value.code() is code
        assert caught.value.details().startswith("cannot ")


def test_what_is_healed_again_and_again_is_debt_and_saved_toil(office, admin):
    office.follow(limits=GENEROUS)
    web, db = office.enrol("web-1", role="web"), office.enrol("db-1", role="db")
    for host in (web, web, web, db):
        office.heal(host)
    (entry,) = admin.GetRiskReport(pb.GetRiskReportRequest()).entries
    assert (entry.host_name, entry.target, entry.heals, entry.owner) == ("web-1", "nginx.service", 3, "platform")
    assert (entry.playbook, entry.tries_left) == (NAME, 97)
    toil = admin.GetToilReport(pb.GetToilReportRequest())
    assert (toil.heals, toil.minutes) == (4, 60)
    assert [(e.playbook, e.heals, e.minutes_each) for e in toil.entries] == [(NAME, 4, 15)]
    assert admin.GetToilReport(pb.GetToilReportRequest(since_ms=9_000_000_000_000)).entries == []
