"""What hosts may do alone, and what becomes of it: permits given, withheld, withdrawn, used, told once, proved and counted."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fleetmend.permits import PREFIX
from fleetmend_controller.core.effects import ActionEnded, PermitSpent, SendPermits, WakeHostAt
from fleetmend_controller.core.events import (
    HostConnected,
    HostEnrolled,
    HostWoken,
    OrderEnded,
    Paused,
    PermitUsed,
    PersonSeen,
    PolicyLoaded,
    Resumed,
    WindowAdded,
    WindowRemoved,
    Woken,
)
from fleetmend_controller.core.model import Outcome, Phase, Rate, Status, Subject, Trust, Window
from fleetmend_controller.core.permits import PERMIT_PREFIX, PERMITS_MAX, live
from fleetmend_controller.core.policy import Reach
from tests.unit.core.timeline import EVIDENCE, LIMITS, RESTART, Timeline, playbook, policy
from tests.unit.core.timeline import WaitStep as Wait

UNIT = "nginx.service"
TTL_MS = 3_600_000


def reach(_host):
    return Reach(("unit_failed",), '{"reach":{},"unless":[]}')


def alone_policy(**changes):
    book = playbook(alone=True, **changes)
    return policy(book, alone={book.name: reach})


class Alone(Timeline):
    """A fleet whose hosts are woken too."""

    def __init__(self, rules=None, hosts=1):
        self.due: dict[str, int] = {}
        super().__init__(rules or alone_policy(), hosts)

    def feed(self, event):
        step = super().feed(event)
        for effect in step.effects:
            if isinstance(effect, WakeHostAt):
                self.due[effect.host] = effect.at_ms
        return step

    def wait(self, ms, fresh=True):
        until_ms = self.now_ms + ms
        while due := [(at, h) for h, at in self.due.items() if at <= until_ms]:
            at_ms, host = min(due)
            del self.due[host]
            super().wait(max(0, at_ms - self.now_ms), fresh)
            self.feed(HostWoken(self.now_ms, host))
        super().wait(until_ms - self.now_ms, fresh)

    @property
    def sets(self):
        return self.all(SendPermits)

    @property
    def granted(self):
        """Permits in the newest set."""
        return [permit for grant in self.sets[-1].grants for permit in grant.permits]

    def used(self, permit, unit=UNIT, at_ms=None, sealed=False, host="h-1", **more):
        """A host tells that it used a permit then."""
        at_ms = self.now_ms - 20_000 if at_ms is None else at_ms
        self.seq += 1
        event = PermitUsed(
            at_ms=self.now_ms, host=host, permit=permit, playbook="restart-failed-unit", action="restart_unit",
            params=(("unit", unit),), within_ms=30_000, stay_ok_ms=10_000, timeout_ms=60_000, check="unit_failed",
            check_type="unit_failed", key=unit, finding={"unit": unit}, summary="it failed", boot="boot-1",
            since_clock_ms=self.clock(at_ms - 12_000), sampled_clock_ms=self.clock(at_ms - 10),
            started_clock_ms=self.clock(at_ms), clock_ms=self.clock(), away_ms=42_000, sealed=sealed,
            outbox=f"box-{host}", seq=self.seq,
        )  # fmt: skip
        return self.feed(replace(event, **more))

    def over(self, permit, outcome=Outcome.DONE, at_ms=None, refusal=""):
        """The sealed end of its use."""
        at_ms = self.now_ms - 19_000 if at_ms is None else at_ms
        event = OrderEnded(self.now_ms, "h-1", permit, outcome, refusal, "done", "boot-1", self.clock(at_ms), self.clock())
        return self.feed(event)

    def told(self, permit):
        """The whole of a repair that worked, as it comes after a reconnect."""
        self.seen(Status.CRIT, sampled_ms=self.now_ms - 32_000)
        self.used(permit)
        self.over(permit)
        self.seen(Status.OK, sampled_ms=self.now_ms - 18_000)
        self.seen(Status.OK, sampled_ms=self.now_ms - 7_000)


def test_core_and_hosts_agree_on_the_prefix():
    assert PERMIT_PREFIX == PREFIX


def test_a_host_that_connects_gets_permits_for_what_it_may_do_alone():
    line = Alone(alone_policy(steps=(EVIDENCE, Wait(4_000), RESTART), for_ms=2_000))
    (given,) = line.sets
    (grant,) = given.grants
    assert (given.host, given.boot) == ("h-1", "boot-1")
    assert given.expires_clock_ms == line.clock(line.now_ms + TTL_MS)
    assert len(grant.permits) == given.fresh == PERMITS_MAX == live(line.fleet.hosts["h-1"], line.now_ms)
    assert (grant.first, grant.step, grant.for_ms) == ((EVIDENCE,), RESTART, 6_000)


def test_without_such_a_playbook_nothing_is_given_or_remembered():
    line = Alone(policy())
    line.feed(Paused(line.now_ms, "global", "ann", "x", None))
    assert (line.sets, line.due, line.fleet.hosts["h-1"].permits.version) == ([], {}, 0)


def test_permits_are_renewed_in_time_and_keep_their_ids():
    line = Alone()
    first = line.granted
    line.wait(TTL_MS)
    assert len(line.sets) == 3
    assert line.granted == first
    assert [given.fresh for given in line.sets] == [3, 0, 0]
    versions = [given.version for given in line.sets]
    assert versions == sorted(set(versions))


def test_a_host_that_comes_and_goes_gains_no_permit_by_it():
    line = Alone()
    first = line.granted
    for _ in range(5):
        line.feed(HostConnected(line.now_ms, "h-1", "boot-1", line.clock()))
    assert line.granted == first
    assert len(line.sets) == 6
    line.feed(HostConnected(line.now_ms, "h-1", "boot-2", 5_000))
    assert line.granted == first
    assert line.sets[-1].boot == "boot-2"


WINDOW = Window("w-1", (), ("h-1",), 1_000_000, 1_600_000, "", "ann", "new kernel")


@pytest.mark.parametrize(
    ("stop", "go"),
    [
        (Paused(1_000_000, "global", "ann", "x", None), Resumed(1_000_000, "global", "ann")),
        (Paused(1_000_000, "host:h-1", "ann", "x", None), Resumed(1_000_000, "host:h-1", "ann")),
        (Paused(1_000_000, "group:role=web", "ann", "x", None), Resumed(1_000_000, "group:role=web", "ann")),
        (
            Paused(1_000_000, "playbook:restart-failed-unit", "ann", "x", None),
            Resumed(1_000_000, "playbook:restart-failed-unit", "ann"),
        ),
        (WindowAdded(1_000_000, WINDOW), WindowRemoved(1_000_000, "w-1", "ann")),
    ],
    ids=["global", "host", "group", "playbook", "maintenance"],
)
def test_whoever_switches_healing_off_takes_the_permits_back_at_once(stop, go):
    line = Alone()
    line.feed(stop)
    line.wait(0)
    assert line.granted == []
    assert line.sets[-1].version > line.sets[0].version
    assert live(line.fleet.hosts["h-1"], line.now_ms) == 0
    line.feed(go)
    line.wait(0)
    assert len(line.granted) == PERMITS_MAX


def test_a_pause_of_others_changes_nothing_here():
    line = Alone(hosts=2)
    line.feed(Paused(line.now_ms, "host:h-2", "ann", "x", None))
    line.wait(0)
    assert [given.host for given in line.sets] == ["h-1", "h-2", "h-2"]


def test_a_pause_that_ends_by_itself_brings_the_permits_back():
    line = Alone()
    line.feed(Paused(line.now_ms, "global", "ann", "x", line.now_ms + 60_000))
    line.wait(59_000)
    assert line.granted == []
    line.wait(1_000)
    assert len(line.granted) == PERMITS_MAX


def test_permits_end_when_announced_maintenance_begins():
    line = Alone()
    start_ms = line.now_ms + 600_000
    line.feed(WindowAdded(line.now_ms, replace(WINDOW, start_ms=start_ms, end_ms=start_ms + 60_000)))
    line.feed(HostConnected(line.now_ms, "h-1", "boot-1", line.clock()))
    assert line.sets[-1].expires_clock_ms == line.clock(start_ms)
    line.wait(601_000)
    assert line.granted == []
    line.wait(60_000)
    assert len(line.granted) == PERMITS_MAX


def test_a_person_at_work_takes_them_back_for_as_long_as_they_are_believed_to_be_there():
    line = Alone()
    line.feed(PersonSeen(line.now_ms, "h-1", "ann on pts/0", line.now_ms + 900_000))
    line.wait(0)
    assert line.granted == []
    line.wait(900_000)
    assert len(line.granted) == PERMITS_MAX


def test_a_demoted_or_changed_or_gone_playbook_gives_none():
    line = Alone(alone_policy(trust=Trust.OBSERVE))
    assert line.sets == []
    line = Alone()
    line.policy = policy()
    line.feed(PolicyLoaded(line.now_ms, "p2", "ann"))
    line.wait(0)
    assert line.granted == []
    line = Alone()
    line.policy = policy(playbook(alone=True), alone={"restart-failed-unit": lambda _: None})
    line.feed(PolicyLoaded(line.now_ms, "p2", "ann"))
    line.wait(0)
    assert line.granted == []


def test_three_repairs_that_were_not_proved_take_the_permits_of_every_host():
    line = Alone(hosts=2)
    for permit in line.all(SendPermits)[0].grants[0].permits:
        line.seen(Status.CRIT, sampled_ms=line.now_ms - 60_000)
        line.used(permit, at_ms=line.now_ms - 50_000)
        line.over(permit, at_ms=line.now_ms - 45_000)
        line.seen(Status.CRIT, sampled_ms=line.now_ms - 1_000)
    assert "trust_demoted" in line.why()
    line.wait(0)
    newest = {given.host: given for given in line.sets}
    assert [newest[host].grants for host in ("h-1", "h-2")] == [(), ()]


def test_new_labels_are_looked_at_anew():
    line = Alone(policy(playbook(alone=True), alone={"restart-failed-unit": lambda h: reach(h) if h.labels else None}))
    line.feed(HostEnrolled(line.now_ms, "h-1", "web-1", {}))
    line.wait(0)
    assert line.granted == []


def test_a_lost_host_waits_until_it_is_back():
    line = Alone()
    line.silent()
    line.wait(2 * TTL_MS)
    assert len(line.sets) == 1
    assert live(line.fleet.hosts["h-1"], line.now_ms) == 0


def test_what_people_have_in_hand_is_left_to_them():
    line = Alone(alone_policy(steps=(RESTART,)))
    line.seen(Status.CRIT)
    (order,) = line.orders
    line.ended(order, Outcome.REFUSED, "protected", "no")
    assert line.only.phase is Phase.ESCALATED
    line.wait(0)
    assert line.sets[-1].left_units == (UNIT,)
    assert line.sets[-1].left_subjects == (("unit_failed", UNIT),)
    line.seen(Status.OK)
    line.wait(0)
    assert line.sets[-1].left_units == ()


def test_orders_of_ours_take_from_the_same_allowance():
    line = Alone(alone_policy(limits=replace(LIMITS, per_host=Rate(2, 600_000))))
    assert len(line.granted) == 2
    line.seen(Status.CRIT)
    line.wait(0)
    assert len(line.granted) == 1
    line.ended(line.orders[0])
    line.wait(1_000)
    line.seen(Status.OK)
    line.wait(10_000)
    line.seen(Status.OK)
    line.wait(590_000)
    assert len(line.granted) == 2


def test_a_repair_alone_is_one_incident_proved_and_counted():
    line = Alone()
    line.wait(60_000)
    permit = line.granted[0]
    line.told(permit)
    (closed,) = line.closed
    assert (closed.why.value, closed.playbook) == ("healed_alone", "restart-failed-unit")
    assert (closed.act_ms, closed.prove_ms, closed.total_ms) == (1_000, 12_000, 25_000)
    assert line.orders == []
    (spent,) = line.all(PermitSpent)
    assert (spent.order.id, spent.order.requested_by) == (permit, "playbook restart-failed-unit, by permit")
    assert [(e.order, e.outcome) for e in line.all(ActionEnded)] == [(permit, "done")]
    host = line.fleet.hosts["h-1"]
    tried = Subject("h-1", "", UNIT)
    assert host.orders_at["restart-failed-unit"] == line.fleet.attempts_at[tried] == [line.now_ms - 20_000]
    (heal,) = line.fleet.heals[tried]
    assert (heal.at_ms, heal.hidden_ms) == (line.now_ms - 7_000, 25_000)
    assert line.fleet.standing["restart-failed-unit"].proved == 1
    texts = [reason.text for step in line.steps for reason in step.reasons if reason.why.value == "alone_used"]
    assert texts == [
        f"the controller was unreachable for 42 s; web-1 used {permit} of restart-failed-unit alone: restart_unit unit={UNIT}"
    ]
    line.wait(0)
    assert permit not in line.granted
    assert len(line.granted) == PERMITS_MAX - 1


def test_a_use_that_is_told_twice_counts_once():
    line = Alone()
    line.wait(60_000)
    permit = line.granted[0]
    line.told(permit)
    before = (dict(line.fleet.hosts["h-1"].orders_at), len(line.closed))
    line.used(permit, sealed=True)
    line.over(permit)
    line.used(permit)
    assert (line.fleet.hosts["h-1"].orders_at, len(line.closed), line.fleet.incidents) == (*before, {})
    assert len(line.all(PermitSpent)) == 1


def test_only_the_sealed_word_counts_for_a_permit_that_nobody_remembers():
    line = Alone()
    line.wait(60_000)
    line.used("permit-h-1-1-99")
    assert line.all(PermitSpent) == []
    line.used("permit-h-1-1-99", sealed=True)
    line.over("permit-h-1-1-99")
    assert line.only.phase is Phase.PROVING
    line.used("permit-h-1-1-98", host="h-9", sealed=True)


def test_the_end_alone_opens_the_incident_and_the_check_is_asked():
    line = Alone()
    line.wait(60_000)
    permit = line.granted[0]
    line.used(permit, sealed=True)
    line.over(permit)
    assert (line.only.phase, line.only.check_type) == (Phase.PROVING, "unit_failed")
    assert line.only.fault_since_ms == line.now_ms - 32_000
    line.wait(1_000)
    line.seen(Status.OK)
    line.wait(10_000)
    line.seen(Status.OK)
    assert line.closed[-1].why.value == "healed_alone"


def test_a_symptom_s_repair_belongs_to_the_incident_of_its_unit():
    line = Alone()
    line.wait(60_000)
    line.seen(Status.CRIT, sampled_ms=line.now_ms - 40_000)
    line.used(line.granted[0], check="health", check_type="http_endpoint", key="")
    assert line.only.phase is Phase.RUNNING
    assert line.only.subject.check == "unit_failed"


def test_what_did_not_help_goes_on_through_the_gates():
    line = Alone()
    line.wait(120_000)
    first, second = line.granted[:2]
    line.seen(Status.CRIT, sampled_ms=line.now_ms - 100_000)
    line.used(first, at_ms=line.now_ms - 90_000)
    line.over(first, at_ms=line.now_ms - 89_000)
    line.seen(Status.CRIT, sampled_ms=line.now_ms - 58_000)
    assert (line.only.phase, line.only.step) == (Phase.HELD, 1)
    line.used(second, at_ms=line.now_ms - 40_000)
    assert line.only.phase is Phase.RUNNING
    line.over(second, Outcome.FAILED, at_ms=line.now_ms - 39_000)
    line.seen(Status.CRIT)
    assert [a.outcome for a in line.only.attempts] == [Outcome.DONE, Outcome.FAILED]
    assert line.fleet.standing["restart-failed-unit"].failed == 1


def test_a_host_that_would_not_do_it_alone_gets_an_order_when_the_gates_allow():
    line = Alone()
    line.wait(60_000)
    permit = line.granted[0]
    line.seen(Status.CRIT, sampled_ms=line.now_ms - 40_000)
    line.used(permit, sealed=True)
    line.over(permit, Outcome.REFUSED, refusal="over_budget")
    assert line.only.phase is Phase.HELD
    line.wait(15_000)
    line.seen(Status.CRIT)
    assert len(line.orders) == 1


def test_while_it_is_under_way_no_order_is_given_on_that_host():
    line = Alone()
    line.wait(60_000)
    line.seen(Status.CRIT, sampled_ms=line.now_ms - 40_000)
    line.used(line.granted[0])
    line.seen(Status.CRIT, unit="other.service")
    other = next(i for i in line.fleet.incidents.values() if i.phase is Phase.HELD)
    assert any(hold.startswith("one_at_a_time:") for hold in other.holds)
    line.over(line.granted[0])
    line.wait(1_000)
    assert len(line.orders) == 1


def test_no_word_of_the_end_leads_to_a_proof_not_to_a_second_try():
    line = Alone()
    line.wait(60_000)
    permit = line.granted[0]
    line.seen(Status.CRIT, sampled_ms=line.now_ms - 40_000)
    line.used(permit)
    line.feed(HostConnected(line.now_ms, "h-1", "boot-1", line.clock()))
    assert line.orders == [], "there is nothing to send again"
    line.wait(80_000)
    assert line.only.phase is Phase.PROVING
    assert line.only.attempts[-1].outcome is Outcome.UNKNOWN
    line.over(permit)
    assert line.only.attempts[-1].outcome is Outcome.DONE
    assert len(line.all(ActionEnded)) == 1


def test_an_order_that_was_on_its_way_meanwhile_finds_the_fault_gone():
    line = Alone()
    line.wait(60_000)
    permit = line.granted[0]
    line.seen(Status.CRIT, sampled_ms=line.now_ms - 25_000)
    (order,) = line.orders
    line.used(permit)
    assert line.only.phase is Phase.ORDERED
    line.over(permit)
    assert [a.outcome for a in line.only.attempts] == [None, Outcome.DONE]
    line.ended(order, Outcome.REFUSED, "fault_gone")
    assert line.only.phase is Phase.PROVING
    line.wait(1_000)
    line.seen(Status.OK)
    line.wait(10_000)
    line.seen(Status.OK)
    assert line.closed[-1].why.value == "healed_alone"
    assert len(line.all(ActionEnded)) == 2


def test_a_permit_used_after_an_order_that_was_being_proved_takes_its_place():
    line = Alone()
    line.wait(60_000)
    line.seen(Status.CRIT)
    (order,) = line.orders
    line.ended(order)
    assert line.only.phase is Phase.PROVING
    line.wait(20_000)
    line.used(line.granted[0], at_ms=line.now_ms - 1_000)
    assert (line.only.phase, line.only.order.permit) == (Phase.RUNNING, True)


def test_a_playbook_that_is_gone_by_then_is_told_as_it_was():
    line = Alone()
    line.wait(60_000)
    permit = line.granted[0]
    line.policy = policy()
    line.policy = replace(line.policy, playbooks=())
    line.told(permit)
    assert line.closed[-1].why.value == "healed_alone"
    assert line.closed[-1].playbook == "restart-failed-unit"


def test_what_an_earlier_boot_did_is_counted_and_looked_at_now():
    line = Alone()
    line.wait(60_000)
    permit = line.granted[0]
    line.feed(HostConnected(line.now_ms, "h-1", "boot-2", 5_000))
    line.used(permit, sealed=True, boot="boot-1")
    line.over(permit)
    assert line.only.phase is Phase.PROVING
    line.seen(Status.OK, boot="boot-2")
    line.wait(11_000)
    line.seen(Status.OK, boot="boot-2")
    assert line.closed[-1].why.value == "healed_alone"


def test_an_incident_that_people_had_is_taken_over_by_the_repair():
    line = Alone(alone_policy(steps=(RESTART,)))
    line.wait(60_000)
    line.seen(Status.CRIT)
    (order,) = line.orders
    line.ended(order, Outcome.REFUSED, "protected")
    assert line.only.phase is Phase.ESCALATED
    line.used(line.granted[0], at_ms=line.now_ms - 1)
    assert line.only.phase is Phase.RUNNING


def test_a_wake_up_that_is_not_due_looks_at_nothing():
    line = Alone()
    line.feed(HostWoken(line.now_ms, "h-1"))
    line.feed(HostWoken(line.now_ms, "h-9"))
    line.feed(Woken(line.now_ms, "inc-9"))
    assert len(line.sets) == 1


def test_a_storm_withdraws_what_would_answer_it():
    line = Alone(hosts=12)
    for number in range(1, 8):
        line.seen(Status.CRIT, host=f"h-{number}", seq=1)
    assert line.fleet.outbreaks
    line.wait(0)
    newest = {given.host: given for given in line.sets}
    assert all(not given.grants for given in newest.values())
