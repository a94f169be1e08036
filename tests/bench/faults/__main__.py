"""`make bench-faults`: plays a catalogue of faults on fresh lab hosts, several side by side, and says what became of each.

Run: .venv/bin/python -m tests.bench.faults --faults FILE [--only ID,ID] [--hosts N] [--out build/bench-faults.json]
     .venv/bin/python -m tests.bench.faults --faults FILE --healthy 60m
Exit code 0: every fault went as the catalogue expects, or nothing happened on healthy hosts; 1: not so; 2: cannot be tried.
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import sys
import tempfile
import threading
import time
from pathlib import Path

from fleetmend.catalogue import parse_duration_ms
from fleetmend_controller.playbooks.load import compile_rules, read_documents

from . import adapter, fleet, healthy, score
from .catalogue import Catalogue, CatalogueError, Fault, load
from .play import Player, paces
from .score import Seen
from .world import World, WorldError

STATE = Path("/var/lib/fleetmend-lab-faults")
HOSTS = 3


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def play_all(world: World, faults: tuple[Fault, ...]) -> list[Seen]:
    """Every fault once, on whichever host is free; in the order of the catalogue."""
    with tempfile.TemporaryDirectory() as folder:
        adapter.write_rules(world.catalogue.declare, Path(folder) / "rules")
        rules = compile_rules(read_documents([Path(folder) / "rules"]))
    known = paces(rules)
    found: dict[str, Seen] = {}
    waiting: queue.SimpleQueue[Fault] = queue.SimpleQueue()
    for fault in faults:
        if not fleet.wanted(fault):
            waiting.put(fault)

    def play(player: Player, fault: Fault) -> None:
        begun = time.monotonic()
        found[fault.id] = player.play(fault)
        word = "pass" if score.passes(found[fault.id]) else "FAIL"
        took_s = time.monotonic() - begun
        _say(f"[{len(found)}/{len(faults)}] {player.host} {fault.id} {score.verdict(found[fault.id])} {word} ({took_s:.0f} s)")

    def serve(name: str) -> None:
        player = Player(world, name, known, _say)
        while True:
            try:
                fault = waiting.get_nowait()
            except queue.Empty:
                return
            play(player, fault)

    threads = [threading.Thread(target=serve, args=(name,)) for name in world.names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # Many hosts at once are a load for all, and what the fleet has in common is no matter of one host: those come last, alone.
    for fault in filter(fleet.wanted, faults):
        play(fleet.FleetPlayer(world, world.names[0], known, _say, rules), fault)
    return [found[fault.id] for fault in faults if fault.id in found]


def main(argv: list[str] | None = None) -> int:
    """Boots, plays, prints and writes."""
    parser = argparse.ArgumentParser(prog="bench-faults", description="Plays a catalogue of faults on fresh lab hosts.")
    parser.add_argument("--faults", type=Path, required=True, help="a catalogue of the format fault-catalogue/1")
    parser.add_argument("--only", default="", help="ids of faults, separated by commas (default: all)")
    parser.add_argument("--hosts", type=int, default=HOSTS, help="hosts side by side (default %(default)s)")
    parser.add_argument(
        "--out", type=Path, default=Path("build/bench-faults.json"), help="where to write (default %(default)s)"
    )
    parser.add_argument("--state", type=Path, default=STATE, help="where the lab lives (default %(default)s)")
    parser.add_argument(
        "--healthy", type=_seconds, default=0.0, metavar="DURATION", help="play nothing: watch healthy hosts for so long"
    )
    parser.add_argument("--keep", action="store_true", help="leave the lab for a look")
    arguments = parser.parse_args(argv)
    if os.geteuid() != 0:
        _say("cannot play faults: the lab needs root")
        return 2
    try:
        catalogue = load(arguments.faults, tuple(word for word in arguments.only.split(",") if word))
        return _healthy(catalogue, arguments) if arguments.healthy else _play(catalogue, arguments)
    except (CatalogueError, WorldError) as error:
        _say(str(error))
        return 2


def _seconds(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return parse_duration_ms(text) / 1000


def _healthy(catalogue: Catalogue, arguments: argparse.Namespace) -> int:
    found = healthy.worlds(arguments.state, catalogue, _say)
    try:
        results = healthy.watch_all(found, arguments.healthy, _say)
    finally:
        for world in found.values():
            if not arguments.keep:
                world.down()
    print(healthy.report(results))
    return 0 if all(each.quiet for each in results) else 1


def _play(catalogue: Catalogue, arguments: argparse.Namespace) -> int:
    begun = time.monotonic()
    world = World(arguments.state, catalogue, min(arguments.hosts, len(catalogue.faults)), _say)
    try:
        world.up()
        seen = play_all(world, catalogue.faults)
    finally:
        if not arguments.keep:
            world.down()
    totals = score.totals(seen)
    print(score.table(seen))
    print("\ntotals by class: " + "; ".join(f"{name} {row['passed']}/{row['played']}" for name, row in totals.items()))
    print(f"all: {totals.get('all')}; {score.latencies(seen)}; {(time.monotonic() - begun) / 60:.1f} min")
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    faults = [score.record(entry) for entry in seen]
    arguments.out.write_text(json.dumps(faults, indent=1) + "\n")
    totals_path = arguments.out.with_name(arguments.out.stem + "-totals.json")
    totals_path.write_text(json.dumps({"totals": totals, **score.latencies(seen)}, indent=1) + "\n")
    return 0 if len(seen) == len(catalogue.faults) and all(score.passes(entry) for entry in seen) else 1


if __name__ == "__main__":
    sys.exit(main())
