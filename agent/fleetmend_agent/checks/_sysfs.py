"""Small files of sysfs for checks: what is not there or not readable is nothing, as on most machines most of it is."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ._source import read_if_any

if TYPE_CHECKING:
    from ..host import Host

ENTRIES_MAX = 256
_INTEGER = re.compile(r"-?[0-9]{1,18}", re.ASCII)
_FILE_BYTES_MAX = 4096


def entries(host: Host, folder: str, pattern: str = r".+") -> list[str]:
    """The names in a folder that fit, in order; none if it is not there."""
    try:
        names = host.listdir(folder)
    except OSError:
        return []
    return sorted((name for name in names if re.fullmatch(pattern, name)), key=_natural)[:ENTRIES_MAX]


def text(host: Host, path: str) -> str:
    """A file's one line; empty if it cannot be read, as sysfs has it for what a device does not know now."""
    return read_if_any(host, path, _FILE_BYTES_MAX).strip()


def integer(host: Host, path: str) -> int | None:
    """A file's number; None if there is none."""
    found = text(host, path)
    return int(found) if _INTEGER.fullmatch(found) else None


def _natural(name: str) -> tuple[str, int, str]:
    """hwmon2 comes before hwmon10."""
    digits = re.search(r"\d{1,9}", name)
    return (name[: digits.start()], int(digits[0]), name) if digits else (name, -1, name)
