"""The agent under systemd on a real host: what it waits for, what ends it when it hangs, how its certificate is renewed."""

from __future__ import annotations

from tests.lab.fleet import Fleet, wait

HOST = "web-2"
UNIT = "fleetmend-agent.service"
# What the agent's process has open, as root sees it.
OPEN_FILES = "ls -l /proc/$(systemctl show -P MainPID fleetmend-agent.service)/fd"
# Moves the beginning of the certificate's life back by one life: its half is over, its end is not.
PAST_ITS_HALF = """
import json
path = "/var/lib/fleetmend-agent/identity.json"
told = json.load(open(path))
told["not_before_ms"] -= 2 * (told["not_after_ms"] - told["not_before_ms"])
open(path, "w").write(json.dumps(told))
"""


def pid(fleet: Fleet) -> str:
    return fleet.run(HOST, "systemctl", "show", "-P", "MainPID", UNIT).strip()


def test_the_agent_waits_for_pressure_by_a_trigger_of_the_kernel(fleet: Fleet):
    assert "/proc/pressure/memory" in fleet.shell(HOST, OPEN_FILES)


def test_an_agent_that_hangs_is_ended_by_the_watchdog_and_comes_back(fleet: Fleet):
    before = pid(fleet)
    fleet.run(HOST, "systemctl", "kill", "--signal=STOP", UNIT)
    wait(lambda: pid(fleet) not in (before, "0"), "systemd to start another agent", timeout_s=150, every_s=2.0)
    fleet.rest(90, "again")


def test_a_certificate_past_its_half_is_renewed_without_a_break(fleet: Fleet):
    before = fleet.newest()
    old = fleet.run(HOST, "sha256sum", "/var/lib/fleetmend-agent/agent.crt")
    fleet.run(HOST, "systemctl", "stop", UNIT)
    fleet.run(HOST, "python3", "-c", PAST_ITS_HALF)
    fleet.run(HOST, "systemctl", "start", UNIT)
    wait(lambda: fleet.run(HOST, "sha256sum", "/var/lib/fleetmend-agent/agent.crt") != old, "a new certificate", timeout_s=60)
    wait(lambda: fleet.host_state(HOST) == "up", "the stream on the new certificate", timeout_s=30)
    assert [i for i in fleet.since(before, HOST) if i["check"] == "host_lost"] == []
    fleet.fault("unit-killed", HOST)
    wait(lambda: fleet.well("unit-killed", HOST), "a fault to be healed over the new stream", timeout_s=40)
