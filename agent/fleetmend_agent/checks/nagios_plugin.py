"""Runs one Nagios-style plugin: exit code 0 to 3 is the status, performance data become gauges.

Only plugins that lie in one of the plugin folders run: whoever may write checks may not thereby run any program on a host.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from . import Check, CheckUnknown, Context, Field, Gauge, Kind, Param, Result, Scalar, Status
from ._perfdata import PluginOutput, parse_output
from ._source import why

if TYPE_CHECKING:
    from ..host import Host

FOLDERS = (
    "/usr/lib/nagios/plugins",
    "/usr/lib64/nagios/plugins",
    "/usr/local/lib/nagios/plugins",
    "/usr/local/lib/fleetmend/plugins",
    "/etc/fleetmend/plugins",
)
_STATUSES = {0: Status.OK, 1: Status.WARN, 2: Status.CRIT, 3: Status.UNKNOWN}
# The runner cuts a check off at its timeout; the plugin ends a little earlier, so that its processes are ended in order.
_BUDGET_SHARE = 0.9


def _run(context: Context) -> Iterable[Result]:
    argv: list[str] = context.params["argv"]
    plugin = find(context.host, argv[0])
    begin_ms = context.host.clock_ms()
    try:
        ended = context.host.run((context.host.path(plugin), *argv[1:]), context.timeout_s * _BUDGET_SHARE)
    except OSError as error:
        raise CheckUnknown(f"cannot run {plugin}: {why(error)}") from error
    took_s = (context.host.clock_ms() - begin_ms) / 1000
    if ended.timed_out:
        raise CheckUnknown(f"cannot finish {plugin}: it was ended after {took_s:.1f} s")
    output = parse_output(ended.stdout)
    status = _STATUSES.get(ended.exit_code, Status.UNKNOWN)
    text = output.text or ended.stderr.strip().partition("\n")[0] or "no output"
    if ended.exit_code not in _STATUSES:
        text = f"cannot judge: {plugin} ended with {ended.exit_code}: {text}"
    finding: dict[str, Scalar] = {
        "plugin": plugin.rpartition("/")[2],
        "exit_code": ended.exit_code,
        "output": output.text,
        "long_output": output.long_text,
    }
    if context.params["unit"]:
        finding["unit"] = context.params["unit"]
    return [Result(status, text, finding=finding, gauges=gauges(output) | {"plugin_run_seconds": took_s})]


def find(host: Host, name: str) -> str:
    """The plugin of that name, or that path, in the plugin folders. Raises CheckUnknown."""
    folder, _, base = name.rpartition("/")
    if base in {"", ".", ".."} or (folder and folder not in FOLDERS):
        raise CheckUnknown(f"cannot run {name!r}: plugins lie in {', '.join(FOLDERS)}")
    for place in (folder,) if folder else FOLDERS:
        if host.exists(f"{place}/{base}"):
            return f"{place}/{base}"
    raise CheckUnknown(f"cannot run {name!r}: there is no such plugin in {folder or ', '.join(FOLDERS)}")


def gauges(output: PluginOutput) -> dict[str, float]:
    """`plugin_<label>_<unit>`, and `_warn_` and `_crit_` beside it where the plugin names upper limits."""
    found: dict[str, float] = {}
    for value in output.values:
        found[f"plugin_{value.label}_{value.unit}"] = value.value
        for word, limit in (("warn", value.warn), ("crit", value.crit)):
            if limit is not None:
                found[f"plugin_{value.label}_{word}_{value.unit}"] = limit
    return found


CHECK = Check(
    name="nagios_plugin",
    summary="A Nagios-style plugin: exit codes 0 to 3, performance data to gauges",
    run=_run,
    params=(
        Param("argv", Kind.TEXT_LIST, "name or path of a plugin in a plugin folder, and its arguments", required=True),
        Param("unit", Kind.TEXT, "systemd unit that it judges, for the finding", default=""),
    ),
    finding=(
        Field("plugin", Kind.TEXT, "file name of the plugin"),
        Field("exit_code", Kind.INTEGER, "how it ended; negative: killed by that signal"),
        Field("output", Kind.TEXT, "its first line, without performance data"),
        Field("long_output", Kind.TEXT, "its further lines, cut"),
        Field("unit", Kind.TEXT, "the unit that it judges, if one was named"),
    ),
    gauges=(
        Gauge("plugin_run_seconds", "how long the plugin took"),
        Gauge("plugin_*", "each value of its performance data, in base units: _seconds, _bytes, _ratio, _total or _value"),
    ),
    blocking=True,
    every_s=60.0,
    timeout_s=20.0,
)
