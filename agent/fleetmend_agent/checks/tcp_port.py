"""One TCP address accepts connections and, if asked, answers what it should."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from . import Check, CheckUnknown, Context, Field, Gauge, Kind, Param, Result, Scalar, Status
from ._probe import FAULTS, Connection, Fault, connected, within
from ._source import human_seconds

ANSWER_BYTES_MAX = 64 * 1024
_ADDRESS = re.compile(r"(?:\[([0-9A-Fa-f:.%a-z]{2,64})\]|([^\s:/\[\]]{1,253})):(\d{1,5})")
_PORT_MAX = 65_535


async def _run(context: Context) -> Iterable[Result]:
    params = context.params
    host, port = parse_address(params["address"])
    finding: dict[str, Scalar] = {"address": params["address"], "fault": ""}
    if params["unit"]:
        finding["unit"] = params["unit"]
    begin_ms = context.host.clock_ms()
    status, text = Status.OK, f"{params['address']} answers"
    answer = bytearray()
    try:
        async with within(context.timeout_s), connected(host, port) as connection:
            await _talk(connection, params, answer)
    except Fault as fault:
        # Whoever says something else and then waits does not hang.
        told = _wrong_text(answer) if answer and fault.word == "hang" else fault
        finding["fault"] = told.word
        status, text = Status.CRIT, str(told)
    took_s = (context.host.clock_ms() - begin_ms) / 1000
    if status is Status.OK:
        text += f" in {human_seconds(took_s)}"
    return [Result(status, text, finding=finding, gauges={"tcp_probe_seconds": took_s})]


async def _talk(connection: Connection, params: dict[str, Any], answer: bytearray) -> None:
    """Sends, and reads into `answer` until what is expected came. Raises Fault."""
    if params["send"]:
        await connection.send(params["send"].encode())
    expect: bytes = params["expect"].encode()
    while (expect and expect not in answer) or (params["expect_any"] and not answer):
        part = await connection.receive()
        if not part and not answer:
            raise Fault("closed", "it closes the connection without an answer")
        if not part or len(answer) > ANSWER_BYTES_MAX:
            raise _wrong_text(answer)
        answer += part


def _wrong_text(answer: bytearray) -> Fault:
    return Fault("wrong_text", f"it answers {answer[:40].decode('utf-8', 'replace')!r}, not the expected text")


def parse_address(text: str) -> tuple[str, int]:
    """`name:port`, `127.0.0.1:port` or `[::1]:port`. Raises CheckUnknown."""
    found = _ADDRESS.fullmatch(text)
    if found is None or not 0 < int(found[3]) <= _PORT_MAX:
        raise CheckUnknown(f"cannot probe {text!r}: write it as host:port or [IPv6 address]:port")
    return found[1] or found[2], int(found[3])


CHECK = Check(
    name="tcp_port",
    summary="A TCP address accepts connections and answers what it should",
    run=_run,
    params=(
        Param("address", Kind.TEXT, "host:port or [IPv6 address]:port", required=True),
        Param("send", Kind.TEXT, "text to send after connecting; empty: nothing", default=""),
        Param("expect", Kind.TEXT, "text that the answer must contain; empty: connecting is enough", default=""),
        Param("expect_any", Kind.FLAG, "it must answer something, whatever it is", default=False),
        Param("unit", Kind.TEXT, "systemd unit behind the address, for the finding", default=""),
    ),
    finding=(
        Field("address", Kind.TEXT, "the address as it was given"),
        Field("fault", Kind.TEXT, f"what is wrong, empty if nothing: {FAULTS}"),
        Field("unit", Kind.TEXT, "the unit behind the address, if one was named"),
    ),
    gauges=(Gauge("tcp_probe_seconds", "time until the answer was judged, or until the probe gave up"),),
    every_s=10.0,
    timeout_s=5.0,
)
