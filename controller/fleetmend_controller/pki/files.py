"""Files that hold secrets: written whole and synced or not at all, refused when others than their owner could read them."""

from __future__ import annotations

import os
import stat
from pathlib import Path

SECRET_BYTES_MAX = 256 * 1024
DIRECTORY_MODE = 0o700
FILE_MODE = 0o600


class StateError(RuntimeError):
    """The state directory cannot be trusted or used; the text says what to do."""


def make_private_dir(path: Path) -> None:
    """Create a directory that only its owner may enter; an existing one must already be such."""
    try:
        path.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)
    except OSError as error:
        raise StateError(f"cannot create {path}: {error.strerror}") from error
    require_private(path, DIRECTORY_MODE)


def require_private(path: Path, allowed: int) -> None:
    """StateError unless `path` belongs to this user (or root) and has no permission beyond `allowed`."""
    try:
        info = path.stat(follow_symlinks=False)
    except OSError as error:
        raise StateError(f"cannot use {path}: {error.strerror}; `fleetmend-controller init` creates it") from error
    directory = allowed == DIRECTORY_MODE
    if not (stat.S_ISDIR if directory else stat.S_ISREG)(info.st_mode):
        raise StateError(f"cannot use {path}: it is not a {'directory' if directory else 'plain file'}")
    if info.st_uid not in {os.geteuid(), 0}:
        raise StateError(f"cannot use {path}: it belongs to user {info.st_uid}; chown it to the controller's user")
    mode = stat.S_IMODE(info.st_mode)
    if mode & ~allowed:
        raise StateError(f"cannot use {path}: its mode is {mode:04o}, others may use it; run: chmod {allowed:o} {path}")


def write_secret(path: Path, content: bytes) -> None:
    """Put `content` at `path` with mode 0600, whole and synced, replacing what was there."""
    fresh = path.with_name(f".{path.name}.new")
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    except OSError:
        fresh.unlink(missing_ok=True)
        raise
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def read_secret(path: Path) -> bytes:
    """The content of a file that only its owner may read. StateError if it is absent, exposed or too large."""
    require_private(path, FILE_MODE)
    try:
        with path.open("rb") as file:
            content = file.read(SECRET_BYTES_MAX + 1)
    except OSError as error:
        raise StateError(f"cannot read {path}: {error.strerror}") from error
    if len(content) > SECRET_BYTES_MAX:
        raise StateError(f"cannot read {path}: larger than {SECRET_BYTES_MAX} bytes")
    return content
