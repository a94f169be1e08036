"""AdminService through its socket: what it answers, what it turns down, and what it leaves in the audit trail."""

from __future__ import annotations

from collections.abc import Iterator

import grpc
import pytest

from fleetmend.v1 import admin_pb2 as pb
from fleetmend.v1 import admin_pb2_grpc
from fleetmend_controller.core.model import Outcome, Status

from .office import Office, now_ms

INVALID, MISSING, NOT_NOW = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND, grpc.StatusCode.FAILED_PRECONDITION


@pytest.fixture
def admin(office: Office) -> Iterator[admin_pb2_grpc.AdminServiceStub]:
    with grpc.insecure_channel(f"unix:{office.socket}") as channel:
        yield admin_pb2_grpc.AdminServiceStub(channel)


def turned_down(call, request) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as caught:
        list(call(request)) if isinstance(call, grpc.UnaryStreamMultiCallable) else call(request)
    return caught.value.code(), caught.value.details()


def audit_words(admin) -> list[str]:
    return [entry.what for entry in admin.ListAudit(pb.ListAuditRequest()).entries]


def test_status_counts_hosts_incidents_and_pauses(office, admin):
    web = office.enrol("web-1", role="web")
    office.enrol("web-2", connected=False, role="web")
    gone = office.enrol("web-3", role="web")
    office.lose(gone)
    office.observe(web, Status.CRIT)
    admin.Pause(pb.PauseRequest(scope="host:web-2", reason="rack move"))
    office.rules_problem = "playbooks/a.yaml:1:1: cannot read it"

    status = admin.GetStatus(pb.GetStatusRequest())

    assert (status.hosts_up, status.hosts_lost, status.hosts_never_connected) == (1, 1, 1)
    assert {entry.phase: entry.count for entry in status.incidents_open} == {
        pb.INCIDENT_PHASE_ORDERED: 1,
        pb.INCIDENT_PHASE_ESCALATED: 1,
    }
    assert [incident.host_name for incident in status.healing] == ["web-1"]
    assert [incident.check for incident in status.escalated] == ["host_lost"]
    assert [pause.reason for pause in status.pauses] == ["rack move"]
    assert status.controller.journal_writable
    assert status.controller.journal_rows > 5
    assert status.controller.rules_problem == office.rules_problem
    assert status.controller.playbooks == 2


def test_a_journal_that_takes_no_rows_is_said_and_refuses_changes(office, admin):
    office.fill_disk()
    controller = admin.GetStatus(pb.GetStatusRequest()).controller
    assert not controller.journal_writable
    assert "no space left" in controller.journal_problem
    code, text = turned_down(admin.Pause, pb.PauseRequest(scope="global", reason="why not"))
    assert code is grpc.StatusCode.UNAVAILABLE
    assert text.startswith("cannot")
    assert "no space left" in text


def test_without_a_journal_nothing_is_given_and_everything_can_be_taken(office, admin):
    office.enrol("web-1", role="web")
    token = admin.CreateToken(pb.CreateTokenRequest()).token.id
    office.fill_disk()
    for call, request in (
        (admin.CreateToken, pb.CreateTokenRequest()),
        (admin.LabelHost, pb.LabelHostRequest(host="web-1", set={"role": "db"})),
        (admin.RunAction, pb.RunActionRequest(action="collect_evidence", hosts=["web-1"])),
    ):
        assert turned_down(call, request)[0] is grpc.StatusCode.UNAVAILABLE
    assert [live.id for live in admin.ListTokens(pb.ListTokensRequest()).tokens] == [token]
    assert dict(admin.GetHost(pb.GetHostRequest(host="web-1")).host.labels) == {"role": "web"}
    admin.DeleteToken(pb.DeleteTokenRequest(id=token))
    admin.RemoveHost(pb.RemoveHostRequest(host="web-1"))
    assert list(admin.ListTokens(pb.ListTokensRequest()).tokens) == []
    assert list(admin.ListHosts(pb.ListHostsRequest()).hosts) == []


def test_hosts_are_listed_by_name_in_pages(office, admin):
    for name in ("c", "a", "b"):
        office.enrol(name, role="web" if name != "b" else "db")
    first = admin.ListHosts(pb.ListHostsRequest(page_size=2))
    rest = admin.ListHosts(pb.ListHostsRequest(page_size=2, page_token=first.next_page_token))
    assert [host.name for host in (*first.hosts, *rest.hosts)] == ["a", "b", "c"]
    assert (first.total, rest.next_page_token) == (3, "")
    web = admin.ListHosts(pb.ListHostsRequest(selector="role=web"))
    assert [host.name for host in web.hosts] == ["a", "c"]
    up = admin.ListHosts(pb.ListHostsRequest(state=pb.HOST_STATE_LOST))
    assert list(up.hosts) == []


@pytest.mark.parametrize("token", ["!!", "W10", "WyJvbmUiXQ"])
def test_a_foreign_page_token_is_turned_down(admin, token):
    code, text = turned_down(admin.ListHosts, pb.ListHostsRequest(page_token=token))
    assert code is INVALID
    assert "page_token" in text


@pytest.mark.parametrize("selector", ["web", "role=", "=web", "role=web,role=db"])
def test_a_selector_that_is_none_is_turned_down(admin, selector):
    code, text = turned_down(admin.ListHosts, pb.ListHostsRequest(selector=selector))
    assert code is INVALID
    assert text.startswith("cannot read selector")


def test_a_host_is_found_by_id_and_name_and_shows_its_incidents_and_pauses(office, admin):
    host = office.enrol("web-1", role="web")
    office.observe(host, Status.CRIT)
    admin.Pause(pb.PauseRequest(scope="group:role=web", reason="upgrade"))
    for named in (host, "web-1"):
        answer = admin.GetHost(pb.GetHostRequest(host=named))
        assert answer.host.id == host
        assert answer.host.state == pb.HOST_STATE_UP
        assert answer.host.paused_by == ["group:role=web"]
        assert [incident.key for incident in answer.incidents] == ["nginx.service"]
        assert (list(answer.permitted_actions), answer.clock_skew_ms) == (["restart_unit", "collect_evidence"], -90_000)
    code, text = turned_down(admin.GetHost, pb.GetHostRequest(host="nobody"))
    assert (code, "fleetmend hosts ls" in text) == (MISSING, True)


def test_labels_change_groups_and_leave_a_trace(office, admin):
    host = office.enrol("web-1", role="web", canary="yes")
    changed = admin.LabelHost(pb.LabelHostRequest(host="web-1", set={"rack": "r1"}, remove=["canary"]))
    assert dict(changed.host.labels) == {"role": "web", "rack": "r1"}
    assert office.decider.fleet.hosts[host].labels == {"role": "web", "rack": "r1"}
    entry = admin.ListAudit(pb.ListAuditRequest(what="host_labelled")).entries[0]
    assert (entry.who, dict(entry.detail)) == ("local", {"before": "canary=yes,role=web", "after": "rack=r1,role=web"})


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({}, "without labels"),
        ({"remove": ["rack"]}, "does not have it"),
        ({"set": {"Role": "web"}}, "cannot use"),
        ({"set": {"role": "a b"}}, "cannot use"),
        ({"set": {"role": "db"}, "remove": ["role"]}, "both set and remove"),
    ],
)
def test_labels_that_cannot_be_are_turned_down(office, admin, change, text):
    office.enrol("web-1", role="web")
    code, said = turned_down(admin.LabelHost, pb.LabelHostRequest(host="web-1", **change))
    assert code is INVALID
    assert text in said


def test_a_removed_host_is_gone_but_its_history_stays(office, admin):
    host = office.enrol("web-1", role="web")
    office.observe(host, Status.CRIT)
    assert admin.RemoveHost(pb.RemoveHostRequest(host="web-1")).id == host
    assert turned_down(admin.GetHost, pb.GetHostRequest(host="web-1"))[0] is MISSING
    past = admin.ListIncidents(pb.ListIncidentsRequest(filter=pb.INCIDENT_FILTER_ALL, host=host))
    assert [(incident.why, incident.host_name) for incident in past.incidents] == [("host_removed", "web-1")]
    assert "local removed web-1" in admin.Explain(pb.ExplainRequest(incident_id="inc-1")).text
    assert "host_removed" in audit_words(admin)


def test_incidents_are_listed_newest_first_with_filters_and_pages(office, admin):
    web, db = office.enrol("web-1", role="web"), office.enrol("db-1", role="db")
    office.heal(web)
    before = now_ms()
    for unit in ("a.service", "b.service"):
        office.observe(db, Status.CRIT, unit)

    def ids(**request) -> list[str]:
        return [incident.id for incident in admin.ListIncidents(pb.ListIncidentsRequest(**request)).incidents]

    assert ids() == ["inc-3", "inc-2"]
    assert ids(filter=pb.INCIDENT_FILTER_ALL) == ["inc-3", "inc-2", "inc-1"]
    assert ids(filter=pb.INCIDENT_FILTER_ALL, since_ms=before) == ["inc-3", "inc-2"]
    assert ids(filter=pb.INCIDENT_FILTER_ALL, host="web-1") == ["inc-1"]
    assert ids(phase=pb.INCIDENT_PHASE_HELD) == ["inc-3"]
    first = admin.ListIncidents(pb.ListIncidentsRequest(filter=pb.INCIDENT_FILTER_ALL, page_size=2))
    rest = admin.ListIncidents(
        pb.ListIncidentsRequest(filter=pb.INCIDENT_FILTER_ALL, page_size=2, page_token=first.next_page_token)
    )
    assert [incident.id for incident in (*first.incidents, *rest.incidents)] == ["inc-3", "inc-2", "inc-1"]
    assert rest.next_page_token == ""


def test_an_incident_is_shown_with_its_attempts_and_decisions(office, admin):
    incident = office.heal(office.enrol("web-1", role="web"))
    shown = admin.GetIncident(pb.GetIncidentRequest(id=incident))
    assert (shown.incident.phase, shown.incident.why) == (pb.INCIDENT_PHASE_RESOLVED, "healed")
    assert [(a.outcome, a.output, dict(a.params)) for a in shown.attempts] == [
        ("done", "nginx.service restarted", {"unit": "nginx.service"})
    ]
    gates = [decision.gate for decision in shown.decisions if decision.gate]
    assert {"paused", "evidence_fresh", "fleet_budget"} <= set(gates)
    assert dict(shown.finding) == {"unit": "nginx.service"}


def test_explain_has_typed_sections_and_the_text_of_them(office, admin):
    incident = office.heal(office.enrol("web-1", role="web"))
    told = admin.Explain(pb.ExplainRequest(incident_id=incident, time_zone="Europe/Berlin"))
    assert [section.topic for section in told.sections] == [
        pb.EXPLAIN_TOPIC_SEEN,
        pb.EXPLAIN_TOPIC_PLAYBOOKS,
        pb.EXPLAIN_TOPIC_GATES,
        pb.EXPLAIN_TOPIC_ORDER,
        pb.EXPLAIN_TOPIC_ANSWER,
        pb.EXPLAIN_TOPIC_PROOF,
        pb.EXPLAIN_TOPIC_END,
    ]
    assert "healed by restart_unit" in told.headline
    assert all(section.title in told.text for section in told.sections)
    assert told.sections[0].lines[0].host_clock_ms > 0


@pytest.mark.parametrize("incident", ["inc-9", "nonsense", "inc-", ""])
def test_incidents_that_nobody_knows_are_turned_down(admin, incident):
    code = MISSING if incident == "inc-9" else INVALID
    assert turned_down(admin.Explain, pb.ExplainRequest(incident_id=incident))[0] is code
    assert turned_down(admin.GetIncident, pb.GetIncidentRequest(id=incident))[0] is code


def test_watching_lists_what_is_open_and_then_every_change(office, admin):
    web, db = office.enrol("web-1", role="web"), office.enrol("db-1", role="db")
    office.observe(db, Status.CRIT)
    stream = admin.WatchIncidents(pb.WatchIncidentsRequest(include_open=True))
    listed = next(stream)
    assert (listed.listed, listed.incident.id) == (True, "inc-1")
    office.observe(web, Status.CRIT)
    changes = [next(stream) for _ in range(2)]
    assert [(c.incident.id, c.before, c.incident.phase) for c in changes] == [
        ("inc-2", pb.INCIDENT_PHASE_UNSPECIFIED, pb.INCIDENT_PHASE_OPEN),
        ("inc-2", pb.INCIDENT_PHASE_OPEN, pb.INCIDENT_PHASE_ORDERED),
    ]
    stream.cancel()


def test_a_caller_who_leaves_is_forgotten(office, admin):
    stream = admin.WatchIncidents(pb.WatchIncidentsRequest())
    office.observe(office.enrol("web-1", role="web"), Status.CRIT)
    next(stream)
    assert len(office.decider._subscribers) == 1
    stream.cancel()
    deadline = now_ms() + 10_000
    while office.decider._subscribers and now_ms() < deadline:
        admin.ListPauses(pb.ListPausesRequest())
    assert office.decider._subscribers == {}


def test_watching_one_host_tells_nothing_of_others(office, admin):
    web, db = office.enrol("web-1", role="web"), office.enrol("db-1", role="db")
    stream = admin.WatchIncidents(pb.WatchIncidentsRequest(include_open=True, host="web-1"))
    office.observe(web, Status.CRIT, "first.service")
    assert next(stream).incident.host_name == "web-1"
    office.observe(db, Status.CRIT)
    office.observe(web, Status.OK, "other.service")
    office.obey(web, Outcome.DONE)
    assert {next(stream).incident.host_name for _ in range(2)} == {"web-1"}
    stream.cancel()


@pytest.mark.parametrize("scope", ["global", "host:web-1", "group:role=web", "playbook:never"])
def test_pausing_and_resuming_a_scope(office, admin, scope):
    host = office.enrol("web-1", role="web")
    paused = admin.Pause(pb.PauseRequest(scope=scope, reason=" upgrade ", for_ms=60_000)).pause
    assert (paused.by, paused.reason, paused.until_ms - paused.since_ms) == ("local", "upgrade", 60_000)
    assert paused.scope == scope.replace("web-1", host)
    assert [p.scope for p in admin.ListPauses(pb.ListPausesRequest()).pauses] == [paused.scope]
    assert admin.Resume(pb.ResumeRequest(scope=scope)).pause.reason == "upgrade"
    assert list(admin.ListPauses(pb.ListPausesRequest()).pauses) == []
    assert turned_down(admin.Resume, pb.ResumeRequest(scope=scope))[0] is MISSING
    assert audit_words(admin)[:2] == ["resumed", "paused"]


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        ({"scope": "", "reason": "x"}, INVALID),
        ({"scope": "all", "reason": "x"}, INVALID),
        ({"scope": "group:role", "reason": "x"}, INVALID),
        ({"scope": "group:role=nothing", "reason": "x"}, NOT_NOW),
        ({"scope": "host:nobody", "reason": "x"}, MISSING),
        ({"scope": "playbook:nothing", "reason": "x"}, MISSING),
        ({"scope": "global", "reason": "  "}, INVALID),
        ({"scope": "global", "reason": "x" * 501}, INVALID),
        ({"scope": "global", "reason": "x", "for_ms": 0}, INVALID),
    ],
)
def test_a_pause_of_nothing_or_for_no_reason_is_turned_down(admin, request_, code):
    assert turned_down(admin.Pause, pb.PauseRequest(**request_))[0] is code
    assert audit_words(admin) == []


def test_facts_come_by_section(office, admin):
    host = office.enrol("web-1")
    office.facts(host, "kernel", {"release": "6.1"})
    office.facts(host, "os", {"name": "Debian"}, error="cannot read /etc/os-release")
    answer = admin.GetFacts(pb.GetFactsRequest(host="web-1"))
    assert [(s.name, s.json, s.error) for s in answer.sections] == [
        ("kernel", '{"release": "6.1"}', ""),
        ("os", '{"name": "Debian"}', "cannot read /etc/os-release"),
    ]
    one = admin.GetFacts(pb.GetFactsRequest(host="web-1", sections=["os"]))
    assert [section.name for section in one.sections] == ["os"]
    code, text = turned_down(admin.GetFacts, pb.GetFactsRequest(host="web-1", sections=["cpu"]))
    assert (code, "it has kernel, os" in text) == (MISSING, True)


def test_playbooks_and_actions_are_listed_as_they_are(admin):
    first = admin.ListPlaybooks(pb.ListPlaybooksRequest()).playbooks[0]
    assert (first.name, first.trust, first.fleet_by) == ("restart-failed-unit", pb.PLAYBOOK_TRUST_ACT, "role")
    assert dict(first.steps[0].action.params) == {"unit": "{finding.unit}"}
    actions = {action.name: action for action in admin.ListActions(pb.ListActionsRequest()).actions}
    assert actions["restart_unit"].cost == pb.ACTION_COST_DISRUPTIVE
    assert [(p.name, p.required, p.default) for p in actions["restart_unit"].params] == [
        ("unit", True, ""),
        ("wait", False, "5000"),
    ]


def test_tokens_are_made_listed_and_deleted(admin):
    made = admin.CreateToken(pb.CreateTokenRequest(labels={"role": "web"}, uses=3, ttl_ms=60_000))
    assert made.secret.startswith(f"fm1.{made.token.id}.")
    assert (made.token.uses_left, made.token.created_by) == (3, "local")
    assert [token.id for token in admin.ListTokens(pb.ListTokensRequest()).tokens] == [made.token.id]
    admin.DeleteToken(pb.DeleteTokenRequest(id=made.token.id))
    assert list(admin.ListTokens(pb.ListTokensRequest()).tokens) == []
    assert turned_down(admin.DeleteToken, pb.DeleteTokenRequest(id=made.token.id))[0] is MISSING
    assert audit_words(admin) == ["token_deleted", "token_created"]
    secret = made.secret.rpartition(".")[2]
    assert secret not in str(admin.ListAudit(pb.ListAuditRequest()))


@pytest.mark.parametrize("request_", [{"uses": 10_001}, {"uses": -1}, {"ttl_ms": -1}, {"labels": {"Role": "x"}}])
def test_tokens_that_cannot_be_are_turned_down(admin, request_):
    code, text = turned_down(admin.CreateToken, pb.CreateTokenRequest(**request_))
    assert (code, text[:6]) == (INVALID, "cannot")


def test_the_audit_trail_comes_newest_first_in_pages(office, admin):
    office.enrol("web-1")
    for scope in ("global", "host:web-1"):
        admin.Pause(pb.PauseRequest(scope=scope, reason='"what":"resumed"'))
    first = admin.ListAudit(pb.ListAuditRequest(page_size=1))
    rest = admin.ListAudit(pb.ListAuditRequest(page_size=1, page_token=first.next_page_token))
    assert [entry.detail["scope"][:6] for entry in (*first.entries, *rest.entries)] == ["host:h", "global"]
    assert list(admin.ListAudit(pb.ListAuditRequest(what="resumed")).entries) == [], "a like text in the detail is not the word"
    assert len(admin.ListAudit(pb.ListAuditRequest(host="web-1")).entries) == 1


def test_a_whole_journal_is_verified_and_a_changed_row_is_named(office, admin):
    office.heal(office.enrol("web-1", role="web"))
    last = list(admin.VerifyAudit(pb.VerifyAuditRequest()))[-1]
    assert last.verdict.intact
    assert last.verdict.rows == last.rows_total > 10
    office.damage(5)
    last = list(admin.VerifyAudit(pb.VerifyAuditRequest()))[-1]
    assert (last.verdict.intact, last.verdict.bad_seq) == (False, 5)
    assert "row 5" in last.verdict.problem
