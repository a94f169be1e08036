"""The kernel tells when a link, an address, a route, a rule or a queueing discipline changes.

Only that something changed is taken from it; the checks read the state itself. A host on which much changes (containers come
and go) is read a few times a second at most.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable

PAUSE_S = 0.3
_READ_BYTES = 64 * 1024
_READS_MAX = 64

# RTMGRP_*: links, queueing disciplines; addresses, routes and rules of IPv4; addresses and routes of IPv6; its rules.
_GROUPS = 0x1 | 0x8 | 0x10 | 0x40 | 0x80 | 0x100 | 0x400 | 1 << 18


class NetlinkSignal:
    """Listens as long as somebody wants it. `problem` says why it cannot; then the network is polled."""

    def __init__(self, on_event: Callable[[], None]) -> None:
        self._on_event = on_event
        self._socket: socket.socket | None = None
        self._resume: asyncio.TimerHandle | None = None
        self.problem = ""

    def want(self, wanted: bool) -> None:
        """Begins to listen, or stops."""
        if not wanted:
            self.stop()
        elif self._socket is None:
            self._start()

    def stop(self) -> None:
        """Stops listening."""
        if self._resume is not None:
            self._resume.cancel()
            self._resume = None
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket)
            self._socket.close()
            self._socket = None

    def _start(self) -> None:
        try:
            listening = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, 0)
        except OSError as error:
            self.problem = f"cannot listen to the kernel's network events: {error.strerror}; the network is polled"
            return
        try:
            listening.bind((0, _GROUPS))
        except OSError as error:
            listening.close()
            self.problem = f"cannot listen to the kernel's network events: {error.strerror}; the network is polled"
            return
        self._socket = listening
        self.problem = ""
        asyncio.get_running_loop().add_reader(listening, self._ready)

    def _ready(self) -> None:
        listening = self._socket
        if listening is None:
            return
        self._drain(listening)
        loop = asyncio.get_running_loop()
        loop.remove_reader(listening)
        self._resume = loop.call_later(PAUSE_S, loop.add_reader, listening, self._ready)
        self._on_event()

    def _drain(self, listening: socket.socket) -> None:
        for _ in range(_READS_MAX):
            try:
                listening.recv(_READ_BYTES)
            except BlockingIOError:
                return
            except OSError as error:
                # The kernel dropped some because they were not read in time: an event like any other.
                self.problem = f"missed network events: {os.strerror(error.errno or 0).lower()}"
