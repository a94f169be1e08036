"""The simulated gateway: streams of agents, their reports and heartbeats, and hosts that fall silent."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fleetmend_controller.core.events import EvidenceConfirmed, HostConnected, HostSilent
from fleetmend_controller.core.inquiry import Stream
from fleetmend_controller.core.model import Phase, Status, Subject

from .intake import Seen, Sent, translate

if TYPE_CHECKING:
    from .brain import Brain
    from .host import Record, Server
    from .world import World

SILENT_MS = 30_000
EVIDENCE_OLD_MS = 10_000
CATCH_UP_MS = 1_000
LOOK_AGAIN_MS = 300


class Gateway:
    """Everything here is gone with a crash. Who is linked is heard at every moment: heartbeats are facts of time."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.silent: dict[str, None] = {}
        self.seen: dict[str, Seen] = {}
        self.unannounced: dict[str, None] = {}
        self.ended: dict[str, Stream] = {}

    @property
    def brain(self) -> Brain:
        """The decider beside it."""
        return self.world.brain

    def start(self) -> None:
        """A new life: nobody is linked, who is lost is known from the journal, everybody has a grace to come back."""
        self.seen, self.unannounced = {}, {}
        self.ended = {}
        for server in self.world.everyone:
            server.heard_ms = self.world.time.now_ms
        self.silent = {h.id: None for h in self.brain.fleet.hosts.values() if h.lost_since_ms is not None}

    def open(self) -> None:
        """Agents may dial."""
        if self.brain.up:
            self.world.relink()
            self.world.time.after(SILENT_MS, self.look_for_silent)

    def connected(self, server: Server) -> None:
        """Hello. The decider must hear it before anything else of the host."""
        if self.brain.later(self.connected, server) or not server.linked or not self.brain.up:
            return
        self.seen[server.id] = Seen(self._sick_of(server))
        self.silent.pop(server.id, None)
        self.unannounced[server.id] = None
        self._announce(server)

    def _announce(self, server: Server) -> None:
        event = HostConnected(self.brain.now_ms(), server.id, server.boot, server.clock_ms())
        if not self.brain.take([event]):
            return
        self.unannounced.pop(server.id, None)
        server.snapshot()
        # What was bad while nobody listened is looked at anew, and told soon.
        self.world.attend(server, LOOK_AGAIN_MS)

    def heartbeat(self, server: Server) -> None:
        """A heartbeat names what is not OK, with its newest sample."""
        if self.brain.later(self.heartbeat, server) or server.id in self.unannounced:
            return
        for (check, key), status in list(server.told.items()):
            known = self.seen[server.id].statuses.get((check, key)) if server.id in self.seen else None
            if not self.brain.up or not server.linked:
                return
            if status == known == "crit" and self._wants(Subject(server.id, check, key)):
                sampled, clock = server.sampled[check, key], server.clock_ms()
                self.brain.take(
                    [EvidenceConfirmed(self.brain.now_ms(), server.id, check, key, server.boot, sampled, clock)]
                )  # fmt: skip

    def _wants(self, subject: Subject) -> bool:
        fleet = self.brain.fleet
        incident = fleet.incidents.get(fleet.by_subject.get(subject, ""))
        waits = incident is not None and incident.phase in (Phase.OPEN, Phase.HELD)
        return waits and self.brain.now_ms() - incident.evidence_ms > EVIDENCE_OLD_MS

    def unheard(self, server: Server) -> None:
        """Perhaps the heartbeats of a host stopped so long ago that it is lost."""
        if self.brain.later(self.unheard, server):
            # Time in which the controller itself stood still is no silence of the hosts.
            server.heard_ms = max(server.heard_ms, self.brain.stalled_until_ms - SILENT_MS + CATCH_UP_MS)
            return
        silent_ms = self.world.time.now_ms - server.heard_ms
        gone = self.brain.up and not server.linked and server.id not in self.silent
        if not gone or server.id not in self.brain.fleet.hosts:
            return
        if silent_ms < SILENT_MS:
            self.world.time.after(SILENT_MS - silent_ms, self.unheard, server)
            return
        self.silent[server.id] = None
        stream = self.ended.get(server.id, Stream.UNKNOWN)
        if not self.brain.take([HostSilent(self.brain.now_ms(), server.id, silent_ms, stream)]):
            self.silent.pop(server.id, None)

    def look_for_silent(self) -> None:
        """Hosts that do not come back."""
        for server in self.world.everyone:
            if not server.linked:
                self.unheard(server)

    def catch_up(self) -> None:
        """The journal takes rows again: what could not be told is told now."""
        for host in list(self.unannounced):
            server = self.world.servers[host]
            if self.brain.up and server.linked:
                self._announce(server)
        self.look_for_silent()

    def report(self, server: Server, records: list[Record], sent_clock: int, boot: str) -> None:
        """A report arrives, perhaps late or twice."""
        if not self.brain.up or not server.linked or self.brain.later(self.report, server, records, sent_clock, boot):
            return
        if server.id in self.unannounced:
            return
        seen = self.seen[server.id]
        if self.world.faulty("early_ack"):
            server.acked(records[0].box, records[-1].seq)
        seen.begin(records[0].box)
        fresh = [record for record in records if record.seq > seen.taken]
        done = translate(server, fresh, Sent(self.brain.now_ms(), sent_clock, boot), seen, list(self._sick_of(server)))
        if not done.events or self.brain.take(done.events):
            seen.statuses.update(done.statuses)
            seen.taken = max(seen.taken, records[-1].seq)
            self.world.network.ack(server, records[-1])

    def _sick_of(self, server: Server) -> dict[tuple[str, str], str]:
        """The subjects that the decider holds for sick, with what their checks last said."""
        found: dict[tuple[str, str], str] = {}
        fleet = self.brain.fleet
        for incident_id in fleet.by_host.get(server.id, {}):
            incident = fleet.incidents[incident_id]
            if incident.status is not Status.OK:
                found[incident.subject.check, incident.subject.key] = incident.status.value
            found.update(dict.fromkeys(((s.check, s.key) for s in incident.symptoms), Status.CRIT.value))
        return found
