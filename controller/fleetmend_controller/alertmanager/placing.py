"""Which host an alert is about, by the labels that name one. One host, or none: nothing is guessed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_address, ip_interface
from typing import Any
from urllib.parse import urlsplit

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from ..core.model import Host
from ..store.tables import facts

# In this order they are shown; each that is there must lead to the same host, or to none.
LABELS = ("instance", "host", "hostname", "node")
NAME_CHARS_MAX = 253


@dataclass(frozen=True, slots=True)
class Place:
    """The hosts that fit, by id, and what was looked for."""

    hosts: tuple[str, ...]
    looked_for: tuple[str, ...]

    @property
    def why_not(self) -> str:
        """Why it is no place; empty if it is one."""
        if len(self.hosts) == 1:
            return ""
        if not self.looked_for:
            return f"it has none of the labels {', '.join(LABELS)}"
        wanted = " or ".join(self.looked_for)
        return f"several hosts are {wanted}: {', '.join(self.hosts)}" if self.hosts else f"no host is {wanted}"


def names_in(labels: Mapping[str, str]) -> tuple[str, ...]:
    """The names and addresses in the labels, without ports."""
    found = (name_of(labels[label]) for label in LABELS if labels.get(label))
    return tuple(dict.fromkeys(name for name in found if name))


def name_of(value: str) -> str:
    """The host's part of `host:9100`, `[::1]:9100`, a URL, or a bare name or address."""
    text = value.strip()
    if "://" in text:
        try:
            text = urlsplit(text).hostname or ""
        except ValueError:
            return ""
    elif text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    return text.rstrip(".").lower() if len(text) <= NAME_CHARS_MAX else ""


def by_name(hosts: Mapping[str, Host]) -> dict[str, str]:
    """Names of hosts in small letters to ids; names are unique."""
    return {host.name.lower(): host.id for host in hosts.values()}


def place(labels: Mapping[str, str], named: Mapping[str, str], told: Mapping[str, tuple[str, ...]]) -> Place:
    """The hosts that any of the labels names. `told` are those that say so themselves, by address or hostname."""
    looked_for = names_in(labels)
    hosts: dict[str, None] = {}
    for name in looked_for:
        # A name that was given at enrolment is the host's; what hosts say of themselves counts where no such name is.
        found = (named[name],) if name in named else told.get(name, ())
        hosts.update(dict.fromkeys(found))
    return Place(tuple(hosts), looked_for)


def say_so_themselves(connection: Connection, names: tuple[str, ...], hosts: Mapping[str, Host]) -> dict[str, tuple[str, ...]]:
    """For each name the living hosts whose inventory has it, as an address of theirs or as their hostname."""
    found = {}
    for name in names:
        address = _address(name)
        section, text = ("network", f'"{address}/') if address else ("os", f'"hostname":"{name}"')
        if address == "":
            continue
        wanted = sa.select(facts.c.host, facts.c.body).where(
            facts.c.name == section, sa.func.lower(facts.c.body).contains(text, autoescape=True)
        )
        has = _has_address if section == "network" else _has_name
        rows = connection.execute(wanted)
        found[name] = tuple(row.host for row in rows if row.host in hosts and has(json.loads(row.body), address or name))
    return found


def _address(name: str) -> str | None:
    """The address as inventories write it, empty for one that many hosts have, None if it is none."""
    try:
        parsed = ip_address(name)
    except ValueError:
        return None
    return "" if parsed.is_loopback or parsed.is_unspecified or parsed.is_link_local or parsed.is_multicast else str(parsed)


def _has_address(body: Any, address: str) -> bool:
    return any(address == found for found in _addresses(body))


def _addresses(body: Any) -> Iterator[str]:
    """Hosts wrote it: anything may be in it."""
    interfaces = body.get("interfaces") if isinstance(body, dict) else None
    for interface in interfaces if isinstance(interfaces, list) else ():
        listed = interface.get("addresses") if isinstance(interface, dict) else None
        for entry in listed if isinstance(listed, list) else ():
            try:
                yield str(ip_interface(entry).ip)
            except ValueError:
                continue


def _has_name(body: Any, name: str) -> bool:
    return isinstance(body, dict) and str(body.get("hostname", "")).rstrip(".").lower() == name
