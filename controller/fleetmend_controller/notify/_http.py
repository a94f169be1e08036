"""One POST to somebody who may be slow, gone or hostile, and what its answer means for the message."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fleetmend.plain import plain_line

from ..options import Option, path
from . import SEND_TIMEOUT_S, Answer, Outcome
from ._secrets import SecretError, read_secret

if TYPE_CHECKING:
    import httpx

ANSWER_BYTES_MAX = 4 * 1024
ANSWER_CHARS_SHOWN = 200
RETRY_AFTER_MS_MAX = 3_600_000

CA_FILE = Option("ca_file", path, "certificates to trust instead of the system's")
TOKEN_FILE = Option("token_file", path, "a file with the token for the header Authorization: Bearer")

# Sent as it is, it will never be taken. What a person can mend on the other side (a key, a route) is tried again.
_NEVER = frozenset({
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    HTTPStatus.UNPROCESSABLE_ENTITY,
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
})  # fmt: skip


async def post(url: str, body: bytes, options: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> Answer:
    """Send a JSON body. A status that arrived counts even if the rest of the answer did not."""
    # Not at the top: a controller that tells nobody need not pay for it.
    import httpx

    try:
        sent = {"content-type": "application/json", "user-agent": "fleetmend", **bearer(options), **(headers or {})}
        verify = await asyncio.to_thread(_trust, options.get("ca_file"))
    except (SecretError, OSError, ssl.SSLError) as error:
        return Answer(Outcome.LATER, f"{error}")
    try:
        async with asyncio.timeout(SEND_TIMEOUT_S), httpx.AsyncClient(verify=verify, timeout=SEND_TIMEOUT_S) as client:
            return await _exchange(client, url, body, sent)
    except TimeoutError:
        return Answer(Outcome.LATER, f"no answer within {SEND_TIMEOUT_S:g} s")
    except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
        return Answer(Outcome.LATER, plain_line(f"{type(error).__name__}: {error}".rstrip(": "))[:ANSWER_CHARS_SHOWN])


async def _exchange(client: httpx.AsyncClient, url: str, body: bytes, headers: Mapping[str, str]) -> Answer:
    import httpx

    said = b""
    async with client.stream("POST", url, content=body, headers=headers) as response:
        try:
            async for chunk in response.aiter_raw():
                said += chunk
                if len(said) >= ANSWER_BYTES_MAX:
                    break
        except httpx.HTTPError:
            # The status says what became of it; what else was to be said is lost.
            said += b" (cut off)"
        return judged(response.status_code, said, response.headers)


def judged(status: int, said: bytes, headers: Mapping[str, str]) -> Answer:
    """What an answer of HTTP means."""
    if 200 <= status < 300:
        return Answer(Outcome.ACCEPTED)
    text = f"status {status} {plain_line(said.decode('utf-8', 'replace'))[:ANSWER_CHARS_SHOWN]}".rstrip()
    if status in _NEVER:
        return Answer(Outcome.REFUSED, text)
    return Answer(Outcome.LATER, text, retry_after_ms(headers))


def retry_after_ms(headers: Mapping[str, str]) -> int:
    """The header Retry-After, seconds or a date beside the header Date; 0 for none, at most an hour."""
    value = headers.get("retry-after", "").strip()
    if value.isascii() and value.isdigit():
        return min(int(value[:9]) * 1000, RETRY_AFTER_MS_MAX)
    try:
        wait = parsedate_to_datetime(value) - parsedate_to_datetime(headers.get("date", ""))
        return min(max(0, int(wait.total_seconds() * 1000)), RETRY_AFTER_MS_MAX)
    except (ValueError, TypeError, OverflowError):
        return 0


def bearer(options: Mapping[str, Any]) -> dict[str, str]:
    """The header that `token_file` asks for."""
    file = options.get("token_file")
    return {"authorization": f"Bearer {read_secret(file)}"} if file is not None else {}


def _trust(ca_file: Path | None) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=ca_file)
