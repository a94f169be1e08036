"""`set_timezone ZONE`: lets /etc/localtime lead to one of the zones that are installed."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable

from ..actions import Refused
from ..actions.set_timezone import ZONE
from . import Verb

LINK, ZONES, NAME_FILE = "/etc/localtime", "/usr/share/zoneinfo", "/etc/timezone"


def _run(arguments: tuple[str, ...]) -> Iterable[str]:
    if len(arguments) != 1 or not ZONE.fullmatch(arguments[0]):
        raise Refused("bad_parameter", "cannot set the time zone: the name of one is needed")
    return set_zone(arguments[0], LINK, ZONES, NAME_FILE)


def set_zone(zone: str, link: str, zones: str, name_file: str) -> Iterable[str]:
    """Replaces the link at once; the file with the zone's name is written only where there is one, as on Debian."""
    try:
        status = os.stat(f"{zones}/{zone}")
    except OSError as error:
        raise Refused("not_there", f"cannot set the time zone: {zone} is not installed") from error
    if not stat.S_ISREG(status.st_mode):
        raise Refused("not_there", f"cannot set the time zone: {zone} is not one")
    temporary = f"{link}.fleetmend-{os.getpid()}"
    os.symlink(f"{zones}/{zone}", temporary)
    os.replace(temporary, link)
    yield f"{link} leads to {zone}"
    if os.path.isfile(name_file) and not os.path.islink(name_file):
        _write(f"{name_file}.fleetmend-{os.getpid()}", f"{zone}\n", name_file)
        yield f"{name_file} names {zone}"


def _write(temporary: str, text: str, path: str) -> None:
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    try:
        os.write(descriptor, text.encode())
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    os.replace(temporary, path)


VERB = Verb(name="set_timezone", summary="Let the host keep one of the installed time zones.", run=_run)
