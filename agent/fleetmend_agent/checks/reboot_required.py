"""The host waits for a reboot: packages were updated that only a boot puts in force. Reported; nothing reboots by itself."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from . import Check, CheckUnknown, Context, Field, Gauge, Kind, Param, Result, Scalar, Status
from ._source import read_if_any, why

if TYPE_CHECKING:
    from ..host import Host

_MARKER = "/run/reboot-required"
_RED_HAT = "/etc/redhat-release"
_TOOL = ("needs-restarting", "-r")
_TOOL_S = 60.0
_NAMES_S = 0.5
_NAMES_LENGTH_MAX = 200
_MARK_OF_PACKAGE = "* "


def _run(context: Context) -> Iterable[Result]:
    try:
        waits, packages = _asked(context)
    except OSError as error:
        raise CheckUnknown(f"cannot tell whether a reboot is due: {why(error)}") from error
    names = " ".join(packages)
    finding: dict[str, Scalar] = {
        "packages": names if len(names) <= _NAMES_LENGTH_MAX else names[:_NAMES_LENGTH_MAX] + "...",
        "path": context.params["path"],
    }
    gauges = {"reboot_required_value": float(waits)}
    if not waits:
        return [Result(Status.OK, "no reboot is due", finding=finding, gauges=gauges)]
    return [Result(Status.CRIT, _words(str(finding["packages"])), finding=finding, gauges=gauges)]


def _words(packages: str) -> str:
    return f"a reboot is due for {packages}" if packages else "a reboot is due"


def _asked(context: Context) -> tuple[bool, list[str]]:
    """Whether a reboot is due, and for which packages. Raises OSError."""
    host, marker = context.host, context.params["path"]
    try:
        host.stat(marker)
    except FileNotFoundError:
        return _red_hat(host)
    packages = _named(host, f"{marker}.pkgs")
    if not packages:
        # Whoever writes the marker writes their names right after it.
        time.sleep(_NAMES_S)
        packages = _named(host, f"{marker}.pkgs")
    return True, packages


def _named(host: Host, path: str) -> list[str]:
    # Who wrote the marker need not have said why.
    return list(dict.fromkeys(read_if_any(host, path).split()))


def _red_hat(host: Host) -> tuple[bool, list[str]]:
    """There a tool compares what runs with what is installed: it ends with 1 when they differ."""
    if not host.exists(_RED_HAT):
        return False, []
    try:
        finished = host.run(_TOOL, _TOOL_S)
    except OSError:
        # yum-utils is not installed: nobody can tell, and nobody asked for it.
        return False, []
    lines = [line.strip() for line in finished.stdout.splitlines()]
    return finished.exit_code == 1, [line.removeprefix(_MARK_OF_PACKAGE) for line in lines if line.startswith(_MARK_OF_PACKAGE)]


CHECK = Check(
    name="reboot_required",
    summary="Whether the host waits for a reboot after updates",
    run=_run,
    params=(Param("path", Kind.TEXT, "the file that says so on Debian and Ubuntu", default=_MARKER),),
    finding=(
        Field("packages", Kind.TEXT, "the packages that need it, if it is known"),
        Field("path", Kind.TEXT, "the file that says so on Debian and Ubuntu"),
    ),
    gauges=(Gauge("reboot_required_value", "1 when a reboot is due, else 0"),),
    blocking=True,
    signal="inotify",
    every_s=1800.0,
    timeout_s=90.0,
)
