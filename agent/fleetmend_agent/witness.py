"""Looks, when the controller asks, whether a host whose agent fell silent still answers. Few at a time, and never by itself."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from fleetmend.v1 import link_pb2 as pb

from .host import Host
from .log import LOG

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fleetmend.reach import Try

AT_ONCE_MAX = 4
PER_MINUTE_MAX = 60
TRIES_MAX = 20

Answer = Callable[[pb.Probed], None]


class Witness:
    """Probes under way. `now_ms` is the loop's clock."""

    def __init__(self, host: Host, answer: Answer, now_ms: Callable[[], int]) -> None:
        self._host = host
        self._answer = answer
        self._now_ms = now_ms
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._begun_ms: deque[int] = deque(maxlen=PER_MINUTE_MAX)

    def take(self, probe: pb.Probe) -> None:
        """Begin to look, or say at once why not."""
        now_ms = self._now_ms()
        if probe.probe_id in self._tasks:
            return
        often = len(self._begun_ms) == PER_MINUTE_MAX and now_ms - self._begun_ms[0] < 60_000
        if often or len(self._tasks) >= AT_ONCE_MAX:
            self._answer(pb.Probed(probe_id=probe.probe_id, unable="too many probes at once"))
            return
        self._begun_ms.append(now_ms)
        task = asyncio.get_running_loop().create_task(self._look(probe))
        self._tasks[probe.probe_id] = task
        task.add_done_callback(lambda done: self._done(probe.probe_id, done))

    async def stop(self) -> None:
        """End what is under way."""
        for task in list(self._tasks.values()):
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def _look(self, probe: pb.Probe) -> None:
        # Not at the top: most agents are never asked.
        from fleetmend.reach import look

        mine = self._own_addresses()
        timeout_s = probe.timeout_ms / 1000
        wanted = [a for a in probe.addresses if a not in mine]
        control = [a for a in probe.control_addresses if a not in mine]
        said = pb.Probed(probe_id=probe.probe_id)
        if not wanted:
            said.unable = "no address of that host is one that this host can look at"
        else:
            seen, checked = await asyncio.gather(look(wanted, probe.ports, timeout_s), look(control, probe.ports, timeout_s))
            said.tries.extend(_wire(seen))
            said.control_tries.extend(_wire(checked))
        self._answer(said)

    def _own_addresses(self) -> set[str]:
        try:
            return {address.partition("/")[0] for listed in self._host.ipv4_addresses().values() for address in listed}
        except OSError:
            return set()

    def _done(self, probe_id: str, task: asyncio.Task[None]) -> None:
        self._tasks.pop(probe_id, None)
        if not task.cancelled() and task.exception() is not None:
            LOG.error("cannot look at another host: %r", task.exception())
            self._answer(pb.Probed(probe_id=probe_id, unable="the probe failed"))


def _wire(tries: Sequence[Try]) -> list[pb.ProbeTry]:
    from fleetmend.reach import Found

    words = {
        Found.REACHED: pb.PROBE_RESULT_REACHED,
        Found.NO_ANSWER: pb.PROBE_RESULT_NO_ANSWER,
        Found.UNABLE: pb.PROBE_RESULT_UNABLE,
    }
    return [
        pb.ProbeTry(address=t.address, port=t.port, result=words[t.found], took_ms=t.ms, detail=t.detail)
        for t in tries[:TRIES_MAX]
    ]
