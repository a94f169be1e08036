"""The shipped rules in the core's flow: one fault leads to one order, and what may not be touched leads to a person."""

from dataclasses import replace
from functools import cache
from pathlib import Path

from fleetmend_controller.core.effects import ApprovalWanted, Why
from fleetmend_controller.core.model import Approval, NeedApproval, Outcome, Phase, Status, Trust
from fleetmend_controller.playbooks.load import compile_rules, read_documents
from fleetmend_controller.rules import RuleSet

from ..core.timeline import Timeline

DEPLOY = Path(__file__).parents[3] / "deploy"
LABELS = {"role": "example-web"}
DEAD = {"load": "loaded", "maintenance": False, "state": "failed", "sub": "failed", "result": "signal", "restarts": 0}


@cache
def shipped() -> RuleSet:
    return compile_rules(read_documents([DEPLOY]))


def timeline(labels: dict[str, str] | None = None) -> Timeline:
    return Timeline(shipped().policy, labels=LABELS if labels is None else labels)


def crashed(t: Timeline, check: str, unit: str = "shop.service") -> None:
    t.seen(Status.CRIT, unit, check=check, finding={"unit": unit, **DEAD})


def lasting(t: Timeline) -> None:
    """The time that a fault must have lasted before a unit is started."""
    t.wait(2_000)


def hung(t: Timeline, unit: str = "shop.service") -> None:
    t.seen(Status.CRIT, unit, check="http_endpoint", finding={"unit": unit, "fault": "hang", "status": 0, "url": "http://x/"})


def end(t: Timeline, outcome: Outcome = Outcome.DONE) -> None:
    t.started(t.orders[-1])
    t.wait(100)
    t.ended(t.orders[-1], outcome)


def test_a_crash_that_three_checks_see_is_one_incident_and_one_order():
    t = timeline()
    for check in ("unit_failed", "unit_active"):
        crashed(t, check)
    hung(t)
    lasting(t)
    assert [(order.action, dict(order.params)) for order in t.orders] == [("restart_unit", {"unit": "shop.service"})]
    assert t.only.playbook == "restart-failed-unit"
    end(t)
    t.wait(50)
    for check in ("unit_active", "http_endpoint", "unit_failed"):
        t.seen(Status.OK, "shop.service", check=check, finding={"unit": "shop.service"})
    t.wait(10_000)
    t.seen(Status.OK, "shop.service", check="unit_failed", finding={"unit": "shop.service"})
    assert [closed.why for closed in t.closed] == [Why.HEALED]
    assert len(t.orders) == 1
    assert t.fleet.incidents == {}


def test_whichever_check_comes_first_the_same_playbook_answers_a_crash():
    t = timeline()
    crashed(t, "unit_active")
    crashed(t, "unit_failed")
    lasting(t)
    assert (t.only.playbook, len(t.orders)) == ("restart-failed-unit", 1)


def test_a_hang_keeps_its_evidence_and_is_restarted_once():
    t = timeline()
    hung(t)
    assert [order.action for order in t.orders] == ["collect_evidence"]
    end(t)
    assert [order.action for order in t.orders] == ["collect_evidence", "restart_unit"]
    assert t.only.playbook == "restart-hung-service"


def test_evidence_that_cannot_be_had_does_not_stop_the_repair():
    t = timeline()
    hung(t)
    end(t, Outcome.FAILED)
    assert [order.action for order in t.orders] == ["collect_evidence", "restart_unit"]


def test_a_unit_that_does_not_come_back_reaches_a_person_and_is_not_restarted_for_ever():
    t = timeline()
    crashed(t, "unit_failed")
    lasting(t)
    while not t.escalated and len(t.orders) < 20:
        order = t.orders[-1]
        end(t, Outcome.DONE if order.action == "collect_evidence" else Outcome.FAILED)
        t.wait(120_000 if t.orders[-1] is order else 0)
    assert [order.action for order in t.orders] == ["restart_unit", "collect_evidence", "restart_unit"]
    (handed_over,) = t.escalated
    assert (handed_over.to, handed_over.severity) == ("platform-oncall", "page")
    assert t.only.phase is Phase.ESCALATED


def test_what_nobody_declared_is_a_persons():
    t = timeline({"role": "web"})
    crashed(t, "unit_failed")
    assert t.orders == []
    assert [handed_over.why for handed_over in t.escalated] == [Why.NO_PLAYBOOK]
    told = [reason.text for step in t.steps for reason in step.reasons if reason.why is Why.PLAYBOOK_WHERE_FALSE]
    assert told
    assert all(text.endswith('is "undeclared")') for text in told)
    assert (
        'restart-failed-unit does not match: declared.desired == "running" is false (declared.desired is "undeclared")' in told
    )


def test_a_clean_only_unit_that_hangs_is_asked_to_end_once_and_then_a_persons():
    t = timeline()
    hung(t, "store.service")
    assert t.orders == []
    t.wait(5_000)
    end(t)
    assert [order.action for order in t.orders] == ["collect_evidence", "restart_cleanly"]
    end(t, Outcome.FAILED)
    t.wait(120_000)
    assert [order.action for order in t.orders] == ["collect_evidence", "restart_cleanly"]
    assert (len(t.escalated), t.only.phase) == (1, Phase.ESCALATED)


def test_a_full_filesystem_is_only_suggested_to_be_cleaned():
    t = timeline()
    t.seen(
        Status.CRIT,
        "/srv/data",
        check="filesystem_space",
        finding={"mount": "/srv/data", "used_percent": 95.0, "target_percent": 74, "disposable": "yes"},
    )
    t.wait(10_000)
    end(t)
    assert [order.action for order in t.orders] == ["collect_evidence"]
    assert [wanted.order for wanted in t.all(ApprovalWanted)] == ["ord-1-2"]


def test_a_trusted_clean_up_takes_the_target_from_the_finding():
    policy = shipped().policy
    alone = {"trust": Trust.ACT, "approval": Approval(NeedApproval.NEVER)}
    trusted = replace(policy, playbooks=tuple(replace(playbook, **alone) for playbook in policy.playbooks))
    t = Timeline(trusted, labels=LABELS)
    t.seen(
        Status.CRIT,
        "/srv/data",
        check="filesystem_space",
        finding={"mount": "/srv/data", "used_percent": 95.0, "target_percent": 74, "disposable": "yes"},
    )
    t.wait(10_000)
    end(t)
    assert [order.action for order in t.orders] == ["collect_evidence", "clear_directory"]
    assert dict(t.orders[-1].params) == {"mount": "/srv/data", "until_used_percent": 74}
