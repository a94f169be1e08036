"""The port for Alertmanager's webhook: one POST, with a token unless only this machine reaches it, bounded in size and time."""

from __future__ import annotations

import asyncio
import hmac
import logging
from dataclasses import asdict
from http import HTTPStatus
from pathlib import Path

import sqlalchemy as sa
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ..alertmanager.body import BadBody
from ..alertmanager.inbox import Inbox
from ..decider.ports import JournalUnavailable
from ..notify._secrets import SecretError, read_secret
from .metrics import Metrics

log = logging.getLogger("fleetmend.alertmanager")

PATH = "/api/v1/alertmanager"
BODY_BYTES_MAX = 4 * 1024 * 1024
BODY_TIMEOUT_S = 20.0


class _Refused(Exception):
    """A call that is not taken; `reason` is the word in the metric."""

    def __init__(self, status: HTTPStatus, reason: str, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.reason = reason


def make_app(inbox: Inbox, metrics: Metrics, token_file: Path | None) -> Starlette:
    """The application. Alertmanager tries again after 5xx, so what may pass is one; what never will is a 4xx."""

    async def webhook(request: Request) -> Response:
        try:
            await _admit(request, token_file)
            body = await _body(request)
            taken = await inbox.take(body)
        except BadBody as error:
            return _no(metrics, _Refused(HTTPStatus.BAD_REQUEST, "bad_body", str(error)))
        except (JournalUnavailable, sa.exc.SQLAlchemyError) as error:
            text = f"cannot take alerts now: {error}"
            return _no(metrics, _Refused(HTTPStatus.SERVICE_UNAVAILABLE, "unavailable", text))
        except ClientDisconnect:
            return _no(metrics, _Refused(HTTPStatus.BAD_REQUEST, "cut_off", "cannot read the body: the connection ended"))
        except _Refused as refused:
            return _no(metrics, refused)
        return JSONResponse(asdict(taken))

    return Starlette(routes=[Route(PATH, webhook, methods=["POST"])])


async def _admit(request: Request, token_file: Path | None) -> None:
    if token_file is not None:
        try:
            token = await asyncio.to_thread(read_secret, token_file)
        except SecretError as error:
            raise _Refused(HTTPStatus.SERVICE_UNAVAILABLE, "no_token", str(error)) from error
        given = request.headers.get("authorization", "").encode()
        if not hmac.compare_digest(given, f"Bearer {token}".encode()):
            raise _Refused(HTTPStatus.UNAUTHORIZED, "bad_token", "cannot take alerts without the right bearer token")
    # A page in somebody's browser on this machine could send anything else without asking.
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise _Refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "media_type", "cannot take anything but application/json")


async def _body(request: Request) -> bytes:
    found = bytearray()
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            async for chunk in request.stream():
                found += chunk
                if len(found) > BODY_BYTES_MAX:
                    text = f"cannot take more than {BODY_BYTES_MAX} bytes at once: set max_alerts of the receiver"
                    raise _Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too_large", text)
    except TimeoutError as error:
        raise _Refused(HTTPStatus.REQUEST_TIMEOUT, "slow", "cannot wait longer for the body") from error
    return bytes(found)


def _no(metrics: Metrics, refused: _Refused) -> Response:
    metrics.webhook_refused.labels(refused.reason).inc()
    log.warning("refused a call of the webhook (%s): %s", refused.reason, refused)
    # What was not read is not read any more.
    headers = {"connection": "close"} if refused.status is not HTTPStatus.SERVICE_UNAVAILABLE else {}
    return JSONResponse({"error": str(refused)}, status_code=refused.status, headers=headers)
