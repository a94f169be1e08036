"""Alertmanager, API v2: an incident in people's hands is a firing alert, told again while it lasts, and ended when it ends."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from ..options import Option, listed, url
from . import Answer, Channel, Kind, Message, Options, Outcome
from ._http import CA_FILE, TOKEN_FILE, post
from ._times import rfc3339

ALERTNAME = "FleetmendIncident"
REFRESH_MS = 60_000
# Alertmanager keeps nothing over a restart and calls an alert over that nobody repeats. So it is repeated each minute; and
# when nobody can repeat it, because the controller is gone, it stays for this long: that nothing is known does not mean well.
STAYS_MS = 4 * 3_600_000
NOTICE_STAYS_MS = 24 * 3_600_000


async def _send(options: Options, message: Message) -> Answer:
    """Every member of a cluster gets every alert: they remove doubles.

    One that is away is told when the alert is repeated. That it is over is not repeated: all of them must have it.
    """
    body = json.dumps([_alert(message)]).encode()
    urls = [f"{base.rstrip('/')}/api/v2/alerts" for base in options["urls"]]
    answers = await asyncio.gather(*(post(each, body, options) for each in urls))
    failed = [(each, answer) for each, answer in zip(urls, answers, strict=True) if answer.outcome is not Outcome.ACCEPTED]
    text = "; ".join(f"{each}: {answer.text}" for each, answer in failed)
    if not failed or (len(failed) < len(urls) and message.kind is not Kind.RESOLVED):
        return Answer(Outcome.ACCEPTED, text)
    outcome = Outcome.LATER if any(answer.outcome is Outcome.LATER for _, answer in failed) else Outcome.REFUSED
    return Answer(outcome, text, max(answer.retry_after_ms for _, answer in failed))


def _alert(m: Message) -> dict[str, Any]:
    labels = {"alertname": ALERTNAME, "incident": m.incident, "host": m.host, "check": m.check, "key": m.key}
    labels |= {"severity": m.severity, "owner": m.to, "source": m.source}
    if m.kind is Kind.NOTICE:
        labels["why"] = m.why
    # What is over must carry the labels with which it began, and ends at once.
    ends_ms = m.at_ms + STAYS_MS
    if m.kind is Kind.RESOLVED:
        ends_ms = m.at_ms
    elif m.kind in (Kind.NOTICE, Kind.TEST):
        ends_ms = m.at_ms + (NOTICE_STAYS_MS if m.kind is Kind.NOTICE else REFRESH_MS)
    return {
        "labels": {name: value for name, value in labels.items() if value},
        "annotations": {"summary": m.headline, "description": m.text, "why": m.why, "playbook": m.playbook},
        "startsAt": rfc3339(min(m.opened_ms or m.at_ms, ends_ms)),
        "endsAt": rfc3339(ends_ms),
    }


CHANNEL = Channel(
    name="alertmanager",
    summary="Alertmanager, API v2; several URLs are the members of one cluster",
    options=(
        Option("urls", listed(url), "base URLs of Alertmanager; each gets every alert", required=True),
        TOKEN_FILE,
        CA_FILE,
    ),
    send=_send,
    # It asks nobody for approval, and knows silences where others know acknowledgement.
    kinds=frozenset({Kind.NOTICE, Kind.RESOLVED}),
    refresh_ms=REFRESH_MS,
    reminds=False,
)
