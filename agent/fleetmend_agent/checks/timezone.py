"""The host keeps the declared time zone: its log files, timers and people agree on what time it is."""

from __future__ import annotations

from collections.abc import Iterable

from . import Check, CheckUnknown, Context, Field, Kind, Param, Result, Scalar, Status
from ._source import why

_LINK = "/etc/localtime"
_ZONES = "/usr/share/zoneinfo"
_UTC = "Etc/UTC"
# Names of one and the same zone.
_SAME_AS_UTC = frozenset({"Etc/UTC", "UTC", "Etc/UCT", "UCT", "Etc/Universal", "Universal", "Etc/Zulu", "Zulu"})


def _run(context: Context) -> Iterable[Result]:
    expected: str = context.params["zone"]
    got = _zone(context)
    right = got == expected or {got, expected} <= _SAME_AS_UTC
    text = f"the time zone is {got}" + ("" if right else f", it should be {expected}")
    finding: dict[str, Scalar] = {"zone": got, "expected": expected, "path": _LINK}
    return [Result(Status.OK if right else Status.CRIT, text, finding=finding)]


def _zone(context: Context) -> str:
    """The zone's name; without the file, it is UTC. A copy instead of a link is compared with the declared zone."""
    try:
        target = context.host.readlink(_LINK)
    except FileNotFoundError:
        return _UTC
    except OSError:
        return _copied(context)
    return target.partition("zoneinfo/")[2] or target


def _copied(context: Context) -> str:
    expected: str = context.params["zone"]
    try:
        same = context.host.read_bytes(_LINK) == context.host.read_bytes(f"{_ZONES}/{expected}")
    except OSError as error:
        raise CheckUnknown(f"cannot compare {_LINK} with the zone {expected}: {why(error)}") from error
    return expected if same else "a file of its own"


CHECK = Check(
    name="timezone",
    summary="The host keeps the declared time zone",
    run=_run,
    params=(
        Param("zone", Kind.TEXT, "the zone, e.g. Etc/UTC or Europe/Berlin", required=True),
        Param("path", Kind.TEXT, "what to watch for changes", default=_LINK, choices=(_LINK,)),
    ),
    finding=(
        Field("zone", Kind.TEXT, "the zone that it keeps"),
        Field("expected", Kind.TEXT, "the declared zone"),
        Field("path", Kind.TEXT, "the link that says so"),
    ),
    signal="inotify",
    every_s=60.0,
)
