"""Signals of this kernel, where it gives them: files, mounts, pressure. Where it does not, a reason and no crash."""

from __future__ import annotations

import asyncio
import os
import select
from pathlib import Path

import pytest

from fleetmend_agent.host import Host, Roots
from fleetmend_agent.signals import inotify
from fleetmend_agent.signals._priority import PriorityWatch
from fleetmend_agent.signals.inotify import InotifySignal
from fleetmend_agent.signals.mounts import MountsSignal
from fleetmend_agent.signals.pressure import STALL_US, WINDOW_US, PressureSignal, open_trigger
from tests.unit.agent.gateway import until


def test_files_that_come_change_and_go_are_told(tmp_path, monkeypatch):
    monkeypatch.setattr(inotify, "PAUSE_S", 0.01)

    async def main():
        seen = []
        signal = InotifySignal(seen.append)
        stamp, other = tmp_path / "stamp", tmp_path / "other"
        signal.watch([str(stamp)])
        assert signal.problems == {}
        for step in (lambda: stamp.write_text("x"), lambda: os.utime(stamp), lambda: stamp.rename(other)):
            before = len(seen)
            step()
            await until(lambda: len(seen) > before)  # noqa: B023 - called before the next step
        assert set().union(*seen) == {str(stamp)}
        seen.clear()
        other.write_text("nobody watches me")
        stamp.write_text("me")
        await until(lambda: seen)
        assert seen[0] == {str(stamp)}
        signal.stop()
        signal.stop()

    asyncio.run(main())


def test_a_folder_that_is_not_there_is_polled(tmp_path):
    async def main():
        signal = InotifySignal(lambda _: None)
        signal.watch([str(tmp_path / "none" / "stamp")])
        assert "No such file or directory; it is polled" in next(iter(signal.problems.values()))
        signal.watch([])
        assert signal.problems == {}

    asyncio.run(main())


def test_a_kernel_without_pressure_or_mounts_is_polled(tmp_path):
    async def main():
        host = Host(Roots.under(str(tmp_path)))
        for signal in (PressureSignal(host, lambda: None), MountsSignal(host, lambda: None)):
            signal.start()
            assert "polled" in signal.problem
            signal.stop()

    asyncio.run(main())


def _pressure_refused() -> str:
    """Why this kernel sets no trigger for this user, empty if it does."""
    try:
        os.close(open_trigger("/proc/pressure/memory"))
    except OSError as error:
        return f"cannot set a trigger on /proc/pressure/memory here: {error.strerror}"
    return ""


def open_files() -> list[str]:
    """What this process has open; the folder that is listed is gone by then."""
    return [str(path.readlink()) for path in Path("/proc/self/fd").iterdir() if path.is_symlink()]


@pytest.mark.skipif(bool(_pressure_refused()), reason=_pressure_refused() or "it can be")
def test_this_kernel_takes_the_trigger_and_says_nothing_while_there_is_no_pressure():
    async def main():
        events = []
        signal = PressureSignal(Host(), lambda: events.append(1))
        signal.start()
        assert signal.problem == ""
        assert open_files().count("/proc/pressure/memory") == 1
        signal.stop()
        assert "/proc/pressure/memory" not in open_files()
        # A trigger that the kernel did not take is an error at once, for ever; a good one is silent, or tells of real pressure.
        descriptor = open_trigger("/proc/pressure/memory")
        poller = select.poll()
        poller.register(descriptor, select.POLLPRI)
        assert all(not happened & select.POLLERR for _, happened in poller.poll(0))
        os.close(descriptor)

    asyncio.run(main())


def test_a_window_of_two_seconds_is_what_needs_no_right():
    """Others are for root: a change of WINDOW_US would cost every agent its triggers."""
    assert WINDOW_US % 2_000_000 == 0
    assert STALL_US < WINDOW_US


def test_the_mount_table_of_this_machine_can_be_watched():
    async def main():
        signal = MountsSignal(Host(), lambda: None)
        signal.start()
        assert signal.problem == ""
        signal.stop()

    asyncio.run(main())


def test_a_priority_event_reaches_the_loop():
    async def main():
        # Out-of-band data of a pseudo terminal in packet mode is the priority event that anyone can make.
        import fcntl
        import pty
        import struct
        import termios

        master, slave = pty.openpty()
        fcntl.ioctl(master, termios.TIOCPKT, struct.pack("i", 1))
        seen = []

        def on_event(descriptor):
            os.read(descriptor, 1)
            seen.append(descriptor)

        watch = PriorityWatch(on_event)
        watch.add(master)
        termios.tcflush(slave, termios.TCIOFLUSH)
        await until(lambda: seen)
        assert seen[0] == master
        watch.close()
        os.close(slave)

    asyncio.run(main())


def test_whatever_is_in_a_watched_folder_is_an_event_on_the_folder(tmp_path):
    async def scenario():
        touched, seen = asyncio.Event(), set()

        def note(paths):
            seen.update(paths)
            touched.set()

        signal = InotifySignal(note)
        signal.watch([f"{tmp_path}/", f"{tmp_path}/one"])
        (tmp_path / "two").touch()
        await asyncio.wait_for(touched.wait(), 5)
        assert seen == {f"{tmp_path}/"}
        signal.watch([f"{tmp_path}/", f"{tmp_path}/one"], anew=True)
        touched.clear()
        (tmp_path / "one").touch()
        await asyncio.wait_for(touched.wait(), 5)
        assert f"{tmp_path}/one" in seen
        signal.stop()

    asyncio.run(scenario())
