"""Hosts taken out of service around what disturbs them: nothing before the hook said yes, and never forgotten drained."""

from __future__ import annotations

from dataclasses import replace

from fleetmend_controller.core.effects import DrainHost, RequestCheck, SendOrder, UndrainHost, Why
from fleetmend_controller.core.events import DeciderStarted, Drained, HostConnected, OrderEnded, Undrained
from fleetmend_controller.core.model import ActionStep, Cost, Outcome, Phase, Status
from fleetmend_controller.core.orders import DRAIN_MS_MAX

from .timeline import RESTART, Timeline, playbook, policy

DRAINED_RESTART = replace(RESTART, drain=True)
DRAIN = ActionStep("drain", (), Cost.DISRUPTIVE, None, 60_000, here=True)
UNDRAIN = ActionStep("undrain", (), Cost.DISRUPTIVE, None, 60_000, here=True)


def begun(*steps):
    t = Timeline(policy(playbook(steps=steps or (DRAINED_RESTART,))))
    t.seen(Status.CRIT)
    return t


def says(t, ok, text=""):
    order = t.only.order or t.all(DrainHost)[-1].order
    return t.feed(Drained(t.now_ms, "h-1", order.id, ok, text))


def heal(t):
    t.now_ms += 1_000
    t.seen(Status.OK)
    t.now_ms += 11_000
    t.seen(Status.OK)


def test_the_order_waits_for_the_hook_and_gets_its_whole_time_then():
    t = begun()
    assert (len(t.all(DrainHost)), t.orders) == (1, [])
    t.now_ms += 20_000
    says(t, True)
    (order,) = t.orders
    assert order.expires_ms == t.now_ms + t.policy.order_ttl_ms
    assert Why.DRAINED.value in t.why()
    says(t, True)
    assert len(t.orders) == 1, "said twice it is sent once"
    t.ended(order)
    assert t.all(UndrainHost) == []
    heal(t)
    assert [c.why for c in t.closed] == [Why.HEALED]
    assert [u.host for u in t.all(UndrainHost)] == ["h-1"]
    t.feed(Undrained(t.now_ms, "h-1", True, ""))
    assert t.fleet.drained == {}


def test_a_failed_drain_stops_the_repair_and_the_host_is_given_back_when_it_is_over():
    t = begun()
    says(t, False, "status 500")
    assert t.orders == []
    assert [(e.why, e.severity) for e in t.escalated] == [(Why.DRAIN_FAILED, "page")]
    assert "status 500" in t.escalated[0].text
    assert [c.subject for c in t.all(RequestCheck)] == [t.only.subject], "it may be well by now, and would not say so again"
    t.seen(Status.OK)
    assert [u.host for u in t.all(UndrainHost)] == ["h-1"]


def test_a_hook_that_never_answers_leaves_nothing_ordered():
    t = begun()
    t.wait(700_000)
    assert t.all(SendOrder) == []
    late = t.all(DrainHost)[0].order.id
    t.feed(Drained(t.now_ms, "h-1", late, True, ""))
    assert t.all(SendOrder) == []
    assert t.all(UndrainHost) == [], "people have it, and perhaps it is drained"
    assert [e.why for e in t.escalated] == [Why.DRAIN_FAILED]
    t.seen(Status.OK)
    assert t.all(UndrainHost), "nobody needs it drained"


def test_a_reconnect_asks_the_hook_again_not_the_host():
    t = begun()
    t.feed(HostConnected(t.now_ms, "h-1", "boot-1", t.clock()))
    assert (len(t.all(DrainHost)), t.orders) == (2, [])
    says(t, True)
    t.feed(HostConnected(t.now_ms, "h-1", "boot-1", t.clock()))
    assert (len(t.all(DrainHost)), len(t.orders)) == (2, 2)


def test_from_its_order_on_the_hook_may_hold_it():
    """A controller that dies while the hook is called never hears the answer."""
    t = begun()
    assert t.fleet.drained == {"h-1": None}
    t.seen(Status.OK)
    t.feed(HostConnected(t.now_ms, "h-1", "boot-2", 1_000))
    t.seen(Status.OK, boot="boot-2")
    assert t.fleet.incidents == {}
    assert [u.host for u in t.all(UndrainHost)] == ["h-1"]


def test_an_order_that_waits_for_the_hook_never_ran():
    t = begun()
    t.feed(HostConnected(t.now_ms, "h-1", "boot-2", 1_000))
    assert t.only.attempts[-1].outcome is Outcome.EXPIRED
    assert t.orders == []


def test_the_hook_has_its_time_after_a_start_of_the_controller():
    t = begun()
    t.feed(DeciderStarted(t.now_ms, 2))
    t.wait(DRAIN_MS_MAX)
    assert t.escalated == []
    says(t, True)
    assert len(t.orders) == 1


def test_a_late_yes_to_giving_back_does_not_end_what_another_needs():
    t = begun()
    t.feed(Undrained(t.now_ms, "h-1", True, ""))
    assert t.fleet.drained == {"h-1": None}


def test_it_stays_drained_while_people_have_it():
    t = begun()
    says(t, True)
    t.ended(t.orders[0], Outcome.REFUSED, "not_permitted")
    assert t.only.phase is Phase.ESCALATED
    assert t.all(UndrainHost) == []
    assert t.fleet.drained == {"h-1": None}


def test_what_cannot_be_given_back_is_told_once_and_ends_by_itself():
    t = begun()
    says(t, True)
    t.ended(t.orders[0])
    heal(t)
    for _ in range(2):
        t.feed(Undrained(t.now_ms, "h-1", False, "status 503"))
    (told,) = t.escalated
    assert (told.why, told.severity, told.subject.check) == (Why.UNDRAIN_FAILED, "page", "undrain")
    t.feed(Undrained(t.now_ms, "h-1", True, ""))
    assert t.closed[-1].why is Why.UNDRAINED
    assert t.fleet.incidents == {}
    t.feed(Undrained(t.now_ms, "h-9", True, ""))


def test_steps_of_their_own_drain_and_give_back():
    t = begun(DRAIN, RESTART)
    (order,) = t.orders
    assert order.here
    t.feed(OrderEnded(t.now_ms, "h-1", order.id, Outcome.DONE, "", "", "boot-1", 1, 1))
    assert t.fleet.drained == {"h-1": None}
    t.wait(10_000)
    assert [o.action for o in t.orders] == ["drain", "restart_unit"]
    t.ended(t.orders[-1])
    heal(t)
    assert [u.host for u in t.all(UndrainHost)] == ["h-1"]


def test_a_step_that_does_not_drain_stops_the_repair():
    t = begun(DRAIN, RESTART)
    t.feed(OrderEnded(t.now_ms, "h-1", t.orders[0].id, Outcome.FAILED, "", "status 500", "boot-1", 1, 1))
    assert [o.action for o in t.orders] == ["drain"]
    assert [e.why for e in t.escalated] == [Why.DRAIN_FAILED]


def test_undrain_as_a_step_needs_no_second_call():
    t = begun(DRAIN, UNDRAIN, RESTART)
    t.feed(OrderEnded(t.now_ms, "h-1", t.orders[0].id, Outcome.DONE, "", "", "boot-1", 1, 1))
    t.wait(10_000)
    t.feed(OrderEnded(t.now_ms, "h-1", t.orders[1].id, Outcome.DONE, "", "", "boot-1", 1, 1))
    assert t.fleet.drained == {}
    t.seen(Status.OK)
    assert t.all(UndrainHost) == []
