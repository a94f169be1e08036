"""One certificate, in its file and as it is served: days left, from the declared CA, for the right name, and both the same."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import Check, CheckUnknown, Context, Field, Gauge, Kind, Param, Result, Scalar, Status
from ._source import why

if TYPE_CHECKING:
    from ..host import Host

_PROBE = str(Path(__file__).parents[1] / "certificate_probe.py")
_DAY_S = 86_400
_FAULTS = {
    "missing": "is not there",
    "unreadable": "holds no certificate",
    "not_yet_valid": "is not valid yet: the clock or the certificate is wrong",
    "expired": "has expired",
    "expires_soon": "expires soon",
    "self_signed": "is self-signed and not from the declared CA",
    "wrong_ca": "is not from the declared CA",
    "wrong_name": "is for another name",
    "wrong_key": "does not belong to its declared key",
    "differs": "is not the one in the file: the service still has the old one",
}


def _run(context: Context) -> Iterable[Result]:
    params = context.params
    if not params["path"] and not params["served_at"]:
        raise CheckUnknown("cannot judge a certificate without a file and without an address that serves it")
    found = _probed(context)
    now_s = context.host.wall_ms() / 1000
    places = [(place, found[place]) for place in ("file", "served") if found[place]]
    if not places:
        raise CheckUnknown(found["unread"] or f"cannot see the certificate at {params['served_at']}: {found['not_served']}")
    where, fault = "", ""
    for place, facts in places:
        fault = _fault(facts, now_s, params)
        if fault:
            where = place
            break
    if found["file"] and where != "file" and not _is_of_its_key(context):
        where, fault = "file", "wrong_key"
    elif not fault and len(places) == 2 and not found["same"]:
        where, fault = "served", "differs"
    elif where == "served" and len(places) == 2 and not found["same"]:
        # The file is well: all that is wrong is that the service does not have it yet.
        fault = "differs"
    return [_result(context, found, where, fault, now_s)]


def _is_of_its_key(context: Context) -> bool:
    """Only root may read the key, so the executor looks, once for each pair of files. What cannot be told counts as yes."""
    host, params = context.host, context.params
    if not params["key"] or not params["path"] or host.look is None:
        return True
    stamp = tuple(_stamp(host, params[word]) for word in ("path", "key"))
    if context.memory.get("pair") == stamp:
        return True
    try:
        seen = host.look("keypairs", context.timeout_s / 3)
    except OSError:
        return True
    word = seen.get(params["name"]) if isinstance(seen, dict) else None
    if word == "same":
        context.memory["pair"] = stamp
    return bool(word != "other")


def _stamp(host: Host, path: str) -> tuple[int, int, int]:
    try:
        found = host.stat(path)
    except OSError:
        return (0, 0, 0)
    return (found.st_ino, found.st_mtime_ns, found.st_size)


def _watched(_host: Host, params: Mapping[str, Any]) -> Iterable[str]:
    return tuple(params[word] for word in ("path", "key") if params[word])


def _probed(context: Context) -> dict[str, Any]:
    params = context.params
    files = [context.host.path(params[key]) if params[key] else "" for key in ("path", "ca")]
    argv = (sys.executable, "-I", _PROBE, files[0], params["served_at"], files[1], params["server_name"])
    try:
        finished = context.host.run(argv, context.timeout_s * 0.9)
    except OSError as error:
        raise CheckUnknown(f"cannot look at the certificate: {why(error)}") from error
    if finished.exit_code or finished.timed_out:
        last = finished.stderr.strip().rpartition("\n")[2] or "it took too long"
        raise CheckUnknown(f"cannot look at the certificate: {last}")
    found: dict[str, Any] = json.loads(finished.stdout)
    if found["problem"]:
        raise CheckUnknown(found["problem"])
    return found


def _fault(facts: Mapping[str, Any], now_s: float, params: Mapping[str, Any]) -> str:
    if facts["fault"] in {"missing", "unreadable"}:
        return str(facts["fault"])
    if facts["not_before"] > now_s:
        return "not_yet_valid"
    if facts["not_after"] <= now_s:
        return "expired"
    if facts["fault"]:
        return str(facts["fault"])
    if params["server_name"] and not is_for(params["server_name"], facts["names"] or [facts["subject"]]):
        return "wrong_name"
    return "expires_soon" if facts["not_after"] - now_s < params["min_days"] * _DAY_S else ""


def is_for(wanted: str, names: Iterable[str]) -> bool:
    """Whether a certificate with these names is for the wanted one; a * stands for its first part."""
    wanted = wanted.lower()
    return any(wanted == name.lower() or (name[:2] == "*." and wanted.partition(".")[2] == name[2:].lower()) for name in names)


def _result(context: Context, found: Mapping[str, Any], where: str, fault: str, now_s: float) -> Result:
    params = context.params
    judged = found[where or ("file" if found["file"] else "served")]
    left = [facts["not_after"] - now_s for facts in (found["file"], found["served"]) if "not_after" in facts]
    finding: dict[str, Scalar] = {
        "name": params["name"] or params["path"] or params["served_at"],
        "path": params["path"],
        "served_at": params["served_at"],
        "fault": fault,
        "where": where,
        "days_left": int(min(left, default=0) // _DAY_S),
        "subject": str(judged.get("subject", "")),
        "issuer": str(judged.get("issuer", "")),
        "renew": params["renew"],
        "reload": params["reload"],
    }
    gauges = {"certificate_left_seconds": round(min(left))} if left else {}
    what = {"": "certificate", "file": f"certificate {params['path']}", "served": f"certificate at {params['served_at']}"}[
        where
    ]
    days = f"{finding['days_left']} days left"
    if fault:
        return Result(Status.CRIT, f"{what} {_FAULTS[fault]}; {days}", finding=finding, gauges=gauges)
    silent = f"; nothing serves it now: {found['not_served']}" if found["not_served"] else ""
    return Result(Status.OK, f"{finding['name']}: {days}{silent}", finding=finding, gauges=gauges)


CHECK = Check(
    name="tls_certificate",
    summary="A certificate has days left, is from the declared CA, and the served one is the one in the file",
    run=_run,
    params=(
        Param("path", Kind.TEXT, "PEM file of the certificate; empty: only what is served counts", default=""),
        Param("served_at", Kind.TEXT, "host and port that serve it; empty: only the file counts", default=""),
        Param("min_days", Kind.INTEGER, "CRIT when fewer days are left", default=14, minimum=0, maximum=3650),
        Param("key", Kind.TEXT, "file of its key, which it must belong to; empty: any", default=""),
        Param("ca", Kind.TEXT, "PEM file of the CA certificates that it must come from; empty: any", default=""),
        Param("server_name", Kind.TEXT, "name that it must be for; empty: any", default=""),
        Param("name", Kind.TEXT, "what to call it, for the finding", default=""),
        Param("renew", Kind.TEXT, "name of the host's command that renews it, for the finding", default=""),
        Param("reload", Kind.TEXT, "unit to reload for a new one, for the finding", default=""),
    ),
    finding=(
        Field("name", Kind.TEXT, "what it is called"),
        Field("path", Kind.TEXT, "its file"),
        Field("served_at", Kind.TEXT, "where it is served"),
        Field("fault", Kind.TEXT, f"what is wrong, empty if nothing: {', '.join(_FAULTS)}"),
        Field("where", Kind.TEXT, "which one is wrong: file or served; empty if none"),
        Field("days_left", Kind.INTEGER, "days until the first of the two expires; negative when it has"),
        Field("subject", Kind.TEXT, "common name of the one that is judged"),
        Field("issuer", Kind.TEXT, "common name of its issuer"),
        Field("renew", Kind.TEXT, "the command that renews it, if one is declared"),
        Field("reload", Kind.TEXT, "the unit to reload for a new one, if one is declared"),
    ),
    gauges=(Gauge("certificate_left_seconds", "time until the first of the two expires"),),
    blocking=True,
    signal="inotify",
    watched=_watched,
    every_s=300.0,
    timeout_s=10.0,
)
