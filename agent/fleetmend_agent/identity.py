"""Who this host is: key, certificate, CA and host id in the state folder, used only while others cannot read or change them."""

from __future__ import annotations

import json
import os
import stat
from dataclasses import asdict, dataclass
from pathlib import Path

KEY, CERTIFICATE, CA, IDENTITY = "agent.key", "agent.crt", "ca.crt", "identity.json"
FILE_BYTES_MAX = 256 * 1024


class IdentityError(ValueError):
    """The state folder cannot be trusted or used; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class Identity:
    """What the controller called this host, and when its certificate ends. Times are Unix milliseconds."""

    host_id: str
    hostname: str = ""
    not_before_ms: int = 0
    not_after_ms: int = 0

    @property
    def renew_at_ms(self) -> int:
        """The middle of the certificate's life."""
        return (self.not_before_ms + self.not_after_ms) // 2


@dataclass(frozen=True, slots=True)
class Credentials:
    """What mutual TLS needs, PEM."""

    key: bytes
    certificate: bytes
    ca: bytes


def is_enrolled(state_dir: Path) -> bool:
    """Whether this host has an identity already."""
    return (state_dir / IDENTITY).exists()


def load(state_dir: Path) -> Identity:
    """The identity, after owner and modes of the state folder and of everything secret in it were checked."""
    check_modes(state_dir)
    try:
        document = json.loads(_read(state_dir / IDENTITY))
        return Identity(
            host_id=str(document["host_id"]),
            hostname=str(document.get("hostname", "")),
            not_before_ms=int(document.get("not_before_ms", 0)),
            not_after_ms=int(document.get("not_after_ms", 0)),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise IdentityError(f"cannot use {state_dir / IDENTITY}: {error}; enrol this host again") from error


def credentials(state_dir: Path) -> Credentials:
    """Key, certificate and CA. Raises IdentityError."""
    return Credentials(_read(state_dir / KEY), _read(state_dir / CERTIFICATE), _read(state_dir / CA))


def check_modes(state_dir: Path) -> None:
    """Refuses a state folder into which others can look or write. Raises IdentityError."""
    owners = {0, os.geteuid()}
    if os.geteuid() == 0 and state_dir.is_dir():
        # Root may look at the state of the agent's own user; it must be the same user's throughout.
        owners.add(state_dir.stat().st_uid)
    _check(state_dir, 0o077, "0700", owners)
    for name in (KEY, IDENTITY):
        _check(state_dir / name, 0o077, "0600", owners)
    for name in (CERTIFICATE, CA):
        _check(state_dir / name, 0o022, "0644", owners)


def save(state_dir: Path, identity: Identity, owner: tuple[int, int] | None = None) -> None:
    """Writes the identity."""
    write(state_dir / IDENTITY, json.dumps(asdict(identity), indent=2).encode() + b"\n", 0o600, owner)


def write(path: Path, data: bytes, mode: int, owner: tuple[int, int] | None = None) -> None:
    """Replaces a file so that after a crash either the old or the new content is there. Raises OSError."""
    fresh = path.with_name(path.name + ".new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, mode)
    with os.fdopen(descriptor, "wb") as stream:
        os.fchmod(stream.fileno(), mode)
        if owner is not None:
            os.fchown(stream.fileno(), *owner)
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())
    fresh.replace(path)


def _check(path: Path, forbidden: int, wanted: str, owners: set[int]) -> None:
    try:
        status = path.lstat()
    except OSError as error:
        raise IdentityError(f"cannot use {path}: {error.strerror}; enrol this host: fleetmend-agent enroll") from error
    if stat.S_ISLNK(status.st_mode):
        raise IdentityError(f"cannot use {path}: it is a symbolic link")
    if status.st_uid not in owners:
        raise IdentityError(f"cannot use {path}: it belongs to uid {status.st_uid}; run: chown {os.geteuid()} {path}")
    if status.st_mode & forbidden:
        mode = stat.S_IMODE(status.st_mode)
        raise IdentityError(f"cannot use {path}: its mode {mode:04o} lets others in; run: chmod {wanted} {path}")


def _read(path: Path) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise IdentityError(f"cannot read {path}: {error.strerror}; enrol this host: fleetmend-agent enroll") from error
    if not data or len(data) > FILE_BYTES_MAX:
        raise IdentityError(f"cannot use {path}: it has {len(data)} bytes; enrol this host again")
    return data
