"""Names of systemd units: what may be given to systemctl, and what else a unit is called on this host."""

from __future__ import annotations

import os
import re

from .actions import Refused

# Targets, slices, scopes and devices are not offered: a job on one of them touches many units at once.
SUFFIXES = ("service", "socket", "timer", "mount", "automount", "path")
NAME_CHARS_MAX = 255
UNIT_DIRS = (
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
)
_LINKS_MAX = 8

_NAME = re.compile(r"(?P<stem>[A-Za-z0-9:_.\\][A-Za-z0-9:_.\\-]*(?:@[A-Za-z0-9:_.\\@-]+)?)\.(?P<suffix>[a-z]+)", re.ASCII)


def checked_name(unit: object) -> str:
    """The name, if it is one unit's full name with a suffix that jobs may touch; Refused("bad_parameter") otherwise."""
    if not isinstance(unit, str) or len(unit) > NAME_CHARS_MAX:
        raise Refused("bad_parameter", f"cannot use unit {str(unit)[:80]!r}: not a unit's name")
    match = _NAME.fullmatch(unit)
    if match is None:
        raise Refused(
            "bad_parameter", f"cannot use unit {unit[:80]!r}: a full name such as shop.service is needed, without wildcards"
        )
    if match["suffix"] not in SUFFIXES:
        raise Refused("bad_parameter", f"cannot use unit {unit!r}: only {', '.join(SUFFIXES)} units may be named")
    return unit


def names_on_disk(unit: str, unit_dirs: tuple[str, ...] = UNIT_DIRS) -> tuple[str, ...]:
    """The unit's name and those it is an alias of, by the links in systemd's folders; an instance also by its template."""
    names = [unit]
    for name in names:
        if len(names) > _LINKS_MAX:
            break
        names += [other for other in _linked(name, unit_dirs) if other not in names]
    return tuple(names)


def is_masked(unit: str, unit_dirs: tuple[str, ...] = UNIT_DIRS) -> bool:
    """Whether the first of systemd's folders that has the unit masks it, by a link to /dev/null."""
    for folder in unit_dirs:
        path = os.path.join(folder, unit)
        if os.path.lexists(path):
            return os.path.islink(path) and os.readlink(path) == "/dev/null"
    return False


def template_of(unit: str) -> str:
    """`a@.service` for `a@b.service`, else the empty text."""
    stem, _, suffix = unit.rpartition(".")
    name, at, instance = stem.partition("@")
    return f"{name}@.{suffix}" if at and instance else ""


def _linked(name: str, unit_dirs: tuple[str, ...]) -> list[str]:
    found = []
    for folder in unit_dirs:
        for each in filter(None, (name, template_of(name))):
            try:
                target = os.path.basename(os.readlink(os.path.join(folder, each)))
            except OSError:
                continue  # not a link: the usual case
            if target and target != "null":
                found.append(_instance(name, target))
    return found


def _instance(name: str, target: str) -> str:
    """An alias of a template, `b@x.service` -> `a@.service`, means the instance `a@x.service`."""
    stem, at, rest = target.partition("@")
    if not at or not rest.startswith("."):
        return target
    return f"{stem}@{name.partition('@')[2]}" if "@" in name else target
