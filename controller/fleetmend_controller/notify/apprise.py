"""Whatever Apprise can reach: more than a hundred services. It is large, so it is an extra: `fleetmend[apprise]`."""

from __future__ import annotations

import asyncio
from importlib.util import find_spec

from ..options import Option, path
from . import SEND_TIMEOUT_S, Answer, Channel, Kind, Message, Options, Outcome
from ._secrets import SecretError, read_lines

# Apprise asks one service after the other; its own limit for each is below this.
URLS_TIMEOUT_S = 4 * SEND_TIMEOUT_S
_TYPES = {Kind.RESOLVED: "success", Kind.ACKNOWLEDGED: "info", Kind.TEST: "info", Kind.NOTICE: "warning"}
_MISSING = 'cannot use Apprise: it is not installed; run pip install "fleetmend[apprise]" in the controller\'s environment'


async def _send(options: Options, message: Message) -> Answer:
    if find_spec("apprise") is None:
        return Answer(Outcome.LATER, _MISSING)
    try:
        urls = read_lines(options["urls_file"])
        async with asyncio.timeout(URLS_TIMEOUT_S):
            return await asyncio.to_thread(_notify, urls, message)
    except SecretError as error:
        return Answer(Outcome.LATER, str(error))
    except TimeoutError:
        return Answer(Outcome.LATER, f"no answer within {URLS_TIMEOUT_S:g} s")


def _notify(urls: list[str], m: Message) -> Answer:
    import apprise

    known = apprise.Apprise()
    for number, url in enumerate(urls, 1):
        if not known.add(url):
            # The URL itself holds secrets.
            return Answer(Outcome.LATER, f"cannot use line {number} of urls_file: Apprise knows no such URL")
    kind = _TYPES.get(m.kind, "failure" if m.severity == "page" else "warning")
    told = known.notify(title=m.headline, body="\n".join(filter(None, (m.text, m.incident))), notify_type=kind)
    return Answer(Outcome.ACCEPTED) if told else Answer(Outcome.LATER, "not every service took it; Apprise says no more")


CHANNEL = Channel(
    name="apprise",
    summary="The services that Apprise knows",
    options=(Option("urls_file", path, "a file with Apprise URLs, one a line", required=True),),
    send=_send,
    judge=lambda _options: "" if find_spec("apprise") is not None else _MISSING,
)
