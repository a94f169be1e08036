"""The controller's clock is set while it runs and while it is down: it doubts what it saw, and heals on fresh evidence only."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.lab.fleet import Fleet, wait
from tests.tools.promises import broken_promises

HOUR_S = 3600
DROP_IN = """[Service]
Environment=LD_PRELOAD=/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1
Environment=FAKETIME_TIMESTAMP_FILE=/run/wrong-time FAKETIME_NO_CACHE=1 FAKETIME_DONT_FAKE_MONOTONIC=1
"""
FOLDER = "/run/systemd/system/fleetmend-controller.service.d"


def set_clock(fleet: Fleet, offset_s: int) -> None:
    """What the controller believes to be the time, from now on. In one step: a half-written file would be another time."""
    fleet.shell(
        "ctl",
        f"echo '{offset_s:+d}' > /run/wrong-time.new; chmod 644 /run/wrong-time.new; mv /run/wrong-time.new /run/wrong-time",
    )


def restart(fleet: Fleet) -> None:
    fleet.run("ctl", "systemctl", "restart", "fleetmend-controller.service")
    fleet.rest(60, "with its controller back")


@pytest.fixture
def wrong_clock(fleet: Fleet) -> Iterator[Fleet]:
    """The fleet with a controller whose wall clock this test sets."""
    set_clock(fleet, 0)
    fleet.shell("ctl", f"mkdir -p {FOLDER}; printf '%s' '{DROP_IN}' > {FOLDER}/clock.conf; systemctl daemon-reload")
    restart(fleet)
    yield fleet
    fleet.shell("ctl", f"rm -r {FOLDER} /run/wrong-time; systemctl daemon-reload")
    restart(fleet)


def doubts(fleet: Fleet, from_seq: int) -> list[str]:
    return [row.body["why"] for row in fleet.journal() if row.seq > from_seq and row.is_event("ObserverDoubted")]


def heals_again(fleet: Fleet, host: str) -> None:
    before = fleet.newest()
    fleet.fault("unit-killed", host)
    wait(lambda: fleet.well("unit-killed", host), "the fault to be healed", timeout_s=60)
    wait(lambda: [i["why"] for i in fleet.since(before, host)] == ["healed"], "its proof", timeout_s=60)


@pytest.mark.parametrize("jump_s", [HOUR_S, -HOUR_S])
def test_a_clock_that_is_set_while_the_controller_runs_is_doubted(wrong_clock: Fleet, jump_s: int):
    fleet = wrong_clock
    first = fleet.journal()[-1].seq
    set_clock(fleet, jump_s)
    wait(lambda: doubts(fleet, first), "the controller to doubt what it saw", timeout_s=30)
    assert any("clock" in why for why in doubts(fleet, first))
    heals_again(fleet, "web-1")
    assert broken_promises(fleet.evidence(first)) == []
    assert [i for i in fleet.incidents(everything=True) if i["check"] == "host_lost" and i["phase"] != "resolved"] == []


def test_a_clock_that_was_set_while_the_controller_was_down_does_not_turn_its_time_back(wrong_clock: Fleet):
    fleet = wrong_clock
    first = fleet.journal()[-1].seq
    set_clock(fleet, HOUR_S)
    restart(fleet)
    heals_again(fleet, "web-2")
    set_clock(fleet, 0)
    restart(fleet)
    heals_again(fleet, "web-2")
    assert broken_promises(fleet.evidence(first)) == []
