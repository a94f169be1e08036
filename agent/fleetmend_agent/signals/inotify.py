"""File events for the checks that watch a path. The folder is watched, so that a file that comes later is seen too.

A folder in which much happens would cost more than it tells: events are taken at most a few times a second, and what the kernel
dropped meanwhile counts as an event on every path.
"""

from __future__ import annotations

import asyncio
import os
import struct
from collections.abc import Callable, Iterable
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ctypes

WATCHES_MAX = 128
PAUSE_S = 0.2

_CLOSE_WRITE, _MOVED_FROM, _MOVED_TO, _CREATE, _DELETE, _ATTRIB = 0x8, 0x40, 0x80, 0x100, 0x200, 0x4
_MASK = _CLOSE_WRITE | _MOVED_FROM | _MOVED_TO | _CREATE | _DELETE | _ATTRIB | 0x01000000  # IN_ONLYDIR
_OVERFLOW = 0x4000
_EVENT = struct.Struct("iIII")
_READ_BYTES = 64 * 1024


class InotifySignal:
    """Watches the folders of a set of paths and calls back with the paths to which something happened."""

    def __init__(self, on_event: Callable[[set[str]], None]) -> None:
        self._on_event = on_event
        self._descriptor = -1
        self._folders: dict[int, str] = {}
        self._paths: frozenset[str] = frozenset()
        self._resume: asyncio.TimerHandle | None = None
        self.problems: dict[str, str] = {}

    def watch(self, paths: Iterable[str], *, anew: bool = False) -> None:
        """Replaces what is watched. `problems` says, by path, what cannot be watched and is polled.

        A path that ends with / means everything in that folder. `anew`: the folders may be others than before, by a mount.
        """
        wanted = frozenset(paths)
        if wanted == self._paths and not self.problems and not anew:
            return
        self.stop()
        self._paths = wanted
        if not wanted:
            return
        import ctypes  # Only hosts with file checks pay for it.

        libc = ctypes.CDLL(None, use_errno=True)
        self._descriptor = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._descriptor < 0:
            reason = os.strerror(ctypes.get_errno())
            self.problems = dict.fromkeys(wanted, f"cannot use inotify: {reason}; files are polled")
            return
        for path in sorted(wanted):
            self._add(libc, path)
        asyncio.get_running_loop().add_reader(self._descriptor, self._ready)

    def stop(self) -> None:
        """Forgets every watch."""
        self.problems = {}
        self._folders = {}
        self._paths = frozenset()
        if self._resume is not None:
            self._resume.cancel()
            self._resume = None
        if self._descriptor >= 0:
            asyncio.get_running_loop().remove_reader(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = -1

    def _add(self, libc: ctypes.CDLL, path: str) -> None:
        folder = path.rstrip("/") if path.endswith("/") else str(PurePosixPath(path).parent)
        if folder in self._folders.values():
            return
        if len(self._folders) >= WATCHES_MAX:
            self.problems[path] = f"cannot watch {path}: {WATCHES_MAX} folders are watched; it is polled"
            return
        import ctypes

        number = libc.inotify_add_watch(self._descriptor, os.fsencode(folder), _MASK)
        if number < 0:
            self.problems[path] = f"cannot watch {folder}: {os.strerror(ctypes.get_errno())}; it is polled"
            return
        self._folders[number] = folder

    def _ready(self) -> None:
        touched = self._take()
        if not touched:
            return
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._descriptor)
        self._resume = loop.call_later(PAUSE_S, loop.add_reader, self._descriptor, self._ready)
        self._on_event(touched)

    def _take(self) -> set[str]:
        try:
            data = os.read(self._descriptor, _READ_BYTES)
        except BlockingIOError:
            return set()
        touched: set[str] = set()
        offset = 0
        while offset < len(data):
            number, mask, _, length = _EVENT.unpack_from(data, offset)
            offset += _EVENT.size + length
            if mask & _OVERFLOW:
                return set(self._paths)
            name = data[offset - length : offset].rstrip(b"\0").decode("utf-8", "replace")
            folder = self._folders.get(number, "/")
            for path in (str(PurePosixPath(folder) / name), f"{folder}/"):
                if path in self._paths:
                    touched.add(path)
        return touched
