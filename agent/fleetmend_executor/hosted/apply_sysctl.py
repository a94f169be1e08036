"""`apply_sysctl FILE SETTING`: sets one kernel setting to what the declared file says now."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable

from fleetmend.sysctls import is_setting, parse, path_of, plain

from ..actions import Refused
from . import Verb

FILE_BYTES_MAX = 256 * 1024
_FORBIDDEN_MODE = stat.S_IWGRP | stat.S_IWOTH


def _run(arguments: tuple[str, ...]) -> Iterable[str]:
    if len(arguments) != 2 or not arguments[0].startswith("/") or not is_setting(arguments[1]):
        raise Refused("bad_parameter", "cannot set: FILE SETTING are needed")
    path, setting = arguments
    value = _wanted(path).get(setting)
    if value is None:
        raise Refused("undeclared", f"cannot set {setting}: {path} does not name it")
    target = path_of(setting)
    # Neither the name nor what the kernel shows there is a link: a setting is a plain file.
    descriptor = os.open(target, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        before = plain(os.read(descriptor, 4096).decode("utf-8", "replace"))
        os.lseek(descriptor, 0, os.SEEK_SET)
        os.write(descriptor, f"{value}\n".encode())
    finally:
        os.close(descriptor)
    yield f"{setting} was {before}, is {value} as {path} says"


def _wanted(path: str) -> dict[str, str]:
    """The settings in the file, which only root may have written."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_uid != 0 or status.st_mode & _FORBIDDEN_MODE:
            raise Refused("not_trusted", f"cannot use {path}: it must be a file that root alone may write")
        return parse(os.read(descriptor, FILE_BYTES_MAX).decode("utf-8", "replace"))
    finally:
        os.close(descriptor)


VERB = Verb(name="apply_sysctl", summary="Set one kernel setting to what the declared file says.", run=_run)
