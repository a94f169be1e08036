"""A job is run once: never beside a run under way, and no longer than it may take."""

from __future__ import annotations

import time

import pytest

from fleetmend_executor import jobs
from fleetmend_executor.commands import Finished
from fleetmend_executor.jobs import RunJob
from fleetmend_executor.run import ActionFailed, Run


class Systemctl(Run):
    """A run whose systemctl answers from a script: the states in their order, and how a start ends."""

    def __init__(self, states, start=0, stops=(), patience=("1min 30s", "1min 30s")):
        super().__init__(time.monotonic() + 100)
        self.states, self.start, self.calls = list(states), start, []
        self.stops, self.patience = list(stops), patience

    def argv(self, *argv, timeout_s=None, output_bytes_max=0):
        verb = argv[2]
        self.calls.append(verb)
        self.commands.append(verb)
        if verb == "show" and "TimeoutStopUSec" in argv[3]:
            who = 1 if "Default" in argv[3] else 0
            return Finished(argv, 0, 1, f"{'Default' * who}TimeoutStopUSec={self.patience[who]}\n")
        if verb == "stop" and self.stops:
            return Finished(argv, self.stops.pop(0), 1, "")
        if verb == "show":
            return Finished(argv, 0, 1, f"ActiveState={self.states.pop(0)}\nLoadState=loaded\nSubState=x\nResult=exit-code\n")
        return Finished(argv, self.start if verb == "start" else 0, 1, "failed")


def test_an_idle_job_is_started():
    run = Systemctl(["failed"])
    jobs.perform(RunJob("backup.service"), run)
    assert run.calls == ["show", "start"]


@pytest.mark.parametrize("state", ["activating", "active", "deactivating", "reloading", ""])
def test_a_second_copy_is_never_started(state):
    run = Systemctl([state])
    with pytest.raises(ActionFailed, match="a run is under way") as caught:
        jobs.perform(RunJob("backup.service"), run)
    assert caught.value.reason == "already_running"
    assert run.calls == ["show"]


def test_a_run_that_hangs_is_stopped_first_and_if_that_does_not_work_nothing_is_started():
    run = Systemctl(["inactive"])
    jobs.perform(RunJob("backup.service", stop_first=True), run)
    assert run.calls == ["stop", "show", "start"]
    stuck = Systemctl(["deactivating"])
    with pytest.raises(ActionFailed, match="deactivating"):
        jobs.perform(RunJob("backup.service", stop_first=True), stuck)
    assert "start" not in stuck.calls


def test_a_job_that_fails_again_is_a_failure_and_one_that_goes_on_is_not():
    with pytest.raises(ActionFailed) as caught:
        jobs.perform(RunJob("backup.service"), Systemctl(["inactive", "failed"], start=1))
    assert caught.value.reason == "job_failed"
    run = Systemctl(["inactive"], start=124)
    jobs.perform(RunJob("backup.service", wait_s=5.0), run)
    assert run.detail == ["backup.service is still running; systemd goes on with it"]
    assert run.left_s() <= 5.0


def test_a_run_that_does_not_hear_is_killed_after_a_while():
    run = Systemctl(["failed"], stops=[124, 0])
    jobs.perform(RunJob("backup.service", stop_first=True), run)
    assert run.calls == ["stop", "show", "show", "kill", "stop", "show", "start"]
    assert run.detail == ["backup.service did not end within 20 s and was killed"]


def test_whose_owner_chose_how_long_a_stop_may_take_is_given_that_time():
    run = Systemctl(["failed"], stops=[124, 0], patience=("10min", "1min 30s"))
    jobs.perform(RunJob("backup.service", stop_first=True), run)
    assert run.calls == ["stop", "show", "show", "stop", "show", "start"]
