"""PagerDuty, Events API v2: trigger, acknowledge and resolve under one dedup_key an incident."""

from __future__ import annotations

import json
from typing import Any

from ..options import Option, path, url
from . import Answer, Channel, Kind, Message, Options, Outcome
from ._http import CA_FILE, post
from ._secrets import SecretError, read_secret
from ._times import rfc3339

URL = "https://events.pagerduty.com/v2/enqueue"
SUMMARY_CHARS_MAX = 1_024
DEDUP_KEY_CHARS_MAX = 255
_SEVERITIES = {"page": "critical", "ticket": "warning"}
_ACTIONS = {Kind.ACKNOWLEDGED: "acknowledge", Kind.RESOLVED: "resolve"}


async def _send(options: Options, message: Message) -> Answer:
    try:
        key = read_secret(options["routing_key_file"])
    except SecretError as error:
        return Answer(Outcome.LATER, str(error))
    return await post(options["url"], json.dumps(_event(key, message)).encode(), options)


def _event(routing_key: str, m: Message) -> dict[str, Any]:
    action = _ACTIONS.get(m.kind, "trigger")
    event: dict[str, Any] = {
        "routing_key": routing_key,
        "event_action": action,
        "dedup_key": m.thread[:DEDUP_KEY_CHARS_MAX],
    }
    if action != "trigger":
        return event
    details = {"incident": m.incident, "why": m.why, "text": m.text, "playbook": m.playbook, "to": m.to, "labels": m.labels}
    return event | {
        "client": "Fleetmend",
        "payload": {
            "summary": m.headline[:SUMMARY_CHARS_MAX],
            "source": m.host or m.source,
            "severity": _SEVERITIES.get(m.severity, "info"),
            "timestamp": rfc3339(m.at_ms),
            "component": m.key,
            "class": m.check,
            "custom_details": details,
        },
    }


CHANNEL = Channel(
    name="pagerduty",
    summary="PagerDuty, Events API v2",
    options=(
        Option("routing_key_file", path, "a file with the integration's routing key", required=True),
        Option("url", url, "another address of the Events API", default=URL),
        CA_FILE,
    ),
    send=_send,
    # It reminds by itself, as its escalation policy says.
    reminds=False,
)
