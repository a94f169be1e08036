"""Reading for checks: what cannot be read or understood is UNKNOWN, with a text that says what and why."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

from . import CheckUnknown, Status

_KIBI = 1024

if TYPE_CHECKING:
    from ..host import Host


def read(host: Host, path: str, bytes_max: int | None = None) -> str:
    """A small file's text, or one up to `bytes_max`. Raises CheckUnknown."""
    try:
        return host.read_text(path) if bytes_max is None else host.read_text(path, bytes_max)
    except OSError as error:
        raise CheckUnknown(f"cannot read {path}: {why(error)}") from error


def read_if_any(host: Host, path: str, bytes_max: int | None = None) -> str:
    """As `read`, for what may well not be there, such as files of a process that just ended: empty if it cannot be read."""
    try:
        return host.read_text(path) if bytes_max is None else host.read_text(path, bytes_max)
    except OSError:
        return ""


def why(error: OSError) -> str:
    """The cause in words, without number and path."""
    if error.errno is not None and error.errno in errno.errorcode:
        return os.strerror(error.errno).lower()
    return str(error) or type(error).__name__


def above(value: float, warn: float, crit: float) -> Status:
    """WARN and CRIT from their limits on."""
    if value >= crit:
        return Status.CRIT
    return Status.WARN if value >= warn else Status.OK


def below(value: float, warn: float, crit: float) -> Status:
    """WARN and CRIT from their limits down."""
    if value <= crit:
        return Status.CRIT
    return Status.WARN if value <= warn else Status.OK


def worst(statuses: list[Status]) -> Status:
    """The one to act on: CRIT, then UNKNOWN, then WARN, then OK."""
    for status in (Status.CRIT, Status.UNKNOWN, Status.WARN):
        if status in statuses:
            return status
    return Status.OK


def human_bytes(size: float) -> str:
    """A size for people: 12.3 GiB."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(size) < _KIBI:
            return f"{size:.0f} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= _KIBI
    return f"{size:.1f} TiB"


def human_seconds(seconds: float) -> str:
    """A duration for people: 90.0 s, 12.0 min, 5.5 h, 3.2 d."""
    for unit, unit_s in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * unit_s:
            return f"{seconds / unit_s:.1f} {unit}"
    return f"{seconds:.1f} s"
