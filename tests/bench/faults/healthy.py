"""`make bench-healthy`: hosts on which nothing is wrong are watched; every incident and every order is a false alarm.

Two labs, side by side: the catalogue's world with the declaration and the trusted rules of the benchmark, and a fresh host with
the shipped checks and playbooks as they are, of which nobody declared anything.
"""

from __future__ import annotations

import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .catalogue import Catalogue
from .world import AGENT_UNIT, QUIET, REPOSITORY, UP_TIMEOUT_S, World, WorldError

EVERY_S = 30.0
SHIPPED = ("checks", "playbooks")
HOST = "web-1"


@dataclass(frozen=True)
class Watched:
    """What happened on one healthy host, a line each."""

    world: str
    watched_s: float
    incidents: tuple[str, ...]
    actions: tuple[str, ...]
    problem: str = ""

    @property
    def quiet(self) -> bool:
        """Whether it was left alone, as it should be."""
        return not (self.incidents or self.actions or self.problem)


class PlainWorld(World):
    """A fresh host with the shipped checks and playbooks, and nothing declared."""

    def up(self) -> None:
        """Boots it and takes away what the lab puts there to be broken."""
        self.lab("down")
        with tempfile.TemporaryDirectory() as folder:
            for kind in SHIPPED:
                shutil.copytree(REPOSITORY / "deploy" / kind, Path(folder) / kind)
            self.lab("up", "--hosts", str(len(self.names)), "--rules", folder, timeout_s=UP_TIMEOUT_S)
        for name in self.names:
            self.must(name, f"{QUIET}\nsystemctl reset-failed")

    def anew(self, name: str) -> None:
        """The agent starts afresh and sees the host as it is now."""
        self.must(name, f"systemctl restart {AGENT_UNIT}")
        self.wait(lambda: self.connected(name), f"{name} to connect", 60.0)


def worlds(state: Path, catalogue: Catalogue, say: Callable[[str], None]) -> dict[str, World]:
    """Both labs, not yet booted."""
    return {
        "reference": World(state.with_name(f"{state.name}-reference"), catalogue, 1, say),
        "plain": PlainWorld(state.with_name(f"{state.name}-plain"), catalogue, 1, say),
    }


def watch_all(found: dict[str, World], watch_s: float, say: Callable[[str], None]) -> list[Watched]:
    """Boots the labs one after the other, since both may build the same, and watches them side by side."""
    results: dict[str, Watched] = {}

    def watch(title: str, world: World) -> None:
        results[title] = _watched(title, world, watch_s, say)

    threads = []
    for title, world in found.items():
        world.up()
        threads.append(threading.Thread(target=watch, args=(title, world)))
        threads[-1].start()
    for thread in threads:
        thread.join()
    return [results[title] for title in found]


def _watched(title: str, world: World, watch_s: float, say: Callable[[str], None]) -> Watched:
    begun = time.monotonic()
    known: dict[str, dict[str, Any]] = {}
    try:
        world.anew(HOST)
        before = {incident["id"] for incident in world.all_incidents()}
        say(f"{title}: watched for {watch_s:.0f} s")
        begun = time.monotonic()
        while time.monotonic() - begun < watch_s:
            time.sleep(min(EVERY_S, watch_s))
            fresh = [incident for incident in world.all_incidents() if incident["id"] not in before | known.keys()]
            for incident in fresh:
                say(f"{title}: {_line(incident)}")
            known |= {incident["id"]: incident for incident in fresh}
        problem = "" if world.connected(HOST) else "the agent is not connected in the end"
        actions = [attempt for incident_id in known for attempt in world.story(incident_id)["attempts"]]
    except (WorldError, OSError, RuntimeError) as error:
        actions, problem = [], " ".join(str(error).split())[:300]
    orders = tuple(f"{each['order_id']} {each['action']} {each['outcome']}" for each in actions)
    return Watched(title, time.monotonic() - begun, tuple(map(_line, known.values())), orders, problem)


def report(results: Iterable[Watched]) -> str:
    """For people."""
    lines = []
    for each in results:
        lines.append(
            f"{each.world}: {'quiet' if each.quiet else 'FALSE ALARM'}: {len(each.incidents)} incidents, {len(each.actions)}"
            f" actions in {each.watched_s / 60:.1f} min{': ' if each.problem else ''}{each.problem}"
        )
        lines += [f"  {line}" for line in (*each.incidents, *each.actions)]
    return "\n".join(lines)


def _line(incident: dict[str, Any]) -> str:
    return f"{incident['id']} {incident['host_name']} {incident['check']} ({incident['why']}): {incident['summary'][:200]}"
