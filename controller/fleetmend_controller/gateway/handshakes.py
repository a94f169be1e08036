"""Counts refused handshakes. gRPC tells nobody of them, but it asks for the certificate at each one that begins.

A connection that began and made no call within ten seconds was refused, or is silent; both are worth counting.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable

from ..http.metrics import Metrics

PATIENCE_MS = 10_000
PEERS_MAX = 65_536
WAITING_MAX = 100_000


class Handshakes:
    """Handshakes begun, less connections heard of. `begin` may be called from any thread, the others from the event loop."""

    def __init__(self, metrics: Metrics, clock: Callable[[], int]) -> None:
        self._refused = metrics.refused.labels("handshake")
        self._clock = clock
        self._begun: deque[int] = deque(maxlen=WAITING_MAX)
        self._peers: OrderedDict[str, None] = OrderedDict()

    def begin(self) -> None:
        """A handshake begins."""
        self._begun.append(self._clock())

    def reached(self, peer: str) -> None:
        """A call came over the connection of this peer."""
        if peer in self._peers:
            self._peers.move_to_end(peer)
            return
        self._peers[peer] = None
        if len(self._peers) > PEERS_MAX:
            self._peers.popitem(last=False)
        # Which of the waiting ones it was is unknown; only their number counts.
        if self._begun:
            self._begun.popleft()

    def sweep(self) -> None:
        """Count those that waited too long."""
        while self._begun and self._begun[0] <= self._clock() - PATIENCE_MS:
            self._begun.popleft()
            self._refused.inc()
