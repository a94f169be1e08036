"""From fault to answer: the whole safe round trip of Fleetmend on a lab host, its rivals on the host beside it, in one run."""

from __future__ import annotations

import json
import os
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.conftest import unable
from tests.lab.fleet import Fleet, wait

STATE = Path("/var/lib/fleetmend-lab-bench")
HERE = Path(__file__).parent
OURS, THEIRS, IDLE = "web-1", "web-2", "web-3"
KILLS = 30
HANGS = 12
TOGETHER = [f"shop@{port}.service:{port}" for port in range(8081, 8089)]
PAUSE_S = 1.5
SETTLE_S = 20.0
RIVALS_AT_REST = ("prometheus-node-exporter", "zabbix-agent2")
SERIES_TIMEOUT_S = 600.0

RIVAL_UNIT = """[Unit]
StartLimitIntervalSec=0
[Service]
ExecStart=/usr/bin/python3 -S /usr/local/lib/shop/shop.py {port}
DynamicUser=yes
{restart}
"""
MONIT = """set daemon 1
set log /var/log/monit.log
check process rival matching "shop.py 8092"
  start program = "/bin/systemctl restart rival-monit.service"
  stop program = "/bin/systemctl stop rival-monit.service"
  if failed host 127.0.0.1 port 8092 protocol http request "/healthz" with timeout 1 seconds then restart
"""
AT_REST = """
pid=$(systemctl show -P MainPID $0)
ticks() { awk '{print $14 + $15}' /proc/$pid/stat; }
before=$(ticks); sleep 60; after=$(ticks)
awk -v ticks=$((after - before)) '/^Pss:/ {printf "%.1f %.2f", $2 / 1024, ticks / 100}' /proc/$pid/smaps_rollup
"""


@pytest.fixture(scope="module")
def fleet() -> Iterator[Fleet]:
    reason = unable()
    if reason:
        pytest.skip(reason)
    bench = Fleet(STATE, (OURS, THEIRS, IDLE))
    bench.must("down")
    packages = [word for name in ("monit", *RIVALS_AT_REST) for word in ("--package", name)]
    bench.must("up", "--hosts", "3", *packages, "--rules", str(HERE / "rules"), timeout_s=900)
    bench.run(THEIRS, "systemctl", "stop", "fleetmend-agent.service")
    for word in TOGETHER:
        bench.run(OURS, "systemctl", "start", word.rpartition(":")[0])
    bench.run("ctl", "fleetmend", "hosts", "label", OURS, "bench=ours")
    wait(lambda: not bench.incidents(OURS), "a calm host", timeout_s=60)
    yield bench
    bench.must("down")


def series(
    fleet: Fleet, host: str, kind: str, count: int, *services: str, cold: bool = False, pause_s: float = PAUSE_S
) -> list[float]:
    """Seconds until each of `count` times `services` answered again."""
    prober = (HERE / "inside" / "prober.py").read_text()
    words = ["exec", host, "--", "python3", "-", kind, str(count), str(pause_s), "1" if cold else "0", *services]
    done = fleet.lab(*words, text_in=prober, timeout_s=SERIES_TIMEOUT_S)
    assert done.returncode == 0, done.stderr
    found: list[float] = json.loads(done.stdout)
    assert len(found) == count * len(services)
    return found


def row(name: str, times_s: list[float], goal: str = "") -> str:
    ordered = sorted(times_s)
    p95 = ordered[min(len(ordered) - 1, round(0.95 * len(ordered)))]
    numbers = (statistics.median(ordered), p95, ordered[0], ordered[-1])
    return f"{name:<40} {len(ordered):>4} {' '.join(f'{number:>8.3f}' for number in numbers)}  {goal}"


def install_unit(fleet: Fleet, name: str, text: str) -> None:
    fleet.lab("exec", THEIRS, "--", "sh", "-c", f"cat > /etc/systemd/system/{name}", text_in=text)
    fleet.run(THEIRS, "systemctl", "daemon-reload")
    fleet.run(THEIRS, "systemctl", "start", name)


def rival_systemd(fleet: Fleet) -> list[float]:
    install_unit(fleet, "rival-systemd.service", RIVAL_UNIT.format(port=8091, restart="Restart=always"))
    return series(fleet, THEIRS, "kill", KILLS, "rival-systemd.service:8091")


def rival_watcher(fleet: Fleet) -> list[float]:
    install_unit(fleet, "rival-watched.service", RIVAL_UNIT.format(port=8093, restart=""))
    path = "/org/freedesktop/systemd1/unit/rival_2dwatched_2eservice"
    fleet.lab("exec", THEIRS, "--", "sh", "-c", "cat > /root/watcher.py", text_in=(HERE / "inside" / "watcher.py").read_text())
    python = ["/opt/fleetmend/venv/bin/python", "/root/watcher.py", "rival-watched.service", path]
    fleet.run(THEIRS, "systemd-run", "--quiet", "--unit=rival-watcher", *python)
    wait(lambda: "ready" in fleet.run(THEIRS, "journalctl", "-u", "rival-watcher", "-o", "cat"), "the watcher to listen")
    return series(fleet, THEIRS, "kill", KILLS, "rival-watched.service:8093")


def rival_monit(fleet: Fleet) -> tuple[list[float], list[float]]:
    install_unit(fleet, "rival-monit.service", RIVAL_UNIT.format(port=8092, restart=""))
    fleet.lab("exec", THEIRS, "--", "sh", "-c", "umask 077; cat > /etc/monit/monitrc", text_in=MONIT)
    fleet.run(THEIRS, "systemctl", "restart", "monit.service")
    killed = series(fleet, THEIRS, "kill", 15, "rival-monit.service:8092", pause_s=3.0)
    # Monit leaves a service alone for half a minute after it started it.
    hung = series(fleet, THEIRS, "hang", 3, "rival-monit.service:8092", pause_s=36.0)
    return killed, hung


def test_heal_latency_and_cost_beside_rivals(fleet: Fleet):
    incidents_before = fleet.newest()
    warm = series(fleet, OURS, "kill", KILLS, "shop.service:8080")
    kills = [i for i in fleet.since(incidents_before, OURS) if i["why"] == "healed"]
    cold = series(fleet, OURS, "kill", KILLS, "shop.service:8080", cold=True)
    hung = series(fleet, OURS, "hang", HANGS, "shop.service:8080")
    together = series(fleet, OURS, "hang", 3, *TOGETHER, pause_s=3.0)
    systemd, floor = rival_systemd(fleet), rival_watcher(fleet)
    monit_killed, monit_hung = rival_monit(fleet)
    print(f"\n\nload average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores; rivals on the same machine in the same run")
    print("seconds until it answers again" + " " * 14 + "   n   median      p95      min      max  goal")
    print(row("Fleetmend, killed, executor warm", warm, "median 0.15, p95 0.5"))
    print(row("Fleetmend, killed, executor cold", cold, "median 0.25, p95 0.5"))
    print(row("systemd Restart=always", systemd))
    print(row("Monit, 1 s cycle, killed", monit_killed))
    print(row("bare D-Bus watcher (the floor)", floor))
    print(row("Fleetmend, hung, health every 1 s", hung, "median 1.5"))
    print(row("Fleetmend, eight hung together", together, "median 1.5"))
    print(row("Monit, 1 s cycle, hung", monit_hung))
    for name, rival, own in (
        ("Restart=always", systemd, warm),
        ("Monit", monit_killed, warm),
        ("Monit, hung", monit_hung, hung),
    ):
        print(f"{name} takes {statistics.median(rival) / statistics.median(own):.1f} times as long")
    assert len(kills) == KILLS, f"{KILLS} crashes became {len(kills)} healed incidents"
    assert max(warm + cold + hung + together) < float("inf"), "a fault was not healed"


def at_rest(fleet: Fleet, name: str, host: str, unit: str, goal: str = "") -> None:
    """Prints what one unit's main process takes in a minute."""
    pss_mib, cpu_s = fleet.run(host, "bash", "-euc", AT_REST, unit, timeout_s=90).split()
    print(f"{name:<40} {pss_mib:>8} {cpu_s:>8}   {goal}")
    assert float(pss_mib) > 0


def test_cost_at_rest_beside_rivals(fleet: Fleet):
    """Three hosts under the shipped checks, nothing going on. The rivals run on a host of their own: nothing is shared."""
    for word in TOGETHER:
        fleet.run(OURS, "systemctl", "stop", word.rpartition(":")[0])
    fleet.shell(
        "ctl",
        "rm -r /etc/fleetmend/rules; mkdir /etc/fleetmend/rules; cp -r /mnt/fleetmend/deploy/checks /etc/fleetmend/rules/",
    )
    fleet.run("ctl", "systemctl", "reload", "fleetmend-controller.service")
    fleet.run(THEIRS, "systemctl", "start", "fleetmend-agent.service")
    fleet.rest(90, "at the end")
    time.sleep(SETTLE_S)
    print("\n\nat rest, one minute                       PSS MiB    CPU s   goal")
    at_rest(fleet, "Fleetmend agent, shipped checks", IDLE, "fleetmend-agent.service", "36 MiB, 0.1 s")
    at_rest(fleet, "Fleetmend controller, 3 hosts", "ctl", "fleetmend-controller.service", "140 MiB, 0.5 s")
    fleet.run(THEIRS, "systemctl", "stop", "fleetmend-agent.service")
    for name in RIVALS_AT_REST:
        fleet.run(THEIRS, "systemctl", "start", f"{name}.service")
        time.sleep(SETTLE_S)
        at_rest(fleet, name, THEIRS, f"{name}.service")
    assert fleet.tries(IDLE, "systemctl", "is-active", "fleetmend-executor.service").stdout.strip() == "inactive"
