"""A line that is logged can be read again: the journal daemon runs and does its work.

systemd calls a frozen journald active, and until its own watchdog acts nothing else tells; what services log meanwhile waits,
and in the end they wait with it. So a line is sent as services send theirs, and looked for as people look for it.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from . import Check, CheckUnknown, Context, Field, Gauge, Kind, Param, Result, Scalar, Status
from ._source import human_seconds, why

if TYPE_CHECKING:
    from ..host import Host

_PAUSE_S = 0.25
_TOOL_S = 5.0
_FIELD = "FLEETMEND_PROBE"
_BOOT_ID = "/proc/sys/kernel/random/boot_id"
# What the socket of a daemon says that no longer takes lines; any other word is a question of our own rights.
_NOT_TAKEN = frozenset({errno.EAGAIN, errno.ENOBUFS, errno.ECONNREFUSED, errno.ENOENT, errno.ENOTCONN, errno.ETIMEDOUT})


def _run(context: Context) -> Iterable[Result]:
    host, within_ms = context.host, context.params["within"]
    begin_ms = host.clock_ms()
    finding: dict[str, Scalar] = {"fault": ""}
    if context.params["unit"]:
        finding["unit"] = context.params["unit"]
    status, text = Status.OK, ""
    token = f"{_boot(host)}-{host.clock_ns()}"
    try:
        host.journal_send(_line(token))
    except OSError as error:
        if error.errno not in _NOT_TAKEN:
            raise CheckUnknown(f"cannot log a line: {why(error)}") from error
        finding["fault"] = "not_taken"
        status, text = Status.CRIT, f"the journal takes no lines: {why(error)}"
    while not finding["fault"] and not _readable(host, token):
        if host.clock_ms() - begin_ms >= within_ms:
            finding["fault"] = "not_readable"
            status, text = Status.CRIT, f"a logged line cannot be read after {human_seconds(within_ms / 1000)}"
            break
        host.sleep(_PAUSE_S)
    took_s = (host.clock_ms() - begin_ms) / 1000
    return [
        Result(
            status,
            text or f"a logged line was readable after {human_seconds(took_s)}",
            finding=finding,
            gauges={"journal_probe_seconds": took_s},
        )
    ]


def _boot(host: Host) -> str:
    """Clocks begin anew with each boot; lines of boots before must not count."""
    try:
        return re.sub(r"[^0-9a-f]", "", host.read_text(_BOOT_ID))
    except OSError:
        return "0"


def _line(token: str) -> bytes:
    """One entry in the journal's own protocol."""
    fields = {
        "MESSAGE": "a line that proves that lines can be read",
        "PRIORITY": "6",
        "SYSLOG_IDENTIFIER": "fleetmend-probe",
        _FIELD: token,
    }
    return "".join(f"{name}={value}\n" for name, value in fields.items()).encode()


def _readable(host: Host, token: str) -> bool:
    """Whether the line is there. Raises CheckUnknown when nothing can tell."""
    argv = ("journalctl", "--quiet", "--no-pager", "--output=cat", "--since=-5min", "--lines=1", f"{_FIELD}={token}")
    try:
        ended = host.run(argv, _TOOL_S)
    except OSError as error:
        raise CheckUnknown(f"cannot run journalctl: {why(error)}") from error
    if ended.timed_out:
        return False
    # Without a match it ends with 1 and says nothing.
    if ended.exit_code and ended.stderr.strip():
        last = ended.stderr.strip().rpartition("\n")[2]
        raise CheckUnknown(f"cannot read the journal: journalctl ends with {ended.exit_code}: {last}")
    return bool(ended.stdout.strip())


CHECK = Check(
    name="journal_write",
    summary="A line that is logged can be read again",
    run=_run,
    params=(
        Param("within", Kind.DURATION, "CRIT when it cannot be read after so long", default=3_000, minimum=100, maximum=60_000),
        Param("unit", Kind.TEXT, "systemd unit of the journal, for the finding", default=""),
    ),
    finding=(
        Field("fault", Kind.TEXT, "not_taken, not_readable; empty if nothing is wrong"),
        Field("unit", Kind.TEXT, "the journal's unit, if one was named"),
    ),
    gauges=(Gauge("journal_probe_seconds", "time until the line was read, or until the probe gave up"),),
    blocking=True,
    every_s=30.0,
)
