"""Healing while no controller can be asked: when it begins, what it uses, how it proves and tells, and when it stops."""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace

import pytest

from fleetmend.v1 import link_pb2 as pb
from fleetmend_agent.alone import AFTER_ORDER_MS, Alone, Desk
from fleetmend_agent.checks import Result, Status
from fleetmend_agent.confirm import Confirmed
from fleetmend_agent.executor_client import AnswerLost, ExecutorRefused, ExecutorUnreachable, SealedOutcome
from fleetmend_agent.permits import PERMITS_FILE, STATE_FILE
from fleetmend_agent.runner import Observed

UNIT = "a.service"


def permits(**changes) -> dict:
    grant = {
        "playbook": "restart",
        "permits": ["permit-h-1-1-1", "permit-h-1-1-2", "permit-h-1-1-3"],
        "reach": {"checks": ["unit_failed", "http_endpoint"], "where": None, "values": {"unit": [UNIT]}},
        "unless": [],
        "first": [],
        "deed": {"action": "restart_unit", "params": {"unit": "{finding.unit}"}, "timeout_ms": 1000},
        "for_ms": 0,
        "prove": {"within_ms": 30_000, "stay_ok_ms": 10_000},
        "backoff_ms": 5_000,
        "factor": 2,
        "budget": {"count": 3, "window_ms": 3_600_000},
    } | changes.pop("grant", {})
    whole = {"kind": "permits", "v": 1, "host_id": "h-1", "boot_id": "boot-1", "epoch": 1, "version": 1}
    return {**whole, "expires_clock_ms": 10_000_000, "grants": [grant], "left": {"units": [], "subjects": []}, **changes}


def sealed(document: dict) -> pb.SealedPermits:
    return pb.SealedPermits(payload=json.dumps(document).encode(), mac=b"mac")


class Executor:
    """The executor of a world, under the names that the agent calls."""

    def __init__(self, world):
        self.world = world
        self.keep_permits = world.keep_permits
        self.permit = world.permit
        self.used = world.used_before


class World:
    """One host: `bad` is the truth, time moves only when somebody sleeps, the executor does as `script` says."""

    def __init__(self, folder, after_ms=10_000):
        self.folder, self.after_ms = folder, after_ms
        self.now_ms, self.away_since = 1_000_000, None
        self.bad: dict[tuple[str, str], str] = {}
        self.status: dict[tuple[str, str], Status] = {}
        self.finding: dict[tuple[str, str], dict] = {}
        self.people: list[str] = []
        self.orders = False
        self.records: list[pb.PermitUse] = []
        self.used: list[tuple[str, dict]] = []
        self.kept: list[bytes] = []
        self.asked: list[str] = []
        self.script: list = []
        self.ledger: dict[str, SealedOutcome] = {}
        self.cures = True
        self.alone = self.fresh()

    def fresh(self) -> Alone:
        desk = Desk(
            runner=self,
            executor=Executor(self),
            clock_ms=lambda: self.now_ms,
            away_ms=lambda: None if self.away_since is None else self.now_ms - self.away_since,
            busy=lambda: self.orders,
            present=lambda: self.people,
            keep=self.records.append,
            sleep=self.sleep,
        )
        return Alone(desk, self.folder, "boot-1", self.after_ms)

    async def sleep(self, seconds):
        self.now_ms += int(seconds * 1000)
        await asyncio.sleep(0)

    # As the runner.

    def subjects(self):
        for (check, key), status in self.status.items():
            spec = SimpleNamespace(name=check, type=check)
            result = Result(status, f"it is {status.value}", key, self.finding.get((check, key), {"unit": UNIT}))
            confirmed = Confirmed(status, status)
            yield (
                SimpleNamespace(spec=spec),
                key,
                SimpleNamespace(confirmed=confirmed, result=result, sampled_clock_ms=self.now_ms),
            )

    def ask(self, check, key):
        status = Status.CRIT if (check, key) in self.bad else Status.OK
        self.see(check, key, status, requested=True)

    def see(self, check="unit_failed", key=UNIT, status=Status.CRIT, requested=False):
        self.status[(check, key)] = status
        result = Result(status, f"it is {status.value}", key, self.finding.get((check, key), {"unit": UNIT}))
        self.alone.observed(Observed(check, check, result, self.now_ms, requested))

    def breaks(self, check="unit_failed", key=UNIT):
        self.bad[(check, key)] = "broken"
        self.see(check, key)

    # As the executor.

    async def keep_permits(self, payload, mac):
        self.kept.append(payload)

    async def permit(self, payload, mac, permit, trigger, started):
        item = self.script.pop(0) if self.script else "done"
        if isinstance(item, Exception):
            raise item
        self.used.append((permit, trigger))
        began = self.now_ms
        started(permit, began, "{}")
        self.now_ms += 100
        if self.cures and item == "done":
            self.bad.clear()
        document = {"outcome": item, "started_clock_ms": began, "ended_clock_ms": self.now_ms}
        self.ledger[permit] = SealedOutcome(permit, json.dumps(document).encode(), b"m")
        await asyncio.sleep(0)
        if item == "lost":
            raise AnswerLost("it broke off")
        return self.ledger[permit]

    async def used_before(self, permit):
        self.asked.append(permit)
        if permit not in self.ledger:
            raise ExecutorRefused("unknown_permit", "never")
        return self.ledger[permit]

    def away(self, seconds=10.0):
        self.away_since = self.now_ms - int(seconds * 1000)

    async def settle(self):
        while self.alone._task is not None:
            await asyncio.sleep(0)

    async def tick(self, times=1, every_s=1.0):
        for _ in range(times):
            self.alone.tick()
            await self.settle()
            self.now_ms += int(every_s * 1000)

    def permits_used(self):
        return [permit for permit, _ in self.used]


def scenario(tmp_path, test, *, given=True, **options):
    async def main():
        world = World(tmp_path, **options)
        if given:
            assert world.alone.take(sealed(permits()))
        async with asyncio.timeout(10):
            await test(world)

    asyncio.run(main())


def test_a_fault_is_healed_proved_and_told_once_nobody_was_heard_for_long_enough(tmp_path):
    async def test(world):
        world.breaks()
        world.away(9.9)
        await world.tick()
        assert world.used == []
        world.now_ms += 100
        await world.tick()
        ((permit, trigger),) = world.used
        assert permit == "permit-h-1-1-1"
        assert (trigger["check"], trigger["finding"], trigger["away_ms"] >= 10_000) == ("unit_failed", {"unit": UNIT}, True)
        assert trigger["since_clock_ms"] < trigger["sampled_clock_ms"]
        began, ended = world.records
        assert (began.permit_id, began.permit, bool(began.payload)) == (permit, "{}", False)
        assert (ended.permit_id, ended.mac) == (permit, b"m")
        await world.tick(100)
        assert len(world.used) == 1, "what is well is left alone"

    scenario(tmp_path, test)


@pytest.mark.parametrize(
    "keep_away",
    [
        lambda world: setattr(world, "away_since", None),
        lambda world: setattr(world, "people", ["ann on pts/0"]),
        lambda world: setattr(world, "orders", True),
        lambda world: world.alone.order_ended(),
        lambda world: world.alone.take(sealed(permits(version=2, grants=[]))),
        lambda world: world.alone.take(sealed(permits(version=2, expires_clock_ms=world.now_ms))),
        lambda world: world.alone.take(sealed(permits(version=2, left={"units": [UNIT], "subjects": []}))),
        lambda world: world.alone.take(sealed(permits(version=2, grant={"for_ms": 60_000}))),
        lambda world: world.see(status=Status.UNKNOWN),
        lambda world: world.see(status=Status.WARN),
        lambda world: world.bad.clear(),
    ],
    ids=[
        "linked",
        "people",
        "order out",
        "after an order",
        "withdrawn",
        "expired",
        "in hand",
        "young",
        "unknown",
        "warn",
        "well",
    ],
)
def test_nothing_is_done_alone_where_something_speaks_against_it(keep_away, tmp_path):
    async def test(world):
        world.breaks()
        world.away()
        keep_away(world)
        await world.tick(5)
        assert world.used == []

    scenario(tmp_path, test)


def test_without_permits_nothing_is_armed(tmp_path):
    async def test(world):
        assert not world.alone.armed
        world.breaks()
        world.away()
        await world.tick(5)
        assert world.used == []

    scenario(tmp_path, test, given=False)


def test_an_order_s_quiet_time_passes(tmp_path):
    async def test(world):
        world.breaks()
        world.alone.order_ended()
        world.now_ms += AFTER_ORDER_MS
        world.away()
        await world.tick()
        assert len(world.used) == 1

    scenario(tmp_path, test)


def test_two_repairs_that_are_not_proved_are_the_last_and_each_waits_longer(tmp_path):
    async def test(world):
        world.cures = False
        world.breaks()
        world.away()
        times = []
        for _ in range(200):
            before = len(world.used)
            await world.tick()
            times += [world.used[-1][1]["sampled_clock_ms"]] * (len(world.used) - before)
        assert world.permits_used() == ["permit-h-1-1-1", "permit-h-1-1-2"]
        assert times[1] - times[0] >= 30_000 + 5_000
        world.alone = world.fresh()
        world.breaks()
        await world.tick(50)
        assert len(world.used) == 2, "a new process of this boot remembers"

    scenario(tmp_path, test)


def test_when_every_permit_is_used_no_more_is_done(tmp_path):
    async def test(world):
        world.away()
        for _ in range(5):
            world.breaks()
            await world.tick(30, every_s=30)
        assert world.permits_used() == ["permit-h-1-1-1", "permit-h-1-1-2", "permit-h-1-1-3"]

    scenario(tmp_path, test)


def test_one_unit_that_two_checks_see_is_one_repair(tmp_path):
    async def test(world):
        world.breaks("http_endpoint", "")
        world.now_ms += 500
        world.breaks()
        world.away()
        await world.tick(5)
        ((_, trigger),) = world.used
        assert trigger["check"] == "http_endpoint", "the one that saw it first"

    scenario(tmp_path, test)


def test_a_proof_that_breaks_is_none(tmp_path):
    async def test(world):
        async def flicker(seconds):
            world.now_ms += int(seconds * 1000)
            world.bad[("unit_failed", UNIT)] = "again"
            await asyncio.sleep(0)

        object.__setattr__(world.alone._desk, "sleep", flicker)
        world.breaks()
        world.away()
        await world.tick()
        assert world.alone._permits.tries[f"unit {UNIT}"].unproved == 1

    scenario(tmp_path, test)


def test_a_fault_that_is_gone_at_the_last_look_uses_nothing(tmp_path):
    async def test(world):
        world.see()
        world.away()
        await world.tick(3)
        assert world.used == []

    scenario(tmp_path, test)


@pytest.mark.parametrize("word", ["stale_epoch", "stale_version", "wrong_boot"])
def test_a_set_that_the_executor_calls_void_is_not_tried_again(word, tmp_path):
    async def test(world):
        world.script = [ExecutorRefused(word, "no")]
        world.breaks()
        world.away()
        await world.tick(60)
        assert (world.used, world.records, world.alone.armed) == ([], [], False)

    scenario(tmp_path, test)


def test_what_was_not_taken_is_tried_again_later_and_nothing_is_told_of_it(tmp_path):
    async def test(world):
        world.script = [ExecutorUnreachable("no socket"), ExecutorRefused("busy", "an order runs")]
        world.breaks()
        world.away()
        await world.tick(4)
        assert world.used == world.records == []
        await world.tick(30)
        assert world.permits_used() == ["permit-h-1-1-1"]

    scenario(tmp_path, test)


def test_a_lost_answer_is_asked_for_and_the_permit_not_used_again(tmp_path):
    async def test(world):
        world.script = ["lost"]
        world.breaks()
        world.away()
        await world.tick(3)
        assert world.asked == ["permit-h-1-1-1"]
        assert [bool(record.payload) for record in world.records] == [False, True]
        assert len(set(world.permits_used())) == len(world.permits_used())

    scenario(tmp_path, test)


def test_a_permit_that_the_ledger_knew_already_is_passed_over(tmp_path):
    async def test(world):
        old = json.dumps({"outcome": "done", "started_clock_ms": 5, "ended_clock_ms": 6}).encode()

        async def permit(payload, mac, name, trigger, started):
            world.used.append((name, trigger))
            return SealedOutcome(name, old, b"old")

        world.alone._desk.executor.permit = permit
        world.breaks()
        world.away()
        await world.tick()
        assert [(r.permit_id, r.mac) for r in world.records] == [("permit-h-1-1-1", b"old")]
        await world.tick()
        assert world.permits_used() == ["permit-h-1-1-1", "permit-h-1-1-2"]

    scenario(tmp_path, test)


def test_after_a_restart_what_the_ledger_knows_is_told_once(tmp_path):
    async def test(world):
        world.ledger["permit-h-1-1-2"] = SealedOutcome("permit-h-1-1-2", b'{"outcome":"unknown"}', b"m")
        assert await world.alone.recover(["permit-h-1-1-2", "permit-h-1-1-9"])
        assert [record.permit_id for record in world.records] == ["permit-h-1-1-2"]
        assert await world.alone.recover(["permit-h-1-1-2"])
        assert len(world.records) == 1
        world.breaks()
        world.away()
        await world.tick()
        assert world.permits_used() == ["permit-h-1-1-1"]

    scenario(tmp_path, test)


def test_what_cannot_be_learned_yet_is_asked_again(tmp_path):
    async def test(world):
        async def used(permit):
            raise ExecutorRefused("busy", "under way")

        world.alone._desk.executor.used = used
        assert not await world.alone.recover(["permit-h-1-1-1"])
        assert world.alone.pending
        world.alone._desk.executor.used = world.used_before
        world.ledger["permit-h-1-1-1"] = SealedOutcome("permit-h-1-1-1", b"{}", b"m")
        await world.alone.hand_on()
        assert not world.alone.pending
        assert len(world.kept) == 1

    scenario(tmp_path, test)


def test_an_older_set_or_one_of_another_boot_is_not_taken_and_a_damaged_one_neither(tmp_path):
    async def test(world):
        assert world.alone.take(sealed(permits(version=5)))
        assert not world.alone.take(sealed(permits(version=4)))
        assert world.alone.take(sealed(permits(epoch=2, version=1)))
        assert not world.alone.take(sealed(permits(epoch=3, boot_id="boot-0")))
        assert not world.alone.take(pb.SealedPermits(payload=b"\xff\xfe{}", mac=b""))
        assert not world.alone.take(pb.SealedPermits(payload=b"[]", mac=b""))
        await world.alone.hand_on()
        assert json.loads(world.kept[-1])["epoch"] == 2

    scenario(tmp_path, test)


def test_a_new_process_finds_the_set_again_unless_the_host_booted_or_the_file_is_damaged(tmp_path):
    async def test(world):
        again = world.fresh()
        assert again.armed
        (tmp_path / PERMITS_FILE).write_text("{")
        (tmp_path / STATE_FILE).write_text("[]")
        assert not world.fresh().armed
        assert world.alone.take(sealed(permits(version=9)))
        text = (tmp_path / PERMITS_FILE).read_text()
        (tmp_path / PERMITS_FILE).write_text(text.replace("boot-1", "boot-0"))
        assert not world.fresh().armed

    scenario(tmp_path, test)


def test_an_order_waits_for_the_action_and_on_the_same_target_for_its_proof(tmp_path):
    async def test(world):
        world.cures = False
        world.breaks()
        world.breaks("http_endpoint", "")
        world.away()
        await world.alone.settled("unit_failed", UNIT)
        world.alone.tick()
        while not world.used:
            await asyncio.sleep(0)
        other = asyncio.create_task(world.alone.settled("disk", "/"))
        same = asyncio.create_task(world.alone.settled("http_endpoint", ""))
        await other
        assert not same.done()
        await world.settle()
        await same

    scenario(tmp_path, test)


def test_it_lets_go_when_the_agent_ends(tmp_path):
    async def test(world):
        world.breaks()
        world.away()
        world.alone.tick()
        await asyncio.sleep(0)
        await world.alone.stop()
        assert world.alone._task is None or world.alone._task.done()

    scenario(tmp_path, test)
