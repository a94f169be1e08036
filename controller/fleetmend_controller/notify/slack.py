"""A Slack-compatible incoming webhook: Slack, Mattermost, Rocket.Chat. The URL is the secret, so it comes from a file."""

from __future__ import annotations

import json
from urllib.parse import urlsplit

from ..options import Option, path
from . import Answer, Channel, Kind, Message, Options, Outcome
from ._http import CA_FILE, post
from ._secrets import SecretError, read_secret

TEXT_CHARS_MAX = 3_000
_ESCAPES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})


async def _send(options: Options, message: Message) -> Answer:
    try:
        url = read_secret(options["url_file"])
    except SecretError as error:
        return Answer(Outcome.LATER, str(error))
    if urlsplit(url).scheme not in ("http", "https"):
        return Answer(Outcome.LATER, f"cannot use {options['url_file']}: it holds no http URL")
    return await post(url, json.dumps({"text": _text(message)}).encode(), options)


def _text(m: Message) -> str:
    """Nothing in it is a link, a mention or markup: hosts wrote parts of it."""
    lines = [f"*{_plain(m.headline)}*"]
    if m.kind in (Kind.ESCALATED, Kind.NOTICE):
        lines.append(_plain(f"{m.to}: {m.text}"))
    if m.kind is Kind.APPROVAL:
        lines.append(_plain(f"{m.to} is asked; `fleetmend approvals ls` lists what waits"))
    if m.incident and m.kind not in (Kind.RESOLVED, Kind.ACKNOWLEDGED):
        lines.append(f"`fleetmend explain {_plain(m.incident)}`")
    return "\n".join(lines)[:TEXT_CHARS_MAX]


def _plain(text: str) -> str:
    return text.translate(_ESCAPES).replace("*", "\N{ASTERISK OPERATOR}")


CHANNEL = Channel(
    name="slack",
    summary="A Slack-compatible incoming webhook",
    options=(Option("url_file", path, "a file with the URL of the webhook", required=True), CA_FILE),
    send=_send,
)
