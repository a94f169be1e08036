"""What systemd is told."""

from __future__ import annotations

import os
import socket

import pytest

from fleetmend_agent.notify import Notifier


@pytest.fixture
def listener(tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ours:
        ours.bind(str(tmp_path / "notify"))
        ours.settimeout(5)
        yield ours


def test_assignments_arrive_and_an_unchanged_status_is_told_once(listener):
    notifier = Notifier({"NOTIFY_SOCKET": listener.getsockname()})
    assert notifier.send("READY=1", "MAINPID=5")
    notifier.status("linked")
    notifier.status("linked")
    notifier.status("lost")
    assert [listener.recv(100) for _ in range(3)] == [b"READY=1\nMAINPID=5", b"STATUS=linked", b"STATUS=lost"]


def test_without_systemd_nothing_is_told(tmp_path):
    assert not Notifier({}).send("READY=1")
    assert not Notifier({"NOTIFY_SOCKET": str(tmp_path / "gone")}).send("READY=1")
    assert Notifier({"WATCHDOG_USEC": "1000000"}).watchdog_ms == 0


def test_the_watchdog_wants_a_sign_twice_an_interval_and_only_from_this_process(listener):
    environment = {"NOTIFY_SOCKET": listener.getsockname(), "WATCHDOG_USEC": "60000000"}
    assert Notifier(environment).watchdog_ms == 30_000
    assert Notifier(environment | {"WATCHDOG_PID": str(os.getpid())}).watchdog_ms == 30_000
    assert Notifier(environment | {"WATCHDOG_PID": "1"}).watchdog_ms == 0
    assert Notifier(environment | {"WATCHDOG_USEC": "soon"}).watchdog_ms == 0
