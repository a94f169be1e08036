"""`make bench-rivals`: the same faults on hosts that Monit watches, with the best configuration that its language allows.

Monit gets what the declare block says as far as it can be told: processes and their memory, health by HTTP and TCP, mounts and
their space, owner and mode of files, drift from the golden tree, the link, jobs by the age of their results; with the standard
remedy for each as its `exec`. It looks each second. What has no counterpart in Monit (routes, packages, many hosts at once) is
left out, not counted against it. Seen is when its log says so; healed and harmed are said by the same independent snippets.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from . import adapter, score
from .catalogue import Catalogue, Fault, load
from .score import Seen
from .world import LAB, QUIET, RENAME, WRITABLE, World, WorldError

STATE = Path("/var/lib/fleetmend-lab-rivals")
CYCLE_S = 1
WELL_S = 90.0
WORDS = (score.HEALED, score.ESCALATED, score.HELD, score.MISSED, score.HARMED)
LOG = "/var/log/monit.log"
# Classes that Monit has words for.
CLASSES = (
    "service",
    "process",
    "disk",
    "memory",
    "cpu",
    "fd/limits",
    "network",
    "tls/cert",
    "config/package drift",
    "scheduler/cron",
    "logs",
    "decoy",
)
EVENT = re.compile(r"error\s*: '")


def monitrc(declare: dict[str, Any]) -> str:
    """Monit's configuration for what is declared."""
    lines = [f"set daemon {CYCLE_S}", f"set log {LOG}", "set httpd unixsocket /run/monit.sock allow user:pass"]
    for name, told in declare.get("units", {}).items():
        lines += _unit(name, told)
    for path, told in declare.get("mounts", {}).items():
        lines += _mount(path, told, declare)
    golden = adapter.declaration(declare).get("managed_files", {}).get("golden")
    for path, told in declare.get("ownership", {}).items():
        lines += _ownership(path, told)
    if golden:
        lines += [
            "check program managed_files with path /root/drift.sh",
            "  if status != 0 then exec /root/restore.sh",
        ]
    for name, told in declare.get("jobs", {}).items():
        if "result" in told:
            lines += [
                f"check file {_word(name)}_result with path {told['result']['path']}",
                f'  if timestamp > {told["result"]["max_age_s"]} seconds then exec "/bin/systemctl start {name}"',
            ]
    for path, told in declare.get("live_logs", {}).items():
        lines += [
            f"check file {_word(path)} with path {path}",
            f'  if size > {told["max_bytes"]} B then exec "/bin/systemctl start {told["rotated_by"]}"',
        ]
    if "renew" in declare.get("tls", {}):
        renew = " ".join(adapter.commands(declare)["renew-certificate"])
        host, _, port = declare["tls"]["served_at"].rpartition(":")
        ssl = f"with ssl options {{verify: disable}} and certificate valid > {declare['tls']['min_days']} days"
        lines += [f"check host served_certificate with address {host}", f'  if failed port {port} {ssl} then exec "{renew}"']
    if "network" in declare:
        interface = declare["network"]["interface"]
        lines += [
            f"check network {interface} with interface {interface}",
            f'  if link down then exec "/sbin/ip link set {interface} up"',
        ]
    return "\n".join(lines) + "\n"


def scripts(declare: dict[str, Any]) -> dict[str, str]:
    """What Monit runs that is more than one command: a comparison with the golden tree, and its restoration."""
    golden = declare.get("managed_files", {}).get("golden_tree", "/nonexistent")
    compare = f'cd {golden} && find . -type f | while read -r f; do cmp -s "$f" "/$f" || echo "$f"; done'
    restore = f'{compare} | while read -r f; do cp -p "{golden}/$f" "/$f"; done'
    return {
        "drift.sh": f'#!/bin/bash\n[ -z "$({compare})" ]\n',
        "restore.sh": f"#!/bin/bash\n{restore}; systemctl daemon-reload\n",
    }


def _unit(name: str, told: dict[str, Any]) -> Iterator[str]:
    word, restart = _word(name), str(told.get("restart", ""))
    start = f'"/bin/systemctl restart {name}"' if restart.startswith("allowed") else f'"/bin/systemctl start {name}"'
    yield f'check program {word} with path "/bin/systemctl is-active --quiet {name}"'
    yield f"  if status != 0 then exec {start}"
    health = adapter.declaration({"units": {name: told}})["units"][name].get("health")
    # Whether a logged line can be read is not among what Monit can ask.
    if health and "journal" not in health and restart.startswith("allowed"):
        yield f"check host {word}_health with address 127.0.0.1"
        yield f"  if failed {_failed(health)} for 5 cycles then exec {start}"
    if "heartbeat" in told:
        yield f"check file {word}_heartbeat with path {told['heartbeat']['path']}"
        yield f"  if timestamp > {told['heartbeat']['max_age_s']} seconds for 5 cycles then exec {start}"
    if "memory_max_mb" in told:
        yield f"check process {word}_process matching {_program(told, name)}"
        yield f"  if total memory usage > {told['memory_max_mb']} MB for 5 cycles then exec {start}"


def _failed(health: dict[str, Any]) -> str:
    """A health probe in Monit's words."""
    if "tcp" in health:
        return f"port {health['tcp'].rpartition(':')[2]}"
    scheme, port, path = re.match(r"(https?)://[^:/]+:(\d+)(/\S*)?", health["url"]).groups()  # type: ignore[union-attr]
    tls = " with ssl options {verify: disable}" if scheme == "https" else ""
    return f'port {port}{tls} protocol http request "{path or "/"}" with timeout 1 seconds'


def _mount(path: str, told: dict[str, Any], declare: dict[str, Any]) -> Iterator[str]:
    space = declare.get("space", {})
    disposable = [pattern for pattern in declare.get("disposable", []) if pattern.startswith(path)]
    yield f'check program {_word(told["unit"])} with path "/bin/systemctl is-active --quiet {told["unit"]}"'
    yield f'  if status != 0 then exec "/bin/systemctl start {told["unit"]}"'
    if space:
        what = " ".join(pattern.replace("/**", "/*") for pattern in disposable)
        remedy = f"exec \"/bin/bash -c 'rm -rf {what}'\"" if disposable else "alert"
        yield f"check filesystem {_word(path)} with path {path}"
        yield f"  if space usage > {space['heal_above_percent']}% for 2 cycles then {remedy}"
        yield f"  if inode usage > {space.get('inode_heal_above_percent', 90)}% for 2 cycles then {remedy}"


def _ownership(path: str, told: str) -> Iterator[str]:
    who, mode = told.split()
    owner = who.partition(":")[0]
    yield f"check {'file' if Path(path).suffix else 'directory'} {_word(path)}_mode with path {path}"
    yield f'  if failed permission {mode} then exec "/bin/chmod {mode} {path}"'
    yield f'  if failed uid {owner} then exec "/bin/chown {who} {path}"'


def _program(told: dict[str, Any], name: str) -> str:
    return str(told.get("process") or name.rpartition(".")[0].rpartition("-")[2] + ".py")


def _word(text: str) -> str:
    return re.sub(r"\W+", "_", text).strip("_")


class RivalWorld(World):
    """Hosts with the world and Monit, without Fleetmend."""

    def up(self) -> None:
        """Boots bare hosts, sets the world up, starts Monit."""
        self.lab("down")
        self.lab("up", "--hosts", str(len(self.names)), "--no-product", "--package", "monit", timeout_s=900)
        for name in self.names:
            self.must(name, f"{QUIET}\n{RENAME}; {WRITABLE}")
            self.must(name, self.catalogue.world_setup)
            for script, text in scripts(self.catalogue.declare).items():
                self.run(name, ["sh", "-c", f"cat > /root/{script}; chmod 755 /root/{script}"], text_in=text)
            self.run(name, ["sh", "-c", "umask 077; cat > /etc/monit/monitrc"], text_in=monitrc(self.catalogue.declare))
            self.must(name, "monit -t && systemctl restart monit.service")
            self.wait(lambda name=name: self.world_ok(name), f"the world of {name}", WELL_S)

    def log_lines(self, name: str) -> list[str]:
        """What Monit complained of so far."""
        done = self.run(name, ["cat", LOG])
        return [line for line in done.stdout.splitlines() if EVENT.search(line)]


def play(world: RivalWorld, name: str, fault: Fault) -> Seen:
    """The same protocol, as far as it concerns one host."""
    world.wait(lambda: world.world_ok(name), f"the world of {name} before {fault.id}", WELL_S)
    seen = Seen(fault.id, fault.cls, fault.expect, fault.injectable)
    before = len(world.log_lines(name))
    world.snippet(name, "stamp")
    begun = time.monotonic()
    world.snippet(name, fault.inject)
    time.sleep(fault.settle_s)
    while time.monotonic() - begun < fault.settle_s + fault.budget_s:
        healthy = bool(fault.check) and world.snippet(name, fault.check).returncode == 0
        now = round(time.monotonic() - begun, 2)
        if seen.seen_s is None and len(world.log_lines(name)) > before:
            seen = replace(seen, seen_s=now, seen_by="monit")
        if healthy and fault.expect != "hold":
            seen = replace(seen, check_ok=True, healed_s=now)
            break
        time.sleep(1)
    guard_ok = not fault.guard or world.snippet(name, fault.guard).returncode == 0
    complained = tuple(line.partition("'")[2][:60] for line in world.log_lines(name)[before:][:5])
    # For Monit to tell anybody at all counts as the right word.
    seen = replace(seen, guard_ok=guard_ok, escalated=bool(complained), cause_reported=bool(complained), incidents=complained)
    for text in (fault.undo, fault.cleanup):
        world.snippet(name, text)
    return seen


def play_all(world: RivalWorld, faults: tuple[Fault, ...]) -> list[Seen]:
    """Every fault once, in the order of the catalogue; a world that does not come back is made anew."""
    name, found = world.names[0], []
    for fault in faults:
        try:
            seen = play(world, name, fault)
        except (WorldError, OSError, RuntimeError) as error:
            seen = Seen(fault.id, fault.cls, fault.expect, fault.injectable, problem=" ".join(str(error).split())[:300])
        found.append(seen)
        _say(f"[{len(found)}/{len(faults)}] {fault.id} {'not played' if seen.problem else score.verdict(seen)} {seen.problem}")
        try:
            world.wait(lambda: world.world_ok(name), f"the world of {name} after {fault.id}", WELL_S)
        except (WorldError, OSError, RuntimeError) as error:
            _say(f"{error}; a new one is made")
            world.up()
    return found


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def table(theirs: list[Seen], ours: dict[str, dict[str, Any]]) -> str:
    """Side by side, for people."""
    lines = [
        f"{'fault':<8} {'expect':<17} {'Monit':<10} {'seen':>6} {'healed':>7}   {'Fleetmend':<10} {'seen':>6} {'healed':>7}"
    ]
    for seen in theirs:
        own = ours.get(seen.id, {})
        numbers = [seen.seen_s, seen.healed_s, own.get("seen_s"), own.get("healed_s")]
        shown = [f"{number:.1f}" if number is not None else "-" for number in numbers]
        word = "not played" if seen.problem else score.verdict(seen)
        line = f"{seen.id:<8} {seen.expect:<17} {word:<10} {shown[0]:>6} {shown[1]:>7}   "
        lines.append(line + f"{own.get('verdict', '-'):<10} {shown[2]:>6} {shown[3]:>7}")
    lines.append("")
    both = [seen for seen in theirs if not seen.problem and seen.id in ours]
    lines.append(f"of {len(both)} faults that both played:")
    their_rows = [(score.verdict(seen), score.passes(seen), seen.seen_s, seen.healed_s) for seen in both]
    own_rows = [tuple(ours[seen.id][key] for key in ("verdict", "pass", "seen_s", "healed_s")) for seen in both]
    for title, rows in (("Monit", their_rows), ("Fleetmend", own_rows)):
        counts = [f"{sum(row[0] == word for row in rows)} {word}" for word in WORDS]
        medians = [_median(row[index] for row in rows) for index in (2, 3)]
        passed = sum(bool(row[1]) for row in rows)
        lines.append(f"{title:<10} {passed} as expected; {', '.join(counts)}; median seen {medians[0]}, healed {medians[1]}")
    return "\n".join(lines)


def _median(numbers: Iterable[float | None]) -> str:
    known = [number for number in numbers if number is not None]
    return f"{statistics.median(known):.1f} s" if known else "-"


def main(argv: list[str] | None = None) -> int:
    """Plays, prints side by side with our own results where there are any."""
    parser = argparse.ArgumentParser(prog="bench-rivals", description="The fault catalogue against Monit.")
    parser.add_argument("--faults", type=Path, required=True)
    parser.add_argument("--only", default="")
    parser.add_argument("--ours", type=Path, default=Path("build/bench-faults.json"), help="our results (default %(default)s)")
    parser.add_argument(
        "--out", type=Path, default=Path("build/bench-rivals.json"), help="where to write (default %(default)s)"
    )
    arguments = parser.parse_args(argv)
    whole = load(arguments.faults, tuple(word for word in arguments.only.split(",") if word))
    faults = tuple(fault for fault in whole.faults if fault.injectable and fault.cls in CLASSES)
    catalogue: Catalogue = replace(whole, faults=faults)
    world = RivalWorld(STATE, catalogue, 1, _say)
    try:
        world.up()
        theirs = play_all(world, faults)
    except WorldError as error:
        _say(str(error))
        return 2
    finally:
        subprocess.run([sys.executable, str(LAB), "--state", str(STATE), "down"], check=False, capture_output=True)
    ours = {entry["id"]: entry for entry in json.loads(arguments.ours.read_text())} if arguments.ours.is_file() else {}
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps([score.record(seen) for seen in theirs], indent=1) + "\n")
    print(table(theirs, ours))
    return 0


if __name__ == "__main__":
    sys.exit(main())
