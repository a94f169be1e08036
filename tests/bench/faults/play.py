"""One fault on one host, by the catalogue's protocol: inject, let the product work, score, repair as a person, close."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from fleetmend.catalogue import load_catalogue
from fleetmend_controller.rules import RuleSet

from . import causes
from .catalogue import Fault
from .score import Seen
from .world import World, WorldError

EVERY_S = 1.0
CLOSE_S = 60.0
HEALED = ("healed", "healed_alone")
CALM_S = 90.0
CLEAR = "rm -rf ${BENCH_ROOT:?}/*"
STEADY_S = 3.0
HARMLESS = frozenset(name for name, spec in load_catalogue().actions.items() if spec.cost == "harmless")


@dataclass(frozen=True)
class Pace:
    """What is known of a check beforehand: its type, its interval, and whether an event makes it run."""

    type: str
    every_s: float
    event: bool


def paces(rules: RuleSet) -> dict[str, Pace]:
    """Every check of a set of rules, by name."""
    specs = [check.spec for check in rules.checks] + [spec for d in rules.declarations for spec in d.checks]
    known = load_catalogue().checks
    return {spec.name: Pace(spec.type, spec.every_ms / 1000, bool(known[spec.type].signal)) for spec in specs}


@dataclass
class Watch:
    """What is known so far of the fault under way. Times are seconds since the injection."""

    injected: float
    injected_ms: float
    incidents: list[dict[str, Any]] = field(default_factory=list)
    healthy_since: float | None = None

    def since_s(self) -> float:
        """How long ago it was injected."""
        return time.monotonic() - self.injected


@dataclass(frozen=True)
class Player:
    """Plays faults on one host of the world."""

    world: World
    host: str
    paces: Mapping[str, Pace]
    say: Callable[[str], None]

    def play(self, fault: Fault) -> Seen:
        """The whole protocol. What the benchmark itself cannot do becomes the problem of the record, never a pass."""
        seen = Seen(fault.id, fault.cls, fault.expect, fault.injectable)
        try:
            self._ready(fault)
            seen = self._played(fault, seen)
        except (WorldError, OSError, RuntimeError) as error:
            seen = replace(seen, problem=" ".join(str(error).split())[:300])
        return replace(seen, **self._put_right(fault))

    def _ready(self, fault: Fault) -> None:
        del fault
        self.world.anew(self.host)
        self.world.wait(lambda: self.world.world_ok(self.host), f"the world of {self.host} before a fault", CALM_S)
        self.world.wait(lambda: not self._open(0), f"{self.host} to have no open incident", CALM_S)

    def _played(self, fault: Fault, seen: Seen) -> Seen:
        before = self._newest()
        self._snippet("stamp")
        watch = Watch(time.monotonic(), time.time() * 1000)
        injected = self._snippet(fault.inject)
        time.sleep(fault.settle_s)
        if fault.selftest and self._snippet(fault.selftest).returncode != 0:
            return replace(seen, problem=f"its selftest fails: {injected.stderr.strip()[-200:]}")
        self._watch(fault, watch, before)
        guard_ok = not fault.guard or self._snippet(fault.guard).returncode == 0
        stories = [self.world.story(incident["id"]) for incident in watch.incidents]
        for story in stories:
            story["check_type"] = self._type(story["incident"]["check"])
        seen = self._noted(fault, replace(seen, guard_ok=guard_ok), watch, stories)
        return self._ended(fault, seen, before)

    def _watch(self, fault: Fault, watch: Watch, before: int) -> None:
        """Looks each second until the budget is over, or until there is nothing more to wait for."""
        deadline = watch.injected + fault.settle_s + fault.budget_s
        while True:
            healthy = bool(fault.check) and self._snippet(fault.check).returncode == 0
            watch.healthy_since = (watch.healthy_since or watch.since_s()) if healthy else None
            watch.incidents = self._open(before, closed=True)
            if time.monotonic() > deadline or self._settled(fault, watch):
                return
            time.sleep(EVERY_S)

    def _settled(self, fault: Fault, watch: Watch) -> bool:
        if fault.expect == "hold":
            return False
        phases = [incident["phase"] for incident in watch.incidents]
        over = bool(phases) and all(phase in ("resolved", "escalated") for phase in phases)
        told = any(i["phase"] == "escalated" and causes.speaks_of(fault.cls, self._type(i["check"])) for i in watch.incidents)
        if fault.expect == "escalate":
            return told
        if not fault.check:
            return over and any(incident["why"] in HEALED for incident in watch.incidents)
        healthy_for = watch.since_s() - watch.healthy_since if watch.healthy_since is not None else 0.0
        healed = healthy_for >= STEADY_S and over and all(phase == "resolved" for phase in phases)
        return healed or (fault.expect == "heal_or_escalate" and told and over)

    def _noted(self, fault: Fault, seen: Seen, watch: Watch, stories: list[dict[str, Any]]) -> Seen:
        fitting = [story for story in stories if causes.speaks_of(fault.cls, story["check_type"])] or stories
        first = min(fitting, key=lambda story: story["incident"]["opened_ms"], default=None)
        orders = [attempt for story in stories for attempt in story["attempts"] if attempt["action"] not in HARMLESS]
        pace = self.paces.get(first["incident"]["check"]) if first else None
        return replace(
            seen,
            seen_s=round((first["incident"]["opened_ms"] - watch.injected_ms) / 1000, 2) if first else None,
            seen_by=first["incident"]["check"] if first else "",
            event=pace.event if pace else False,
            every_s=pace.every_s if pace else 0.0,
            actions=tuple(f"{attempt['action']}:{attempt['outcome']}" for attempt in orders),
            check_ok=watch.healthy_since is not None,
            healed_s=round(watch.healthy_since, 2) if watch.healthy_since is not None else None,
            proved=any(story["incident"]["why"] in HEALED for story in stories),
            escalated=any(story["incident"]["phase"] == "escalated" for story in stories),
            cause_reported=causes.told(fault.cls, stories),
            incidents=tuple(_line(story["incident"]) for story in stories),
        )

    def _ended(self, fault: Fault, seen: Seen, before: int) -> Seen:
        """Whether everything ends by itself, once a person has repaired what the product handed over.

        What is simulated may be mended in part only (a disk that passes, with bad sectors): then it ends with its fixtures.
        """
        if fault.expect == "hold":
            return seen
        if not seen.check_ok or seen.escalated or not fault.injectable:
            self._snippet(fault.undo)
        if self._all_closed(before):
            return replace(seen, closed=True)
        if fault.injectable:
            return replace(seen, closed=False)
        left = ", ".join(sorted({incident["check"] for incident in self._open(before)}))
        self._snippet(CLEAR)
        return replace(
            seen, closed=self._all_closed(before), note=f"its restore leaves {left} bad; over when its fixtures were gone"
        )

    def _all_closed(self, before: int) -> bool:
        try:
            self.world.wait(lambda: not self._open(before), "the incidents to close", self._close_s())
        except WorldError:
            return False
        return True

    def _close_s(self) -> float:
        return CLOSE_S

    def _put_right(self, fault: Fault) -> dict[str, Any]:
        """Leaves the host as the world wants it, whatever happened."""
        try:
            for text in (fault.undo, fault.cleanup, CLEAR):
                if text:
                    self._snippet(text)
            self.world.wait(lambda: self.world.world_ok(self.host), "the world to be well again", CALM_S)
        except (WorldError, OSError, RuntimeError) as error:
            self.say(f"{self.host}: {fault.id}: {error}")
            return {"world_ok": False}
        return {}

    def _snippet(self, text: str) -> Any:
        return self.world.snippet(self.host, text)

    def _newest(self) -> int:
        return max((int(i["id"].removeprefix("inc-")) for i in self._incidents()), default=0)

    def _incidents(self) -> list[dict[str, Any]]:
        return self.world.incidents(self.host)

    def _open(self, before: int, *, closed: bool = False) -> list[dict[str, Any]]:
        return [
            incident
            for incident in self._incidents()
            if int(incident["id"].removeprefix("inc-")) > before and (closed or incident["phase"] != "resolved")
        ]

    def _type(self, check: str) -> str:
        pace = self.paces.get(check)
        return pace.type if pace else check


def _line(incident: dict[str, Any]) -> str:
    return f"{incident['id']} {incident['check']} {incident['phase']} ({incident['why']}): {incident['summary'][:120]}"
