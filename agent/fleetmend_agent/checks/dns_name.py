"""One name leads to its declared address by the system's own resolver, in time; if not, who is to blame.

It repairs nothing: a changed hosts file or resolv.conf is put back by whoever keeps those files.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from . import Check, CheckUnknown, Context, Field, Gauge, Kind, Param, Result, Scalar, Status
from ._dns import ask
from ._source import human_seconds

if TYPE_CHECKING:
    from ..host import Host

_CAUSES = {
    "hosts_override": "/etc/hosts says so",
    "resolver_wrong": "/etc/resolv.conf does not name the declared resolver",
    "no_answer": "the declared resolver does not answer",
    "wrong_answer": "the declared resolver says so",
    "not_used": "the declared resolver answers rightly when asked directly",
    "slow": "it takes too long",
}
_DIRECT_S = 1.0
_SHARE = 0.6
_WIDTH = 100


def _run(context: Context) -> Iterable[Result]:
    name, expected = context.params["name"], list(context.params["addresses"])
    if not name or not expected:
        raise CheckUnknown("cannot judge a name without the addresses that it should have")
    begin_ms = context.host.clock_ms()
    got, problem = _resolved(context.host, name, context.timeout_s * _SHARE)
    took_ms = context.host.clock_ms() - begin_ms
    right = _is_right(got, expected)
    cause = "" if right else _cause(context, name, expected)
    if right and took_ms > context.params["slow"]:
        cause = "resolver_wrong" if _strangers(context) else "slow"
    finding: dict[str, Scalar] = {
        "name": name,
        "got": " ".join(got)[:_WIDTH],
        "expected": " ".join(expected)[:_WIDTH],
        "cause": cause,
        "direct": _direct(context, name, expected) if cause else "not_asked",
    }
    if cause == "no_answer" and finding["direct"] == "right":
        finding["cause"] = cause = "not_used"
    if cause == "no_answer" and finding["direct"] == "wrong":
        finding["cause"] = cause = "wrong_answer"
    gauges = {"dns_lookup_seconds": took_ms / 1000}
    if not cause:
        text = f"{name} is {finding['got']}, in {human_seconds(took_ms / 1000)}"
        return [Result(Status.OK, text, finding=finding, gauges=gauges)]
    what = f"is {finding['got']} instead of {finding['expected']}" if got and not right else problem or "is found late"
    return [Result(Status.CRIT, f"{name} {what}: {_CAUSES[cause]}", finding=finding, gauges=gauges)]


def _resolved(host: Host, name: str, patience_s: float) -> tuple[tuple[str, ...], str]:
    """What the system says within the time, or why nothing. The C library's resolver cannot be told when to give up."""
    found: list[tuple[str, ...]] = []
    errors: list[str] = []

    def look() -> None:
        try:
            found.append(host.resolve(name))
        except (OSError, UnicodeError) as error:
            errors.append(f"does not resolve: {getattr(error, 'strerror', None) or error}")

    thread = threading.Thread(target=look, name=f"resolve {name}", daemon=True)
    thread.start()
    thread.join(patience_s)
    if found:
        return found[0], ""
    return (), errors[0] if errors else f"does not resolve within {human_seconds(patience_s)}"


def _is_right(got: Sequence[str], expected: Sequence[str]) -> bool:
    """Every address of a family that was declared is one of those declared, and there is one."""
    families = {":" in address for address in expected}
    judged = [address for address in got if (":" in address) in families]
    return bool(judged) and set(judged) <= set(expected)


def _cause(context: Context, name: str, expected: Sequence[str]) -> str:
    overriding = [address for address in _in_hosts(context.host, name) if (":" in address) in {":" in e for e in expected}]
    if overriding and not set(overriding) <= set(expected):
        return "hosts_override"
    return "resolver_wrong" if _strangers(context) else "no_answer"


def _in_hosts(host: Host, name: str) -> list[str]:
    """What the hosts file gives for a name."""
    found = []
    for line in _lines(host, "/etc/hosts"):
        words = line.split()
        if len(words) > 1 and name.rstrip(".").lower() in (word.lower() for word in words[1:]):
            found.append(words[0])
    return found


def _strangers(context: Context) -> bool:
    """Whether resolv.conf names another server than those declared; a local stub is nobody's fault."""
    declared = {server.rpartition(":")[0] if server.count(":") == 1 else server for server in context.params["servers"]}
    lines = _lines(context.host, "/etc/resolv.conf")
    named = {words[1] for line in lines if len(words := line.split()) > 1 and words[0] == "nameserver"}
    return bool(declared) and (not named or any(each not in declared and not each.startswith("127.") for each in named))


def _lines(host: Host, path: str) -> list[str]:
    try:
        return [line.partition("#")[0].strip() for line in host.read_text(path).splitlines()]
    except OSError:
        # The file is gone: then nothing in it leads anywhere.
        return []


def _direct(context: Context, name: str, expected: Sequence[str]) -> str:
    """What the declared resolvers say when asked directly: right, wrong, silent, or not_asked when none is declared."""
    said = "not_asked"
    for server in context.params["servers"]:
        try:
            got = ask(server, name, _DIRECT_S, 28 if ":" in expected[0] else 1)
        except OSError:
            said = "silent" if said == "not_asked" else said
            continue
        if _is_right(got, expected):
            return "right"
        said = "wrong"
    return said


CHECK = Check(
    name="dns_name",
    summary="A name leads to its declared address by the system's resolver, in time",
    run=_run,
    params=(
        Param("name", Kind.TEXT, "the name", required=True),
        Param("addresses", Kind.TEXT_LIST, "the addresses that it may have", required=True),
        Param("servers", Kind.TEXT_LIST, "the declared resolvers, to be asked directly when something is wrong", default=[]),
        Param("slow", Kind.DURATION, "CRIT when the answer takes longer", default=1000),
    ),
    finding=(
        Field("name", Kind.TEXT, "the name"),
        Field("got", Kind.TEXT, "the addresses that the system gives"),
        Field("expected", Kind.TEXT, "the declared addresses"),
        Field("cause", Kind.TEXT, f"who is to blame, empty if nothing is wrong: {', '.join(_CAUSES)}"),
        Field("direct", Kind.TEXT, "what the declared resolver says when asked directly: right, wrong, silent, not_asked"),
    ),
    gauges=(Gauge("dns_lookup_seconds", "time until the system's resolver answered, or was given up"),),
    blocking=True,
    every_s=30.0,
    timeout_s=8.0,
)
