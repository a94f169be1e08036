"""A unit is asked to end and never killed; a socket is closed, and what it started is asked."""

from __future__ import annotations

import time

import pytest

from fleetmend_executor import stopping
from fleetmend_executor.actions import Refused
from fleetmend_executor.actions.restart_cleanly import ACTION as CLEANLY
from fleetmend_executor.actions.restart_unit import ACTION as RESTART
from fleetmend_executor.actions.stop_unit import ACTION as STOP
from fleetmend_executor.commands import Finished
from fleetmend_executor.effects import UnitGuard, UnitJob
from fleetmend_executor.run import ActionFailed, Run
from fleetmend_executor.stopping import CleanStop

from .world import rules

UNITS = {
    "store.service": {"restart": "clean-only"},
    "hello.socket": {"restart": "clean-only"},
    "srv-data.mount": {"restart": "allowed"},
    "shop.service": {"restart": "never"},
    "idle.service": {"restart": "allowed", "desired": "stopped"},
}
JOURNAL = "systemd-journald.service"
OPEN = "actions: {restart_unit: {}, restart_cleanly: {}, stop_unit: {}}"


class Systemctl(Run):
    """A run whose systemctl knows units by what they answer, one state after the other; the last one stays."""

    def __init__(self, **states):
        super().__init__(time.monotonic() + 100)
        self.states = {name.replace("_", "."): list(told) for name, told in states.items()}
        self.calls: list[tuple[str, ...]] = []

    def argv(self, *argv, timeout_s=None, output_bytes_max=0):
        verb, unit = argv[2], argv[-1]
        if verb == "show":
            told = self.states[unit]
            now = told.pop(0) if len(told) > 1 else told[0]
            return Finished(argv, 0, 1, "".join(f"{name}={value}\n" for name, value in now.items()))
        self.calls.append((verb, *(word for word in argv[3:-2]), unit))
        return Finished(argv, 0, 1, "")


RUNS = {"ActiveState": "active", "MainPID": "42", "ExecStop": "", "KillSignal": "15"}
ENDED = {"ActiveState": "inactive", "MainPID": "0"}


def asked(unit: str) -> list[tuple[str, ...]]:
    return [("kill", "--kill-who=main", f"--signal={signal}", unit) for signal in ("15", "18")]


def test_a_service_is_asked_and_woken_and_has_ended():
    run = Systemctl(store_service=[RUNS, ENDED])
    stopping.perform(CleanStop("store.service"), run)
    assert run.calls == asked("store.service")
    assert run.detail == ["store.service ended when it was asked to"]


def test_one_that_systemd_started_again_by_itself_has_ended():
    run = Systemctl(store_service=[RUNS, RUNS | {"MainPID": "43"}])
    stopping.perform(CleanStop("store.service"), run)
    assert run.calls == asked("store.service")


def test_one_that_does_not_go_stays_and_is_told():
    run = Systemctl(store_service=[RUNS])
    with pytest.raises(ActionFailed, match="is not killed") as caught:
        stopping.perform(CleanStop("store.service", grace_s=0.0), run)
    assert caught.value.reason == "did_not_stop"
    assert run.calls == asked("store.service")


def test_a_dead_unit_is_left_alone():
    run = Systemctl(store_service=[ENDED])
    stopping.perform(CleanStop("store.service"), run)
    assert run.calls == []


@pytest.mark.parametrize("what", [{"ExecStop": "{ path=/bin/x }"}, {"MainPID": "0"}, {"MainPID": "1"}, {"MainPID": ""}])
def test_what_cannot_be_asked_for_sure_is_a_persons(what):
    run = Systemctl(store_service=[RUNS | what])
    with pytest.raises(Refused) as caught:
        stopping.perform(CleanStop("store.service"), run)
    assert (caught.value.reason, run.calls) == ("clean_only", [])


def test_a_closed_socket_whose_service_still_runs_has_it_end():
    socket = {"ActiveState": "inactive", "Triggers": "hello.service"}
    run = Systemctl(hello_socket=[socket], hello_service=[RUNS, ENDED])
    stopping.perform(CleanStop("hello.socket"), run)
    assert run.calls == asked("hello.service")


def test_an_open_socket_is_closed_before_so_that_nothing_starts_its_service_anew():
    socket = {"ActiveState": "active", "Triggers": "hello.service"}
    run = Systemctl(hello_socket=[socket], hello_service=[RUNS, ENDED])
    stopping.perform(CleanStop("hello.socket"), run)
    assert run.calls == [("stop", "hello.socket"), *asked("hello.service")]


def test_a_socket_of_a_protected_service_stays_as_it_is():
    socket = {"ActiveState": "active", "Triggers": "hello.service"}
    run = Systemctl(hello_socket=[socket], hello_service=[RUNS])
    with pytest.raises(Refused):
        stopping.perform(CleanStop("hello.socket", ("hello.*",)), run)
    assert run.calls == []


def test_a_clean_restart_asks_before_it_starts():
    here = rules(units=UNITS)
    forbidden = here.forbidden_units("restart_cleanly")
    first, stop, guard, job = CLEANLY.plan({"unit": "store.service"}, here)
    assert first == guard == UnitGuard("store.service", forbidden)
    assert (stop, job) == (CleanStop("store.service", forbidden), UnitJob("start", "store.service"))


@pytest.mark.parametrize(
    ("unit", "reason"),
    [
        ("shop.service", "restart_never"),
        ("idle.service", "desired_stopped"),
        ("srv-data.mount", "bad_parameter"),
        ("other.service", "undeclared"),
        ("fleetmend-agent.service", "protected"),
    ],
)
def test_what_may_not_be_restarted_is_not_asked_either(unit, reason):
    with pytest.raises(Refused) as caught:
        CLEANLY.plan({"unit": unit}, rules(units=UNITS))
    assert caught.value.reason == reason


def test_a_socket_is_freed_before_it_is_opened():
    kinds = [type(effect).__name__ for effect in RESTART.plan({"unit": "hello.socket"}, rules(units=UNITS))]
    assert kinds == ["UnitGuard", "CleanStop", "Command", "UnitJob"]


def test_the_journal_is_restarted_where_that_is_declared_and_never_stopped():
    declared = rules(OPEN, units={JOURNAL: {"restart": "allowed"}})
    assert RESTART.plan({"unit": JOURNAL}, declared)[-1] == UnitJob("restart", JOURNAL)
    for here, action, unit in (
        (declared, STOP, JOURNAL),
        (declared, RESTART, "systemd-journald.socket"),
        (declared, RESTART, "systemd-journald@shop.service"),
        (rules(OPEN, units={JOURNAL: {"restart": "never"}}), RESTART, JOURNAL),
        (rules(f"{OPEN}\nundeclared: allow", units={}), RESTART, JOURNAL),
        (rules(f"{OPEN}\nprotected: ['systemd-journald*']", units={JOURNAL: {"restart": "allowed"}}), RESTART, JOURNAL),
    ):
        with pytest.raises(Refused) as caught:
            action.plan({"unit": unit}, here)
        assert caught.value.reason == "protected"
