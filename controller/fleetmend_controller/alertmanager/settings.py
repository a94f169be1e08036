"""The section `alertmanager` of the controller's configuration: where its webhook is served, and to whom."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

import yaml

from ..options import Address, Option, address, duration, mapping, path

LISTEN = Address("127.0.0.1", 7481)
# A little more than Alertmanager's default repeat_interval of 4 h.
SILENT_AFTER_MS = 5 * 3_600_000
OPTIONS = (
    Option("listen", address, "address and port of the webhook", LISTEN),
    Option("token_file", path, "a file with the token that Alertmanager sends; required unless it listens on loopback"),
    Option(
        "silent_after",
        duration("1m", "7d"),
        "after this time without a word an alert that fired is unknown; more than repeat_interval",
        SILENT_AFTER_MS,
    ),
)


@dataclass(frozen=True, slots=True)
class AlertmanagerIn:
    """How alerts come in."""

    listen: Address = LISTEN
    token_file: Path | None = None
    silent_after_ms: int = SILENT_AFTER_MS


def read_alertmanager(node: yaml.Node) -> AlertmanagerIn:
    """The section, or a ValueError with everything that is wrong with it."""
    values = mapping(OPTIONS)(node)
    found = AlertmanagerIn(values["listen"], values["token_file"], values["silent_after"])
    if found.token_file is None and not is_loopback(found.listen.host):
        raise ValueError("token_file is missing: without it alerts are taken on a loopback address only")
    return found


def is_loopback(host: str) -> bool:
    """Whether nobody but this machine reaches this address."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
