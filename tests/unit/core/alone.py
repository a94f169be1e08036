"""A fleet whose hosts may heal alone, on a time line."""

from __future__ import annotations

from dataclasses import replace

from fleetmend_controller.core.effects import SendPermits, WakeHostAt
from fleetmend_controller.core.events import (
    HostWoken,
    OrderEnded,
    PermitUsed,
)
from fleetmend_controller.core.model import Outcome, Status
from fleetmend_controller.core.policy import Reach
from tests.unit.core.timeline import Timeline, playbook, policy

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
