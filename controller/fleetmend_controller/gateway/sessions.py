"""The agents' open streams: one a host, a newer one replaces the older, two machines on one identity are noticed."""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field

from fleetmend.v1 import link_pb2

from ..core.inquiry import Stream
from ..core.model import Status
from ..http.metrics import Metrics

SEND_QUEUE_MAX = 256
BOOTS_KEPT = 8
FLAPS_MAX = 4
FLAP_WINDOW_MS = 60_000
CONFLICT_WAIT_MS = 60_000
HISTORIES_MAX = 65_536
# Less than the keepalive of servers.py needs to notice that a line is cut.
ENDED_SOON_MS = 12_000

SubjectKey = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Ending:
    """Why the gateway ends a stream: the word of Bye, a text, and how long the agent shall wait."""

    reason: str
    detail: str
    retry_after_ms: int


class Session:
    """One open stream. What is to be sent waits in a bounded queue: a slow agent is cut off, not buffered for ever."""

    def __init__(self, host: str, hello: link_pb2.Hello, peer: str, now_ms: int, not_after_ms: int) -> None:
        """`not_after_ms` is the end of the certificate with which it was opened: TLS asks for it at the handshake only."""
        self.host = host
        self.not_after_ms = not_after_ms
        self.peer = peer
        self.boot = hello.boot_id
        self.outbox = hello.outbox_id
        self.agent_version = hello.agent_version
        self.permitted_actions = tuple(hello.permitted_actions)
        self.opened_ms = now_ms
        self.skew_ms = hello.wall_ms - now_ms
        self.config_digest = ""
        self.config_version = 0
        self.configured: dict[str, str] = {}
        # Last status of each subject; one that is absent is OK or was never heard of.
        self.statuses: dict[SubjectKey, Status] = {}
        self.ending: Ending | None = None
        self.ended = asyncio.Event()
        # None wakes the writer when the stream ends.
        self._out: asyncio.Queue[link_pb2.LinkResponse | None] = asyncio.Queue(SEND_QUEUE_MAX)

    def send(self, response: link_pb2.LinkResponse) -> None:
        """Queue a message; a full queue ends the stream."""
        if self.ending is not None:
            return
        try:
            self._out.put_nowait(response)
        except asyncio.QueueFull:
            self.end("slow", f"{SEND_QUEUE_MAX} messages wait for the agent to read them", 5_000)

    def end(self, reason: str, detail: str = "", retry_after_ms: int = 1_000) -> None:
        """End the stream; the first reason counts."""
        if self.ending is None:
            self.ending = Ending(reason, detail, retry_after_ms)
            self.ended.set()
            # Behind a full queue nobody waits: the writer comes back by itself.
            with contextlib.suppress(asyncio.QueueFull):
                self._out.put_nowait(None)

    async def next_out(self) -> link_pb2.LinkResponse | None:
        """The next message to write; None once the stream ends, whatever still waits."""
        message = await self._out.get()
        return None if self.ending is not None else message


def address_of(peer: str) -> str:
    """The address in gRPC's name of a peer: `ipv4:192.0.2.7:443`, `ipv6:%5B2001:db8::7%5D:443`."""
    kind, _, rest = peer.partition(":")
    if kind not in ("ipv4", "ipv6"):
        return ""
    return rest.rpartition(":")[0].removeprefix("%5B").removesuffix("%5D").removeprefix("[").removesuffix("]")


@dataclass(slots=True)
class _History:
    """What is remembered of a host's streams to tell a reboot from a twin."""

    boots: OrderedDict[str, None] = field(default_factory=OrderedDict)
    replaced_ms: deque[int] = field(default_factory=lambda: deque(maxlen=FLAPS_MAX))
    address: str = ""
    ended_ms: int | None = None
    conflict_until_ms: int = 0


class Sessions:
    """All open streams, by host."""

    def __init__(self, metrics: Metrics, clock: Callable[[], int]) -> None:
        self._metrics = metrics
        self._clock = clock
        self._open: dict[str, Session] = {}
        self._histories: OrderedDict[str, _History] = OrderedDict()

    def __len__(self) -> int:
        return len(self._open)

    def all(self) -> list[Session]:
        """Every open stream."""
        return list(self._open.values())

    def get(self, host: str) -> Session | None:
        """The open stream of a host."""
        return self._open.get(host)

    def is_online(self, host: str) -> bool:
        """Whether the host's agent holds a stream."""
        return host in self._open

    def conflicts(self, session: Session) -> bool:
        """Whether this new stream belongs to a second machine with the same identity as the open one.

        Proof is a boot id that comes back after another took its place: machines do not return to an earlier boot. Streams that
        keep replacing each other are taken for it too. While a conflict lasts the open stream stays and newcomers wait.
        """
        now_ms = self._clock()
        history = self._history(session.host)
        current = self._open.get(session.host)
        if current is None:
            return False
        if now_ms < history.conflict_until_ms:
            return True
        returned = session.boot != current.boot and session.boot in history.boots
        flaps = len(history.replaced_ms) == FLAPS_MAX and now_ms - history.replaced_ms[0] < FLAP_WINDOW_MS
        if returned or flaps:
            history.conflict_until_ms = now_ms + CONFLICT_WAIT_MS
            history.replaced_ms.clear()
            return True
        return False

    def open(self, session: Session) -> None:
        """Make this the host's stream; the one before ends."""
        history = self._history(session.host)
        history.boots[session.boot] = None
        history.boots.move_to_end(session.boot)
        history.address, history.ended_ms = address_of(session.peer), None
        while len(history.boots) > BOOTS_KEPT:
            history.boots.popitem(last=False)
        before = self._open.get(session.host)
        if before is not None:
            history.replaced_ms.append(self._clock())
            before.end("replaced", "a newer stream of this host took over", CONFLICT_WAIT_MS // 12)
        self._open[session.host] = session
        self._metrics.streams.set(len(self._open))

    def close(self, session: Session) -> None:
        """The stream is over."""
        if self._open.get(session.host) is session:
            del self._open[session.host]
            # What we ended ourselves says nothing about the host.
            self._history(session.host).ended_ms = self._clock() if session.ending is None else None
            self._metrics.streams.set(len(self._open))

    def last_address(self, host: str) -> str:
        """Where the host's newest stream came from; empty if it had none in this life of the controller."""
        return self._histories[host].address if host in self._histories else ""

    def stream(self, host: str, heard_ms: int) -> Stream:
        """How the stream of a host stands that was last heard at this time."""
        if host in self._open:
            return Stream.QUIET
        ended_ms = self._histories[host].ended_ms if host in self._histories else None
        if ended_ms is None:
            return Stream.UNKNOWN
        # A process that ends closes its connection at once; a line that is cut ends it by its keepalive, much later.
        return Stream.ENDED if ended_ms - heard_ms <= ENDED_SOON_MS else Stream.QUIET

    def forget(self, host: str) -> None:
        """The host was removed."""
        self._histories.pop(host, None)

    def _history(self, host: str) -> _History:
        history = self._histories.setdefault(host, _History())
        self._histories.move_to_end(host)
        if len(self._histories) > HISTORIES_MAX:
            self._histories.popitem(last=False)
        return history
