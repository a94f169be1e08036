"""Only the accounts that should be root's are: a second name for uid 0 is a way in."""

from __future__ import annotations

from collections.abc import Iterable

from . import Check, Context, Field, Gauge, Kind, Param, Result, Status
from ._source import read

NAMES_SHOWN_MAX = 8


def _run(context: Context) -> Iterable[Result]:
    lines = read(context.host, context.params["path"]).splitlines()
    tables = (line.split(":") for line in lines)
    names = [words[0] for words in tables if len(words) > 2 and words[2].strip() and not words[2].strip().strip("0")]
    allowed = context.params["allowed"]
    extra = [name for name in dict.fromkeys(names) if name not in allowed]
    doubled = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    facts = {"accounts": " ".join([*extra, *doubled][:NAMES_SHOWN_MAX]), "path": context.params["path"]}
    gauges = {"accounts_uid0_value": float(len(names))}
    if extra or doubled:
        shown = ", ".join(repr(name) for name in [*extra, *doubled][:NAMES_SHOWN_MAX])
        return [Result(Status.CRIT, f"{shown} has uid 0 and should not", finding=facts, gauges=gauges)]
    return [Result(Status.OK, f"uid 0 is {', '.join(names) or 'nobody'}", finding=facts, gauges=gauges)]


CHECK = Check(
    name="accounts_uid0",
    summary="No account but the allowed ones has uid 0",
    run=_run,
    params=(
        Param("allowed", Kind.TEXT_LIST, "accounts that may have uid 0", default=["root"]),
        Param("path", Kind.TEXT, "the table of accounts", default="/etc/passwd"),
    ),
    finding=(
        Field("accounts", Kind.TEXT, "accounts that have uid 0 and should not"),
        Field("path", Kind.TEXT, "the table of accounts"),
    ),
    gauges=(Gauge("accounts_uid0_value", "accounts with uid 0"),),
    signal="inotify",
    every_s=60.0,
)
