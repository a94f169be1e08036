"""`make demo`: the main job on this very machine. A service is killed, then hung; each time it is seen, healed and proved."""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from . import shop
from .process import DemoError, wait_for
from .shop import Shop
from .world import World

HEAL_TIMEOUT_S = 40.0
BOLD, DIM, GREEN, RED, PLAIN = ("\033[1m", "\033[2m", "\033[32m", "\033[31m", "\033[0m") if sys.stdout.isatty() else ("",) * 5


def say(text: str = "") -> None:
    """One line, at once even into a pipe."""
    print(text, flush=True)


def step(begun: float, text: str) -> None:
    """A step of the preparations with the time since the start."""
    say(f"{DIM}{time.monotonic() - begun:6.1f} s{PLAIN}  {text}")


def break_and_watch(world: World, what: str, fault: Callable[[], None]) -> str:
    """Inject a fault, wait until its incident ended, print the time line; the incident's id."""
    known = {incident["id"] for incident in world.incidents()}
    say(f"\n{BOLD}{what}{PLAIN}")
    fault_ms = time.time_ns() // 1_000_000
    fault()
    print_moment("fault", fault_ms, fault_ms, what)
    found: list[str] = []

    def ended() -> bool:
        found[:] = [i["id"] for i in world.incidents() if i["id"] not in known and i["closed_ms"] is not None]
        return bool(found)

    wait_for("the fault to be healed", ended, HEAL_TIMEOUT_S, world.controller, every_s=0.3)
    print_story(world.cli("incidents", "show", found[0]), fault_ms)
    return found[0]


def print_story(shown: dict[str, Any], fault_ms: int) -> None:
    """Seen, decided, acted, proved, each with its time since the fault."""
    incident, attempts = shown["incident"], shown["attempts"]
    print_moment("seen", fault_ms, incident["opened_ms"], f"{incident['id']}: {incident['summary']}")
    for attempt in attempts:
        print_moment(
            "decided", fault_ms, attempt["ordered_ms"], f"{incident['playbook']}: every gate allows {attempt['action']}"
        )
        if attempt["ended_ms"] is not None:
            detail = attempt["output"].strip() or attempt["detail"]
            print_moment("acted", fault_ms, attempt["ended_ms"], f"{attempt['outcome']}: {detail}")
    healed = incident["phase"] == "resolved" and incident["why"] == "healed"
    colour, word = (GREEN, "proved") if healed else (RED, "ended")
    last = shown["decisions"][-1]["text"] if shown["decisions"] else incident["why"]
    print_moment(f"{colour}{word}{PLAIN}" + " " * (8 - len(word)), fault_ms, incident["closed_ms"], last)
    if not healed:
        raise DemoError(f"cannot call it healed: {incident['id']} ended as {incident['why']}")


def print_moment(word: str, fault_ms: int, at_ms: int, text: str) -> None:
    """One line of the time line."""
    say(f"  {(at_ms - fault_ms) / 1000:+8.3f} s  {word:8}  {text}")


def run(world: World, *, stay: bool) -> None:
    """The whole demo in a world of its own."""
    begun = time.monotonic()
    step(begun, f"everything lives in {world.directory}")
    broken = Shop.in_world(world)
    try:
        shop.start(world, broken)
        facts = world.cli("hosts", "show", shop.HOST)["host"]
        step(begun, f"controller on port {world.link_port}, host {facts['name']} enrolled as {facts['id']} over mutual TLS")
        step(begun, f"the shop answers on {broken.url} and is checked every second")
        incidents = [
            break_and_watch(world, "the shop's process is killed (SIGKILL)", broken.kill),
            break_and_watch(world, "the shop hangs: it lives, accepts connections and never answers", broken.hang),
        ]
        if not broken.answers():
            raise DemoError(f"cannot call it healed: {broken.url} does not answer")
        for incident in incidents:
            say(f"\n{BOLD}$ fleetmend explain {incident}{PLAIN}")
            say(world.cli_text("explain", incident).rstrip())
        finish(world, stay=stay)
    finally:
        # Hosts end first: one that still watches would start the shop again.
        world.stop()
        broken.stop()


def finish(world: World, *, stay: bool) -> None:
    """Say where to look, and wait if asked to."""
    lines = sum(line.startswith("fleetmend_") for line in world.metrics().splitlines())
    say(f"\nThe controller serves {lines} series for Prometheus at {world.metrics_url}.")
    if not stay:
        return
    command = f"{Path(sys.executable).parent / 'fleetmend'} {' '.join(world.cli_options())}"
    say("It stays until Ctrl-C. Look around:")
    for line in (f"{command} status", f"{command} hosts show {shop.HOST}", f"curl {world.metrics_url}"):
        say(f"  {line}")
    say(f"Break it yourself: kill -9 $(cat {world.directory}/shop.pid)")
    with contextlib.suppress(KeyboardInterrupt):
        signal.pause()


def main(arguments: Sequence[str]) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("--stay", action="store_true", help="keep everything running until Ctrl-C")
    given = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGINT))
    try:
        with World() as world:
            run(world, stay=given.stay)
    except DemoError as error:
        say(f"{RED}{error}{PLAIN}")
        return 1
    except KeyboardInterrupt:
        say("stopped")
        return 130
    say("All of it has ended and is removed." + ("" if given.stay else " `make demo STAY=1` keeps it running to look around."))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
