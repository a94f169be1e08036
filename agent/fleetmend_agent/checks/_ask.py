"""One bounded GET of a JSON document, over any stream: what checks ask of controllers and engines beside the machine itself."""

from __future__ import annotations

import json
from typing import Any

from ._http import body_length, dechunk, is_chunked, parse_head
from ._probe import Connection, Fault

JSON_BYTES_MAX = 2 * 1024 * 1024


async def get(connection: Connection, request: bytes) -> tuple[int, bytes]:
    """Status and body of the answer. Raises Fault."""
    await connection.send(request)
    data, head = b"", None
    while head is None:
        part = await connection.receive()
        if not part:
            raise Fault("closed", "it closes the connection without an answer")
        data += part
        head = parse_head(data)
    body = bytearray(data[head.size :])
    length, chunked = body_length(head), is_chunked(head)
    while len(body) < JSON_BYTES_MAX:
        if chunked and dechunk(bytes(body))[1]:
            break
        if not chunked and length is not None and len(body) >= length:
            break
        part = await connection.receive()
        if not part:
            break
        body += part
    if len(body) >= JSON_BYTES_MAX:
        raise Fault("bad_answer", f"the answer is longer than {JSON_BYTES_MAX} bytes")
    return head.status, dechunk(bytes(body))[0] if chunked else bytes(body)


def document(status: int, body: bytes) -> Any:
    """The JSON in a good answer. Raises Fault."""
    if status != 200:
        raise Fault("wrong_status", f"it answers {status}")
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Fault("bad_answer", "the answer is no JSON") from error
