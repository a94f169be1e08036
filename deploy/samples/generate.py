"""Makes history.jsonl.gz: three weeks of an imaginary fleet, as the controller would have recorded them.

240 hosts, most of them quiet; units that die and come back with a restart, one that does not, one that flaps, disks that fill,
a storm of one rack, a lost host, a pause and a window. `python -m deploy.samples.generate --write` writes the file; without the
flag it compares: exit code 1 when the file is not what rules and core give now.
"""

from __future__ import annotations

import gzip
import hashlib
import random
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from fleetmend_controller.backtest.history import USED, Decided, History, lines, write_file
from fleetmend_controller.backtest.record import Act, Episode, Input, target_of
from fleetmend_controller.backtest.replay import Replay
from fleetmend_controller.backtest.run import NEVER_OLD_MS
from fleetmend_controller.backtest.world import World
from fleetmend_controller.core.effects import ActionEnded, Closed, Escalated, SendOrder, Step
from fleetmend_controller.core.events import (
    Event,
    HostConnected,
    HostEnrolled,
    HostSilent,
    Observed,
    Paused,
    PersonSeen,
    PolicyLoaded,
    Resumed,
    TrustRestored,
    WindowAdded,
)
from fleetmend_controller.core.model import Fleet, Outcome, Scalar, Status, Window
from fleetmend_controller.playbooks.load import compile_rules, read_documents

HERE = Path(__file__).parent
FILE = HERE / "history.jsonl.gz"
SEED = 7
BEGIN_MS = 1_767_571_200_000  # 2026-01-05T00:00:00Z, a Monday
MINUTE_MS, HOUR_MS, DAY_MS = 60_000, 3_600_000, 86_400_000
DAYS = 21
ROLES = {"web": (120, "shop.service"), "store": (60, "store.service"), "queue": (60, "queue.service")}
BOOTED_MS = 40 * DAY_MS
RESTART_MS = 900


@dataclass(slots=True)
class _Fleet:
    """The imaginary fleet: who is in it, and what happens to it by itself."""

    rng: random.Random
    hosts: dict[str, dict[str, str]] = field(default_factory=dict)
    inputs: list[Input] = field(default_factory=list)
    episodes: list[Episode] = field(default_factory=list)
    busy_until_ms: dict[str, int] = field(default_factory=dict)

    def add(self, at_ms: int, event: Event, episode: Episode | None = None) -> None:
        """Something that happens."""
        self.inputs.append(Input(at_ms, event, episode))

    def fault(self, host: str, at_ms: int, last_ms: int, restarts: bool = False, full: bool = False) -> None:
        """One fault, until a person or time ends it, or a restart if that helps. Faults of one host do not overlap."""
        if at_ms < self.busy_until_ms.get(host, 0):
            return
        self.busy_until_ms[host] = at_ms + last_ms + 2 * HOUR_MS
        unit = ROLES[self.hosts[host]["role"]][1]
        seen = _disk(host, at_ms) if full else _unit(host, unit, at_ms)
        episode = Episode(target_of(seen.host, seen.check, seen.key, seen.finding), at_ms, at_ms + last_ms)
        action = "clear_directory" if full else "restart_unit"
        act = Act(action, at_ms, at_ms + RESTART_MS, Outcome.DONE, healed=restarts)
        episode.acts.append(act)
        if restarts:
            # After a restart that helps, the unit needs some seconds to answer.
            episode.to_ms = at_ms + RESTART_MS + self.rng.randint(1_000, 6_000)
        self.episodes.append(episode)
        self.add(at_ms, seen, episode)
        end_ms = at_ms + last_ms
        well = replace(seen, at_ms=end_ms, status=Status.OK, summary=f"{seen.key} is well", clock_ms=_clock(end_ms))
        self.add(end_ms, replace(well, sampled_clock_ms=_clock(end_ms)), episode)


def _clock(at_ms: int) -> int:
    return at_ms - BEGIN_MS + BOOTED_MS


def _observed(host: str, check: str, kind: str, key: str, finding: dict[str, Scalar], text: str, at_ms: int) -> Observed:
    clock = _clock(at_ms)
    return Observed(at_ms, host, check, kind, key, Status.CRIT, finding, text, f"{host}-boot-1", clock, clock)


def _unit(host: str, unit: str, at_ms: int) -> Observed:
    finding: dict[str, Scalar] = {"unit": unit, "result": "exit-code", "state": "failed"}
    return _observed(host, "failed-units", "unit_failed", unit, finding, f"{unit} failed: exit-code", at_ms)


def _disk(host: str, at_ms: int) -> Observed:
    finding: dict[str, Scalar] = {"mount": "/srv/data", "used_percent": 93.5}
    return _observed(host, "data-space", "filesystem_space", "/srv/data", finding, "/srv/data is 93.5 % full", at_ms)


def _enrolled(fleet: _Fleet) -> list[Event]:
    events: list[Event] = []
    for role, (count, _) in ROLES.items():
        for number in range(count):
            name = f"{role}-{number + 1:03d}"
            host = "h-" + hashlib.sha256(name.encode()).hexdigest()[:16]
            fleet.hosts[host] = {"role": role, "rack": f"r{number % 8 + 1}"}
            events.append(HostEnrolled(BEGIN_MS, host, name, fleet.hosts[host]))
            events.append(HostConnected(BEGIN_MS, host, f"{host}-boot-1", _clock(BEGIN_MS)))
    return events


def _troubles(fleet: _Fleet) -> None:
    """What goes wrong in three weeks."""
    rng = fleet.rng
    ids = list(fleet.hosts)
    loop, flapper, lost, paused = ids[5], ids[33], ids[150], ids[200]
    lively = [host for host in ids[:200:3] if host not in (loop, flapper, lost, paused)]
    for _ in range(180):
        host, at_ms = rng.choice(lively), BEGIN_MS + rng.randint(HOUR_MS, (DAYS - 1) * DAY_MS)
        fleet.fault(host, at_ms, rng.randint(30, 180) * MINUTE_MS, restarts=rng.random() < 0.9)
    for _ in range(25):
        # Blips that are over before anybody looks.
        fleet.fault(rng.choice(lively), BEGIN_MS + rng.randint(HOUR_MS, (DAYS - 1) * DAY_MS), rng.randint(1_000, 8_000))
    for day in (2, 9, 16):
        fleet.fault(loop, BEGIN_MS + day * DAY_MS + 3 * HOUR_MS, 5 * HOUR_MS)
        _flaps(fleet, flapper, BEGIN_MS + (day + 1) * DAY_MS + 14 * HOUR_MS)
    for host in ids[121:181:12]:
        fleet.fault(host, BEGIN_MS + rng.randint(DAY_MS, 18 * DAY_MS), rng.randint(60, 300) * MINUTE_MS, full=True)
    _storm(fleet, BEGIN_MS + 11 * DAY_MS + 10 * HOUR_MS)
    _people(fleet, paused, lost)
    for day in range(1, DAYS):
        # Somebody looks each morning at what was demoted.
        at_ms = BEGIN_MS + day * DAY_MS + 9 * HOUR_MS
        fleet.add(at_ms, TrustRestored(at_ms, "restart-unit", "ann"))


def _flaps(fleet: _Fleet, host: str, at_ms: int) -> None:
    for number in range(20):
        fleet.busy_until_ms.pop(host, None)
        fleet.fault(host, at_ms + number * 70_000, 12_000)


def _storm(fleet: _Fleet, at_ms: int) -> None:
    """A rack's switch fails: most of what stands there fails with it, until it is exchanged."""
    for host, labels in fleet.hosts.items():
        if labels["rack"] == "r3" and labels["role"] == "web":
            fleet.busy_until_ms.pop(host, None)
            fleet.fault(host, at_ms + fleet.rng.randint(0, 20_000), 40 * MINUTE_MS)


def _people(fleet: _Fleet, paused: str, lost: str) -> None:
    at_ms = BEGIN_MS + 6 * DAY_MS
    fleet.add(at_ms, Paused(at_ms, f"host:{paused}", "ann", "disk exchange", at_ms + 4 * HOUR_MS))
    fleet.fault(paused, at_ms + HOUR_MS, 30 * MINUTE_MS)
    fleet.add(at_ms + 2 * HOUR_MS, Resumed(at_ms + 2 * HOUR_MS, f"host:{paused}", "ann"))
    window_ms = BEGIN_MS + 13 * DAY_MS
    window = Window("w-1", (("role", ("queue",)),), (), window_ms, window_ms + 2 * HOUR_MS, "", "ben", "upgrade of the queue")
    fleet.add(window_ms - HOUR_MS, WindowAdded(window_ms - HOUR_MS, window))
    queue = next(host for host, labels in reversed(fleet.hosts.items()) if labels["role"] == "queue")
    fleet.fault(queue, window_ms + 20 * MINUTE_MS, 3 * HOUR_MS, restarts=True)
    seen_ms = BEGIN_MS + 15 * DAY_MS
    fleet.add(seen_ms, PersonSeen(seen_ms, paused, "login of ann", seen_ms + HOUR_MS))
    gone_ms = BEGIN_MS + 17 * DAY_MS
    fleet.add(gone_ms, HostSilent(gone_ms, lost, 30_000))
    back_ms = gone_ms + 50 * MINUTE_MS
    fleet.add(back_ms, HostConnected(back_ms, lost, f"{lost}-boot-2", 60_000))


def generate() -> History:
    """The whole history; the same each time."""
    fleet = _Fleet(random.Random(SEED))  # noqa: S311 - a story, not a secret
    before = _enrolled(fleet)
    _troubles(fleet)
    documents = read_documents([HERE / "rules"])
    rules = compile_rules(documents)
    before.append(PolicyLoaded(BEGIN_MS, rules.digest, "ann"))
    history = History(BEGIN_MS, BEGIN_MS + DAYS * DAY_MS, before, policies={rules.digest: documents})

    def watch(event: Event, step: Step, _fleet: Fleet) -> None:
        if event.at_ms > BEGIN_MS and isinstance(event, USED):
            history.events.append(event)
        history.decided += _decisions(event.at_ms, step)

    policy = replace(rules.policy, evidence_max_age_ms=NEVER_OLD_MS)
    replay = Replay(lambda _digest: policy, World({}), watch)
    replay.prepare(before)
    replay.run(sorted(fleet.inputs, key=lambda item: item.at_ms), history.to_ms)
    return history


def _decisions(at_ms: int, step: Step) -> Iterator[Decided]:
    kinds = (SendOrder, ActionEnded, Closed, Escalated)
    return (Decided(at_ms, effect) for effect in step.effects if isinstance(effect, kinds))


def main(arguments: list[str]) -> int:
    """Write or compare."""
    history = generate()
    if "--write" in arguments:
        count = write_file(history, FILE)
        print(f"{FILE}: {count} lines, {FILE.stat().st_size} bytes")
        return 0
    same = gzip.decompress(FILE.read_bytes()) == b"".join(lines(history))
    if not same:
        print(f"{FILE} differs from what it is made of; run python -m deploy.samples.generate --write", file=sys.stderr)
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
