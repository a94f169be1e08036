"""An approval is for what was shown, by a person, and for nothing else."""

from dataclasses import replace

import pytest

from fleetmend_controller.core.effects import ApprovalWanted, Verdict, Why
from fleetmend_controller.core.events import Approve, Deny, Paused, PolicyLoaded, Resumed
from fleetmend_controller.core.gates.approval import digest
from fleetmend_controller.core.model import Approval, Cost, Phase, Status, Trust

from .timeline import RESTART, Timeline, playbook, policy

WIPE = replace(RESTART, action="clear_directory", params=(("path", "/srv/cache"),), cost=Cost.DESTRUCTIVE)
KILL = replace(RESTART, action="kill_process", params=(("pid", "{finding.pid}"),), cost=Cost.DESTRUCTIVE)
TWO = Approval(people=2)


def reload(t: Timeline, **changes: object) -> None:
    """Other rules come into force."""
    t.policy = policy(playbook(**changes), digest=f"p{len(t.steps)}")
    t.feed(PolicyLoaded(t.now_ms, t.policy.digest, "ann"))


def of_pid(t: Timeline, pid: int) -> None:
    t.seen(Status.CRIT, finding={"unit": "nginx.service", "pid": pid})


def test_a_yes_to_one_playbook_is_no_yes_to_the_next():
    t = Timeline(policy(playbook(steps=(replace(RESTART, cost=Cost.DESTRUCTIVE),), approval=TWO)))
    t.seen(Status.CRIT)
    t.approve("ord-1-1", "ann")
    reload(t, name="other", steps=(WIPE,), approval=TWO)
    assert t.only.approvals == []
    t.approve("ord-1-1", "bob")
    assert t.orders == []
    t.approve("ord-1-1", "ann")
    assert [(o.action, dict(o.params)) for o in t.orders] == [("clear_directory", {"path": "/srv/cache"})]
    assert [w.what for w in t.all(ApprovalWanted)] == [
        digest(playbook(), replace(RESTART, cost=Cost.DESTRUCTIVE), (("unit", "nginx.service"),)),
        digest(playbook(name="other"), WIPE, WIPE.params),
    ]


def test_a_yes_given_while_another_gate_holds_does_not_outlive_the_playbook():
    t = Timeline(policy(playbook(trust=Trust.SUGGEST, approval=Approval())))
    t.seen(Status.CRIT)
    t.feed(Paused(t.now_ms, "global", "ann", "freeze", None))
    t.approve("ord-1-1", "ann")
    reload(t, name="other", steps=(WIPE,))
    t.feed(Resumed(t.now_ms, "global", "ann"))
    assert t.orders == []


def test_the_same_playbook_with_softer_rules_asks_again():
    t = Timeline(policy(playbook(steps=(WIPE,), approval=TWO)))
    t.seen(Status.CRIT)
    t.approve("ord-1-1", "ann")
    reload(t, steps=(WIPE,), approval=Approval(people=1))
    assert t.orders == []
    assert len(t.all(ApprovalWanted)) == 2
    assert "approval_changed" in t.why()


def test_a_yes_to_one_process_is_no_yes_to_another():
    t = Timeline(policy(playbook(steps=(KILL,), approval=TWO)))
    of_pid(t, 111)
    t.approve("ord-1-1", "ann")
    of_pid(t, 222)
    t.approve("ord-1-1", "bob")
    assert t.orders == []
    t.approve("ord-1-1", "ann")
    assert [dict(o.params) for o in t.orders] == [{"pid": 222}]


def test_an_answer_to_what_was_shown_before_is_told_and_does_not_count():
    for answer in (Approve, Deny):
        t = Timeline(policy(playbook(steps=(KILL,))))
        of_pid(t, 111)
        seen = t.only.asked_what
        of_pid(t, 222)
        more = ("not this one",) if answer is Deny else ()
        t.feed(answer(t.now_ms, "ord-1-1", "ann", *more, what=seen))
        assert t.orders == [] == t.escalated
        assert t.why()[-1] == "approval_changed"
        assert t.only.phase is Phase.HELD


@pytest.mark.parametrize("what", ["", "0123456789abcdef"])
def test_a_yes_to_nothing_or_to_something_else_gives_no_order(what):
    t = Timeline(policy(playbook(steps=(WIPE,))))
    t.seen(Status.CRIT)
    t.approve("ord-1-1", "ann", what)
    assert t.orders == []


def test_a_no_without_a_digest_is_a_no():
    t = Timeline(policy(playbook(steps=(WIPE,))))
    t.seen(Status.CRIT)
    t.feed(Deny(t.now_ms, "ord-1-1", "ann", "not now"))
    assert [e.why for e in t.escalated] == [Why.DENIED]


def test_a_yes_before_anybody_was_asked_counts_nothing():
    t = Timeline(policy(playbook(steps=(WIPE,), for_ms=30_000)))
    t.seen(Status.CRIT)
    t.approve("ord-1-1", "ann", digest(playbook(), WIPE, WIPE.params))
    assert t.only.approvals == []


def test_what_never_stands_still_is_for_people():
    t = Timeline(policy(playbook(steps=(KILL,))))
    for pid in range(20):
        of_pid(t, pid)
        t.wait(1_000)
    assert len(t.all(ApprovalWanted)) == 6
    assert [e.why for e in t.escalated] == [Why.APPROVAL_CHANGED]
    assert t.orders == []


def test_a_change_gives_people_the_whole_time_again():
    t = Timeline(policy(playbook(steps=(KILL,))))
    of_pid(t, 111)
    t.wait(3_000_000)
    of_pid(t, 222)
    t.wait(3_000_000)
    assert t.escalated == []
    t.approve("ord-1-1", "ann")
    t.confirm("inc-1")
    assert [dict(o.params) for o in t.orders] == [{"pid": 222}]


def test_the_digest_tells_everything_apart_that_an_order_does():
    params = (("path", "/srv/cache"),)
    kinds = {
        digest(playbook(), WIPE, params),
        digest(playbook(name="other"), WIPE, params),
        digest(playbook(), replace(WIPE, action="delete_files"), params),
        digest(playbook(), WIPE, (("path", "/srv/data"),)),
        digest(playbook(), replace(WIPE, cost=Cost.DISRUPTIVE), params),
        digest(playbook(), WIPE, (("path", 1),)),
        digest(playbook(), WIPE, (("path", True),)),
    }
    assert len(kinds) == 7
    assert digest(playbook(), replace(WIPE, timeout_ms=1), params) in kinds, "how long it may take is not what it does"


def test_an_order_that_is_given_leaves_no_approval_behind():
    t = Timeline(policy(playbook(steps=(KILL,))))
    of_pid(t, 1)
    of_pid(t, 2)
    t.approve("ord-1-1", "ann")
    assert len(t.orders) == 1
    assert (t.only.approvals, t.only.asked_ms, t.only.changes) == ([], None, 0)


def test_evidence_that_grew_old_under_another_hold_has_its_own_time():
    t = Timeline()
    t.feed(Paused(t.now_ms, "global", "ann", "freeze", None))
    t.seen(Status.CRIT)
    t.wait(1_200_000)
    t.confirm("inc-1")
    evidence_ms = t.now_ms
    t.wait(40_000, fresh=False)
    t.feed(Resumed(t.now_ms, "global", "ann"))
    assert t.only.holds == ("evidence_fresh:evidence_stale",)
    assert t.only.phase is Phase.HELD, "it is held for twenty minutes, but blind for forty seconds"
    t.wait(evidence_ms + 599_999 - t.now_ms, fresh=False)
    assert t.escalated == []


def told(t: Timeline, *whys: Why) -> list[tuple[str, str, object]]:
    return [(r.text, r.gate, r.verdict) for s in t.steps for r in s.reasons if r.why in whys]


def test_every_answer_is_told_and_the_question_says_until_when():
    t = Timeline(policy(playbook(steps=(KILL,), approval=Approval(people=2, within_ms=600_000))))
    of_pid(t, 1)
    (wanted,) = t.all(ApprovalWanted)
    assert wanted.until_ms == t.now_ms + 600_000
    t.approve("ord-1-1", "ann")
    t.approve("ord-1-1", "ann")
    t.approve("ord-1-1", "bob", "0123456789abcdef")
    t.feed(Deny(t.now_ms, "ord-1-1", "cat", "not now"))
    stale = "bob answered for ord-1-1 as it was before it changed: that does not count"
    assert told(t, Why.APPROVED, Why.APPROVAL_CHANGED) == [("ann approved ord-1-1", "", None), (stale, "", None)]
    no = "cat denied ord-1-1: not now"
    assert told(t, Why.DENIED) == [(no, "approval", Verdict.REFUSE), (no, "", None)]


def test_an_answer_about_nothing_known_or_not_waiting_is_nothing():
    t = Timeline(policy(playbook(steps=(KILL, KILL))))
    of_pid(t, 1)
    what = t.only.asked_what
    for order in ("ord-9-1", "ord-1-2", "nonsense"):
        assert t.approve(order, "ann", what).reasons == ()
    t.approve("ord-1-1", "ann")
    assert t.approve("ord-1-2", "ann", what).reasons == (), "it is ordered now, and waits for nobody"
    assert len(t.orders) == 1
