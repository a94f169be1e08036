"""RunAction: who is chosen, what is checked beforehand, and how the stream follows each host to its end."""

from __future__ import annotations

from collections.abc import Iterator

import grpc
import pytest

from fleetmend.v1 import admin_pb2 as pb
from fleetmend.v1 import admin_pb2_grpc
from fleetmend_controller.admin import approvals
from fleetmend_controller.admin.errors import AdminError
from fleetmend_controller.admin.run import run_action
from fleetmend_controller.core.events import RunRequested
from fleetmend_controller.core.model import Outcome
from fleetmend_controller.pki.names import Caller, Kind, Role

from .office import Office, now_ms

INVALID, MISSING, NOT_NOW = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND, grpc.StatusCode.FAILED_PRECONDITION
UNIT = {"unit": "nginx.service"}


@pytest.fixture
def admin(office: Office) -> Iterator[admin_pb2_grpc.AdminServiceStub]:
    for name in ("web-1", "web-2", "web-3"):
        office.enrol(name, role="web")
    office.enrol("db-1", role="db")
    with grpc.insecure_channel(f"unix:{office.socket}") as channel:
        yield admin_pb2_grpc.AdminServiceStub(channel)


def run(admin, **request):
    values = {"action": "restart_unit", "params": UNIT, "wait_ms": 20_000} | request
    return admin.RunAction(pb.RunActionRequest(**values))


def updates(stream) -> Iterator[pb.RunUpdate]:
    return (answer.update for answer in stream if answer.WhichOneof("message") == "update")


def test_one_host_is_followed_from_request_to_done(office, admin):
    stream = run(admin, hosts=["web-1"], params={**UNIT, "wait": "2s"}, reason="new certificate")
    plan = next(stream).plan
    assert ([host.name for host in plan.hosts], plan.cost) == (["web-1"], pb.ACTION_COST_DISRUPTIVE)
    answers = iter(stream)
    seen = [next(answers).update.state]
    while seen[-1] != pb.RUN_STATE_ORDERED:
        seen.append(next(answers).update.state)
    assert dict(office.orders[-1].params) == {"unit": "nginx.service", "wait": 2000}
    assert office.orders[-1].requested_by == "local"
    office.obey(office.orders[-1].host, output="restarted")
    *_, last = answers
    result = last.summary.results[0]
    assert (last.summary.done, result.state, result.output, result.incident_id) == (1, pb.RUN_STATE_DONE, "restarted", "inc-1")
    entry = admin.ListAudit(pb.ListAuditRequest(what="run_requested")).entries[0]
    assert (entry.host_id, entry.detail["reason"]) == (office.orders[-1].host, "new certificate")


def test_a_failure_says_what_the_host_said(office, admin):
    stream = run(admin, hosts=["web-1"])
    next(stream)
    while not office.orders:
        next(stream)
    office.obey(office.orders[-1].host, Outcome.FAILED, "exit 1", "no such unit")
    *_, last = stream
    result = last.summary.results[0]
    assert (result.state, result.text, result.output) == (pb.RUN_STATE_FAILED, "exit 1", "no such unit")
    assert (last.summary.done, last.summary.not_done) == (0, 1)


def test_a_host_that_never_connected_is_refused_at_once(office, admin):
    office.enrol("web-4", connected=False, role="web")
    *_, last = run(admin, hosts=["web-4"])
    result = last.summary.results[0]
    assert result.state == pb.RUN_STATE_REFUSED
    assert "has not connected" in result.text


def test_the_fleet_budget_lets_hosts_through_one_after_the_other(office, admin):
    with office.obeying():
        answers = list(run(admin, selector="role=web", expect=3))
    held = [answer.update for answer in answers if answer.update.state == pb.RUN_STATE_HELD]
    assert any("fleet_budget" in update.text for update in held)
    assert answers[-1].summary.done == 3
    assert [result.host_name for result in answers[-1].summary.results] == ["web-1", "web-2", "web-3"]


def test_the_wait_ends_and_the_request_lives_on(admin):
    *_, last = run(admin, hosts=["web-1"], wait_ms=300)
    result = last.summary.results[0]
    assert result.state == pb.RUN_STATE_WAIT_OVER
    assert "lives on, see `fleetmend explain inc-1`" in result.text


def test_no_change_is_lost_to_a_caller_who_reads_slowly(office, admin):
    """The queue of changes is bounded; what it dropped is looked up."""
    stream = run(admin, hosts=["web-1"])
    next(stream)
    while not office.orders:
        next(stream)

    async def lose_changes() -> None:
        for queue in office.decider._subscribers.values():
            while not queue.empty():
                queue.get_nowait()

    office.obey(office.orders[-1].host)
    office.do(lose_changes())
    *_, last = stream
    assert last.summary.done == 1


@pytest.mark.parametrize(
    ("request_", "code", "text"),
    [
        ({}, INVALID, "on no host"),
        ({"selector": " , "}, INVALID, "empty selector"),
        ({"selector": "role=nothing"}, NOT_NOW, "no host matches"),
        ({"selector": "role=web"}, NOT_NOW, "3 hosts are chosen; say --expect 3"),
        ({"selector": "role=web", "expect": 2}, NOT_NOW, "3 hosts are chosen, 2 expected"),
        ({"hosts": ["web-1", "web-2"]}, NOT_NOW, "--expect 2"),
        ({"hosts": ["web-1"], "selector": "role=web"}, INVALID, "both by name and by selector"),
        ({"hosts": ["web-1"], "all": True}, INVALID, "both by name and by selector"),
        ({"selector": "role=web", "expect": 3, "all": True}, INVALID, "use one of --expect and --all"),
        ({"hosts": ["nobody"]}, MISSING, "no host has this id or name"),
        ({"hosts": ["web-1"], "action": "rm_rf"}, INVALID, "there are collect_evidence, restart_unit"),
        ({"hosts": ["web-1"], "params": {}}, INVALID, "cannot do without parameter 'unit'"),
        ({"hosts": ["web-1"], "params": {"unit": "a", "wait": "soon"}}, INVALID, "not a duration"),
        ({"hosts": ["web-1"], "params": {"unit": "a", "shell": "x"}}, INVALID, "'shell'"),
        ({"hosts": ["web-1"], "reason": "x" * 501}, INVALID, "501 characters"),
        ({"hosts": ["web-1"], "wait_ms": -1}, INVALID, "cannot wait"),
    ],
)
def test_a_request_that_cannot_be_right_asks_nothing_of_any_host(office, admin, request_, code, text):
    with pytest.raises(grpc.RpcError) as caught:
        list(run(admin, **request_))
    assert (caught.value.code(), text in caught.value.details()) == (code, True), caught.value.details()
    assert office.decider.fleet.incidents == {}
    assert list(admin.ListAudit(pb.ListAuditRequest()).entries) == []


def test_the_plan_says_whose_own_policy_will_probably_refuse(office, admin):
    def unwilling() -> list[bool]:
        return [host.unwilling for host in next(run(admin, hosts=["web-1"], wait_ms=100)).plan.hosts]

    assert unwilling() == [False]
    office.permits = ["collect_evidence"]
    assert unwilling() == [True]
    office.permits = []
    assert unwilling() == [False], "nothing is known"


def test_all_takes_every_host_of_the_fleet_and_the_same_host_twice_is_once(office, admin):
    plan = next(run(admin, all=True, wait_ms=100)).plan
    assert [host.name for host in plan.hosts] == ["db-1", "web-1", "web-2", "web-3"]
    twice = next(run(admin, hosts=["web-1", office.registry.find("web-1").id], wait_ms=100)).plan
    assert len(twice.hosts) == 1


def test_outputs_of_many_hosts_fit_one_message(office, admin):
    stream = run(admin, hosts=["web-1"])
    next(stream)
    while not office.orders:
        next(stream)
    office.obey(office.orders[-1].host, output="x" * 60_000 + "the end")
    *_, last = stream
    output = last.summary.results[0].output
    assert output.startswith("[43623 characters before]\n")
    assert output.endswith("the end")


def test_only_an_admin_may_be_alone_with_what_cannot_be_undone(office, admin):
    message = pb.RunActionRequest(action="restart_unit", params=UNIT, hosts=["web-1"], approve_myself=True)

    async def first(who: Caller) -> pb.RunActionResponse:
        answers = run_action(office.desk, message, who)
        try:
            return await anext(answers)
        finally:
            await answers.aclose()

    with pytest.raises(AdminError, match="that takes the role admin, and you are ann \\(responder\\); another person must"):
        office.do(first(Caller(Kind.OPERATOR, "ann", Role.RESPONDER)))
    assert office.do(first(Caller(Kind.OPERATOR, "ann", Role.ADMIN))).plan.action == "restart_unit"


def test_who_asks_cannot_be_who_approves(office, admin):
    wipe = RunRequested(
        now_ms(), office.registry.find("web-1").id, "restart_unit", (), "destructive", 1_000, "ann (admin)", "r"
    )
    office.submit(wipe)
    (wanted,) = approvals.waiting(office.desk)
    assert (wanted.asked, wanted.cost) == ("oncall", pb.ACTION_COST_DESTRUCTIVE)
    yes = pb.ApproveRequest(order_id=wanted.order_id, digest=wanted.digest)
    with pytest.raises(AdminError, match="you asked for it, and it takes another person's word"):
        office.do(approvals.approve(office.desk, yes, Caller(Kind.OPERATOR, "ann", Role.RESPONDER)))
    assert office.do(approvals.approve(office.desk, yes, Caller(Kind.OPERATOR, "bob", Role.RESPONDER))).ordered
