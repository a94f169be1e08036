"""Notices hosts that stopped talking, once each, and that they are back.

After a start of the controller, hosts that were seen before get a grace to come back in. Time in which the controller itself
stood still is no silence of the hosts.
"""

from __future__ import annotations

from collections.abc import Iterable

from ..core.events import HostSilent

STALL_MS = 3_000


class Silence:
    """When each host was heard last."""

    def __init__(self, silent_after_ms: int) -> None:
        self._silent_after_ms = silent_after_ms
        self._heard_ms: dict[str, int] = {}
        self._silent: set[str] = set()
        self._looked_ms: int | None = None

    def expect(self, hosts: Iterable[str], now_ms: int, grace_ms: int) -> None:
        """Hosts that were seen in an earlier life of the controller: silent if they are not heard within the grace."""
        for host in hosts:
            self._heard_ms.setdefault(host, now_ms + grace_ms - self._silent_after_ms)

    def known_silent(self, hosts: Iterable[str]) -> None:
        """Hosts that the decider holds for lost already."""
        self._silent.update(hosts)

    def heard(self, host: str, now_ms: int) -> bool:
        """The host said something; True if it was silent before."""
        self._heard_ms[host] = now_ms
        if host not in self._silent:
            return False
        self._silent.discard(host)
        return True

    def last_heard_ms(self, host: str) -> int | None:
        """When the host was heard last in this life of the controller."""
        return self._heard_ms.get(host)

    def is_silent(self, host: str) -> bool:
        """Whether the host was declared silent and not heard since."""
        return host in self._silent

    def look(self, now_ms: int) -> list[HostSilent]:
        """Hosts that are silent since now. Call about every second."""
        stalled_ms = 0 if self._looked_ms is None else now_ms - self._looked_ms
        self._looked_ms = now_ms
        if stalled_ms > STALL_MS:
            for host in self._heard_ms:
                self._heard_ms[host] += stalled_ms
        found = [
            HostSilent(now_ms, host, now_ms - heard_ms)
            for host, heard_ms in self._heard_ms.items()
            if now_ms - heard_ms > self._silent_after_ms and host not in self._silent
        ]
        self._silent.update(event.host for event in found)
        return found

    def untold(self, events: Iterable[HostSilent]) -> None:
        """The decider could not be told; look again next time."""
        self._silent.difference_update(event.host for event in events)

    def forget(self, host: str) -> None:
        """The host was removed."""
        self._heard_ms.pop(host, None)
        self._silent.discard(host)
