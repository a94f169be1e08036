"""One HTTP address answers in time, with the expected status and text. Tells a hang from a refusal from a wrong answer."""

from __future__ import annotations

import functools
import ssl
from collections.abc import Iterable
from typing import TYPE_CHECKING

from . import Check, CheckUnknown, Context, Field, Gauge, Kind, Param, Result, Scalar, Status
from ._http import (
    BODY_BYTES_MAX,
    Head,
    Target,
    body_length,
    dechunk,
    is_chunked,
    parse_head,
    parse_statuses,
    parse_url,
    request,
)
from ._probe import FAULTS, Connection, Fault, connected, within
from ._source import human_seconds, why

if TYPE_CHECKING:
    from ..host import Host


async def _run(context: Context) -> Iterable[Result]:
    params = context.params
    target = parse_url(params["url"])
    statuses = parse_statuses(params["expect_status"])
    tls = _tls(context.host, params["ca"], verify=params["verify"]) if target.scheme == "https" else None
    finding: dict[str, Scalar] = {"url": target.shown, "fault": "", "status": 0}
    if params["unit"]:
        finding["unit"] = params["unit"]
    begin_ms = context.host.clock_ms()
    try:
        async with (
            within(context.timeout_s),
            connected(target.host, target.port, tls, params["server_name"] or None) as connection,
        ):
            await _ask(connection, target, statuses, params["expect_text"].encode(), finding)
    except Fault as fault:
        finding["fault"] = fault.word
        return [Result(Status.CRIT, f"{target.shown}: {fault}", finding=finding, gauges=_gauges(context, begin_ms))]
    took_ms = context.host.clock_ms() - begin_ms
    slow = 0 < params["slow"] <= took_ms
    text = f"{target.shown} answers {finding['status']} in {human_seconds(took_ms / 1000)}"
    return [Result(Status.WARN if slow else Status.OK, text, finding=finding, gauges=_gauges(context, begin_ms))]


def _gauges(context: Context, begin_ms: int) -> dict[str, float]:
    return {"http_probe_seconds": (context.host.clock_ms() - begin_ms) / 1000}


async def _ask(
    connection: Connection, target: Target, statuses: tuple[range, ...], text: bytes, finding: dict[str, Scalar]
) -> None:
    """Sends the request and judges the answer. Raises Fault."""
    await connection.send(request(target))
    head, rest = await _read_head(connection)
    finding["status"] = head.status
    if not any(head.status in wanted for wanted in statuses):
        raise Fault("wrong_status", f"it answers {head.status}")
    if text and not await _body_has(connection, head, rest, text):
        raise Fault("wrong_text", "the answer lacks the expected text")


async def _read_head(connection: Connection) -> tuple[Head, bytes]:
    data = b""
    while True:
        part = await connection.receive()
        if not part:
            raise Fault("closed", "it closes the connection without an answer" if not data else "it breaks off in the headers")
        data += part
        head = parse_head(data)
        if head is not None:
            return head, data[head.size :]


async def _body_has(connection: Connection, head: Head, body: bytes, text: bytes) -> bool:
    """Reads the body until the text is found, the body ends, or its limit is reached."""
    length = body_length(head)
    chunked = is_chunked(head)
    while True:
        content, complete = dechunk(body) if chunked else (body, length is not None and len(body) >= length)
        if text in content:
            return True
        if complete or len(body) >= BODY_BYTES_MAX:
            return False
        part = await connection.receive()
        if not part:
            return False
        body += part


def _tls(host: Host, ca: str, *, verify: bool) -> ssl.SSLContext:
    """What to trust: a file of CA certificates, or the system's; without `verify` whoever answers."""
    if not verify:
        return _unjudged()
    try:
        changed_ns = host.stat(ca).st_mtime_ns if ca else 0
        return _context(host.path(ca) if ca else "", changed_ns)
    except OSError as error:
        raise CheckUnknown(f"cannot read CA certificates {ca or 'of the system'}: {why(error)}") from error


@functools.lru_cache(maxsize=1)
def _unjudged() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


@functools.lru_cache(maxsize=8)
def _context(ca_file: str, changed_ns: int) -> ssl.SSLContext:
    """Kept, since reading the system's certificates takes some 20 ms; a changed file is another key."""
    del changed_ns
    return ssl.create_default_context(cafile=ca_file or None)


CHECK = Check(
    name="http_endpoint",
    summary="An HTTP address answers in time with the expected status and text",
    run=_run,
    params=(
        Param("url", Kind.TEXT, "http:// or https:// address; redirects are not followed", required=True),
        Param("expect_status", Kind.TEXT, "statuses that are good: 200, 200-299 or 200,301", default="200-399"),
        Param("expect_text", Kind.TEXT, "text that the first 256 KiB of the body must contain; empty: any", default=""),
        Param("slow", Kind.DURATION, "WARN when the answer takes this long; 0: never", default=0),
        Param("ca", Kind.TEXT, "file of CA certificates to trust for https, instead of the system's", default=""),
        Param("verify", Kind.FLAG, "judge the certificate too; false where tls_certificate does", default=True),
        Param("server_name", Kind.TEXT, "name that the certificate must have, instead of the URL's", default=""),
        Param("unit", Kind.TEXT, "systemd unit behind the address, for the finding", default=""),
    ),
    finding=(
        Field("url", Kind.TEXT, "the address, without its query"),
        Field("fault", Kind.TEXT, f"what is wrong, empty if nothing: {FAULTS}"),
        Field("status", Kind.INTEGER, "the HTTP status, 0 if there was none"),
        Field("unit", Kind.TEXT, "the unit behind the address, if one was named"),
    ),
    gauges=(Gauge("http_probe_seconds", "time until the answer was judged, or until the probe gave up"),),
    every_s=10.0,
    timeout_s=5.0,
)
