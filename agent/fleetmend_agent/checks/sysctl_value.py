"""Kernel settings are what their file says, one subject each: what was changed by hand is seen before the next boot."""

from __future__ import annotations

from collections.abc import Iterable

from fleetmend.sysctls import parse, path_of, plain

from . import Check, Context, Field, Gauge, Kind, Param, Result, Scalar, Status
from ._source import read, why


def _run(context: Context) -> Iterable[Result]:
    wanted = parse(read(context.host, context.params["path"]))
    results = [_compared(context, name, value) for name, value in wanted.items()]
    wrong = sum(result.status is Status.CRIT for result in results)
    text = (
        f"{wrong} of {len(wanted)} settings differ" if wrong else f"{len(wanted)} settings are as in {context.params['path']}"
    )
    yield Result(Status.OK, text, gauges={"sysctl_drifted_value": float(wrong)})
    yield from results


def _compared(context: Context, name: str, expected: str) -> Result:
    finding: dict[str, Scalar] = {"setting": name, "expected": expected, "path": context.params["path"]}
    finding["apply"] = context.params["apply"]
    try:
        got = plain(context.host.read_text(path_of(name)))
    except FileNotFoundError:
        # A module that is not loaded has no settings; that is a question about the module.
        return Result(Status.OK, f"{name} does not exist here", name, finding)
    except OSError as error:
        return Result(Status.UNKNOWN, f"cannot read {name}: {why(error)}", name, finding)
    finding["got"] = got
    if got == expected:
        return Result(Status.OK, f"{name} is {got}", name, finding)
    return Result(Status.CRIT, f"{name} is {got}, {context.params['path']} says {expected}", name, finding)


CHECK = Check(
    name="sysctl_value",
    summary="Kernel settings are what a file of sysctl.d says",
    run=_run,
    params=(
        Param("path", Kind.TEXT, "the file, e.g. /etc/sysctl.d/90-shop.conf", required=True),
        Param(
            "apply",
            Kind.TEXT,
            "whether the file's value may be set, for the finding",
            default="never",
            choices=("allowed", "never"),
        ),
    ),
    finding=(
        Field("setting", Kind.TEXT, "the setting, e.g. net.core.somaxconn"),
        Field("expected", Kind.TEXT, "the value in the file"),
        Field("got", Kind.TEXT, "the value in the kernel"),
        Field("path", Kind.TEXT, "the file"),
        Field("apply", Kind.TEXT, "allowed, or never: whether the file's value may be set"),
    ),
    gauges=(Gauge("sysctl_drifted_value", "settings that are not what the file says"),),
    signal="inotify",
    every_s=15.0,
)
