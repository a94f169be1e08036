"""The webhooks that take a host out of service and give it back: the section `drain` of the settings, and one call of them."""

from __future__ import annotations

import asyncio
import json

import yaml

from ..core.model import Host, Outcome
from ..core.orders import DRAIN_MS_MAX
from ..notify import Outcome as Taken
from ..notify._http import CA_FILE, TOKEN_FILE, post
from ..options import Option, duration, mapping, url, whole
from . import Done, DrainHook, Tools

PAUSE_S = 1.0
OPTIONS = (
    Option("url", url, "POST that takes a host out of service; any 2xx is a yes", required=True),
    Option("undrain_url", url, "POST that gives it back", required=True),
    Option("timeout", duration("1s", "60s"), "how long one call may take", 30_000),
    Option("tries", whole(1, 5), "calls before a drain has failed", 3),
    TOKEN_FILE,
    CA_FILE,
)


def read_drain(node: yaml.Node) -> DrainHook:
    """The section, or a ValueError with everything that is wrong with it."""
    v = mapping(OPTIONS)(node)
    if v["timeout"] * v["tries"] > DRAIN_MS_MAX - 10_000:
        raise ValueError(f"timeout times tries must stay below {DRAIN_MS_MAX // 1000 - 10} s")
    return DrainHook(v["url"], v["undrain_url"], v["timeout"], v["tries"], v["token_file"], v["ca_file"])


async def call(tools: Tools, what: str, host: Host, incident: str, key: str) -> Done:
    """Ask the hook, several times if need be. It must bear the same id twice."""
    hook = tools.drain
    if hook is None:
        return Done(Outcome.FAILED, "the controller has no drain hook: set drain: {url, undrain_url} in controller.yaml")
    where = hook.url if what == "drain" else hook.undrain_url
    document = {"version": 1, "id": key, "what": what, "host": host.name, "labels": dict(host.labels), "incident": incident}
    said = ""
    for number in range(hook.tries):
        if number:
            await asyncio.sleep(PAUSE_S)
        try:
            async with asyncio.timeout(hook.timeout_ms / 1000):
                answer = await post(
                    where, json.dumps(document).encode(), {"token_file": hook.token_file, "ca_file": hook.ca_file}
                )
        except TimeoutError:
            said = f"no answer within {hook.timeout_ms / 1000:g} s"
            continue
        if answer.outcome is Taken.ACCEPTED:
            return Done(Outcome.DONE, f"{what} hook said yes")
        said = answer.text
        if answer.outcome is Taken.REFUSED:
            break
    return Done(Outcome.FAILED, f"its {what} hook did not: {said}")
