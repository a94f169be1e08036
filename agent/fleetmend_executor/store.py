"""Small files of the executor: read bounded and only if nobody else can have written them, replaced durably."""

from __future__ import annotations

import json
import os
import stat
from typing import NamedTuple

from fleetmend.seal import KEY_BYTES

IDENTITY_BYTES_MAX = 64 * 1024


class StateError(ValueError):
    """A file of the executor that must not be trusted; the text says why and what to do."""


class Identity(NamedTuple):
    """Who this host is. `epoch` is that of enrolment: lower ones are never obeyed."""

    host_id: str
    epoch: int
    key: bytes


def read_bounded(path: str, bytes_max: int, *, secret: bool = False) -> bytes:
    """The content of a regular file of root's or our own that no other user may write (or read, if secret)."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        status = os.fstat(fd)
        _check_owner(path, status, 0o077 if secret else 0o022)
        data = b""
        while len(data) <= bytes_max and (piece := os.read(fd, bytes_max + 1 - len(data))):
            data += piece
    finally:
        os.close(fd)
    if len(data) > bytes_max:
        raise StateError(f"cannot use {path}: larger than {bytes_max} bytes")
    return data


def write_synced(path: str, data: bytes) -> None:
    """Replace a file so that after a crash either the old or the new content is there. Mode 0600. Raises OSError."""
    fresh = f"{path}.new"
    fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        write_all(fd, data)
        os.fsync(fd)
    finally:
        os.close(fd)
    os.replace(fresh, path)
    sync_folder(os.path.dirname(path))


def write_all(fd: int, data: bytes) -> None:
    """Write everything or raise OSError."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def sync_folder(path: str) -> None:
    """Make a rename or a new name in the folder durable."""
    fd = os.open(path or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def read_identity(state_dir: str) -> Identity:
    """Key and identity as enrolment left them; StateError when they are missing, foreign or malformed."""
    try:
        key = read_bounded(f"{state_dir}/executor.key", 4096, secret=True)
        document = json.loads(read_bounded(f"{state_dir}/identity.json", IDENTITY_BYTES_MAX))
    except OSError as error:
        raise StateError(f"cannot read {error.filename}: {error.strerror}; enrol this host: fleetmend-agent enroll") from error
    except ValueError as error:
        raise StateError(f"cannot use the identity in {state_dir}: {error}") from error
    host_id, epoch = (document.get("host_id"), document.get("epoch", 0)) if isinstance(document, dict) else (None, None)
    if not isinstance(host_id, str) or not host_id or not isinstance(epoch, int):
        raise StateError(f"cannot use {state_dir}/identity.json: host_id or epoch is missing; enrol this host again")
    return Identity(host_id, epoch, _key_bytes(key, state_dir))


def _key_bytes(raw: bytes, state_dir: str) -> bytes:
    if len(raw) == KEY_BYTES:
        return raw
    try:
        key = bytes.fromhex(raw.decode("ascii").strip())
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise StateError(f"cannot use {state_dir}/executor.key: not {KEY_BYTES} bytes; enrol this host again")
    return key


def _check_owner(path: str, status: os.stat_result, forbidden: int) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise StateError(f"cannot use {path}: not a regular file")
    if status.st_uid not in {0, os.geteuid()}:
        raise StateError(f"cannot use {path}: it belongs to uid {status.st_uid}; run: chown root {path}")
    if status.st_mode & forbidden:
        mode, need = status.st_mode & 0o777, status.st_mode & 0o777 & ~forbidden
        raise StateError(f"cannot use {path}: its mode {mode:04o} lets others in; run: chmod {need:04o} {path}")
