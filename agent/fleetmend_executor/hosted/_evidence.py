"""Where drifted copies are kept, so that no repair loses what somebody wrote: bounded, root's alone."""

from __future__ import annotations

import os
import stat

from ..run import wall_s
from ._folders import FILE, copy

FOLDER = "/var/lib/fleetmend-executor/evidence"
FILES_MAX = 200
BYTES_MAX = 64 << 20
COPY_BYTES_MAX = 8 << 20
NAME_CHARS_MAX = 120


def keep(name: str, folder_fd: int, path: str, folder: str = FOLDER) -> str:
    """A copy of a file, or of where a link leads; the oldest copies give way. Where it was kept. Raises OSError."""
    os.makedirs(folder, mode=0o700, exist_ok=True)
    kept = f"{folder}/{int(wall_s() * 1000):013d}{path[-NAME_CHARS_MAX:].replace('/', '+')}"
    fd = os.open(kept, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        if stat.S_ISLNK(os.stat(name, dir_fd=folder_fd, follow_symlinks=False).st_mode):
            os.write(fd, b"a symbolic link to " + os.fsencode(os.readlink(name, dir_fd=folder_fd)) + b"\n")
        else:
            source = os.open(name, FILE, dir_fd=folder_fd)
            try:
                copy(source, fd, COPY_BYTES_MAX)
            finally:
                os.close(source)
        os.fsync(fd)
    finally:
        os.close(fd)
    _make_room(folder)
    return kept


def _make_room(folder: str) -> None:
    """Names begin with the time, so the oldest come first."""
    names = sorted(os.listdir(folder))
    sizes = {name: os.lstat(f"{folder}/{name}").st_size for name in names}
    total = sum(sizes.values())
    while names[:-1] and (len(names) > FILES_MAX or total > BYTES_MAX):
        oldest = names.pop(0)
        os.unlink(f"{folder}/{oldest}")
        total -= sizes[oldest]
