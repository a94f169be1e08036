"""A generic webhook: one JSON document a message, whose form is kept stable (docs/notify.md), signed if a key is given."""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import Any

from ..options import Option, path, url
from . import Answer, Channel, Message, Options, Outcome
from ._http import CA_FILE, TOKEN_FILE, post
from ._secrets import SecretError, read_secret
from ._times import rfc3339

VERSION = 1
SIGNATURE = "x-fleetmend-signature"


async def _send(options: Options, message: Message) -> Answer:
    body = json.dumps(document(message), ensure_ascii=False, separators=(",", ":")).encode()
    headers = {"idempotency-key": message.id}
    if options["hmac_file"] is not None:
        try:
            key = read_secret(options["hmac_file"]).encode()
        except SecretError as error:
            return Answer(Outcome.LATER, str(error))
        headers[SIGNATURE] = "sha256=" + hmac.new(key, body, hashlib.sha256).hexdigest()
    return await post(options["url"], body, options, headers)


def document(m: Message) -> dict[str, Any]:
    """The document. Fields are only ever added."""
    return {
        "version": VERSION,
        "id": m.id,
        "thread": m.thread,
        "event": m.kind.value,
        "source": m.source,
        "at": rfc3339(m.at_ms),
        "to": m.to,
        "severity": m.severity,
        "why": m.why,
        "text": m.text,
        "by": m.by,
        "reminder": m.reminder,
        "until": rfc3339(m.until_ms) if m.until_ms else None,
        "incident": {
            "id": m.incident,
            "opened": rfc3339(m.opened_ms) if m.opened_ms else None,
            "check": m.check,
            "key": m.key,
            "summary": m.summary,
            "playbook": m.playbook,
        },
        "host": {"id": m.host_id, "name": m.host, "labels": m.labels},
    }


CHANNEL = Channel(
    name="webhook",
    summary="A JSON document by HTTP POST",
    options=(
        Option("url", url, "where to", required=True),
        Option("hmac_file", path, f"a file with the key of the header {SIGNATURE}"),
        TOKEN_FILE,
        CA_FILE,
    ),
    send=_send,
)
