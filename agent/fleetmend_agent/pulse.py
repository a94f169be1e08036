"""What the agent says of everything at once: heartbeats with changed gauges, snapshots with every subject, its own cost."""

from __future__ import annotations

import os
import resource
from dataclasses import dataclass

from fleetmend.v1 import link_pb2 as pb

from . import wire
from .checks import Status
from .gauges import GaugeEncoder
from .host import Host
from .outbox import Outbox
from .presence import Presence
from .runner import Observed, Runner

UNHEALTHY_MAX = 1000


@dataclass(frozen=True, slots=True)
class Pulse:
    """Reads, never changes, what the rest of the agent holds. Without `presence` people at work are not reported."""

    host: Host
    boot_id: str
    runner: Runner
    outbox: Outbox
    presence: Presence | None

    def heartbeat(self, gauges: GaugeEncoder) -> pb.Heartbeat:
        """What is not OK now, and the gauges that this stream does not know yet."""
        message = pb.Heartbeat(boot_id=self.boot_id, sent_clock_ms=self.host.clock_ms(), stats=self.stats())
        for watch, key, subject in self.runner.subjects():
            status = subject.confirmed.status
            if status is None or status is Status.OK or len(message.unhealthy) >= UNHEALTHY_MAX:
                continue
            message.unhealthy.add(
                check=watch.spec.name, key=key, status=wire.status(status), sampled_clock_ms=subject.sampled_clock_ms
            )
        if self.presence is not None:
            if any(state.status == wire.status(Status.CRIT) for state in message.unhealthy):
                # Whoever is at work here may have done it, and is looked for before anything is repaired.
                self.presence.hurry()
            message.presence.extend(self.presence.look())
        wire.heartbeat_gauges(message, gauges.encode(self.runner.gauges()))
        return message

    def snapshot(self) -> pb.Snapshot:
        """Every subject with its settled status, and the checks of which none is missing."""
        wall_ms = self.host.wall_ms()
        observations = []
        for watch, _, subject in self.runner.subjects():
            observed = Observed(watch.spec.name, watch.spec.type, subject.result, subject.sampled_clock_ms)
            message = wire.observation(observed, wall_ms)
            message.status = wire.status(subject.confirmed.status or Status.UNKNOWN)
            observations.append(message)
        return wire.snapshot(observations, [name for name, watch in self.runner.watches.items() if watch.settled])

    def stats(self) -> pb.AgentStats:
        """What the agent itself costs, its children not counted."""
        usage = resource.getrusage(resource.RUSAGE_SELF)
        pages = int(self.host.read_text("/proc/self/statm").split()[1])
        return pb.AgentStats(
            cpu_seconds_total=usage.ru_utime + usage.ru_stime,
            resident_bytes=pages * os.sysconf("SC_PAGE_SIZE"),
            outbox_records=self.outbox.depth,
            outbox_dropped_total=self.outbox.dropped_total,
            checks_hung=self.runner.hung(),
            checks_run_total=self.runner.runs_total,
        )
