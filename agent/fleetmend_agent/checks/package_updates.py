"""Updates that wait to be installed, and those of them that close security holes. Told, never installed."""

from __future__ import annotations

import re
from collections.abc import Iterable

from ..tool import Finished
from . import Check, CheckUnknown, Context, Field, Gauge, Kind, Param, Result, Scalar
from ._source import above, why

OUTPUT_BYTES_MAX = 4 << 20
# `Inst bash [5.2.15-2] (5.2.15-3 Debian-Security:12/stable-security [amd64])`
_INSTALL = re.compile(r"^Inst (\S+)(?: \[[^\]]*\])? \(([^)]*)\)", re.MULTILINE)


def _run(context: Context) -> Iterable[Result]:
    """What apt would do by the lists that it has, without network and without its lock."""
    options = ("-o", "Debug::NoLocking=true", "-o", "APT::Get::Show-User-Simulation-Note=false")
    argv = ("apt-get", "--simulate", *options, "upgrade")
    try:
        done = context.host.run(argv, context.timeout_s * 0.9, OUTPUT_BYTES_MAX)
    except FileNotFoundError:
        return [_judged(context, "no apt on this machine", "")]
    except OSError as error:
        raise CheckUnknown(f"cannot ask apt: {why(error)}") from error
    return [_judged(context, "", _text(done))]


def _text(done: Finished) -> str:
    if done.timed_out or done.exit_code != 0:
        raise CheckUnknown(f"cannot ask apt: it ended with {done.exit_code}: {done.stderr[-200:].strip()}")
    return done.stdout


def _judged(context: Context, no_apt: str, text: str) -> Result:
    waiting = _INSTALL.findall(text)
    closing = [name for name, origin in waiting if "security" in origin.lower()]
    facts: dict[str, Scalar] = {"updates": len(waiting), "security_updates": len(closing), "packages": " ".join(closing[:8])}
    gauges = {"package_updates_value": float(len(waiting)), "package_security_updates_value": float(len(closing))}
    crit = context.params["crit_security"] or float("inf")
    status = above(len(closing), context.params["warn_security"] or float("inf"), crit)
    words = no_apt or f"{len(waiting)} updates wait, {len(closing)} of them for security"
    return Result(status, words, finding=facts, gauges=gauges)


CHECK = Check(
    name="package_updates",
    summary="Updates of packages that wait, and how many of them are for security",
    run=_run,
    params=(
        Param("warn_security", Kind.INTEGER, "WARN from so many security updates on; 0: never", default=1, minimum=0),
        Param("crit_security", Kind.INTEGER, "CRIT from so many security updates on; 0: never", default=0, minimum=0),
    ),
    finding=(
        Field("updates", Kind.INTEGER, "updates that wait"),
        Field("security_updates", Kind.INTEGER, "those of them that are for security"),
        Field("packages", Kind.TEXT, "the first few of those packages"),
    ),
    gauges=(
        Gauge("package_updates_value", "updates that wait"),
        Gauge("package_security_updates_value", "updates for security that wait"),
    ),
    blocking=True,
    every_s=21_600.0,
    timeout_s=60.0,
)
