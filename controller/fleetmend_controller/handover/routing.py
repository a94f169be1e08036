"""The section `notify` of the controller's configuration: named channels, and which of them is told of what."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from fleetmend.registry import load

from .. import notify
from ..notify import Channel
from ..notify._secrets import SecretError, read_secret
from ..options import Option, Problems, choice, duration, entries, items, listed, mapping, problems_of, text

NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
CHANNELS_MAX = 32
DAY_MS = 24 * 3_600_000
REMIND_MS = 4 * 3_600_000
SETTLE_MS = 2_000
# Nobody gets up for a ticket, and hosts that a common cause makes sick are not all seen within two seconds.
SETTLE_TICKETS_MS = 30_000


@dataclass(frozen=True, slots=True)
class Configured:
    """One channel with its options."""

    name: str
    channel: Channel
    options: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Route:
    """Whom it is for and how urgent it is; empty means any."""

    to: tuple[str, ...]
    severity: tuple[str, ...]
    channels: tuple[str, ...]

    def fits(self, to: str, severity: str) -> bool:
        """Whether this route takes it."""
        return (not self.to or to in self.to) and (not self.severity or severity in self.severity)


@dataclass(frozen=True, slots=True)
class Notify:
    """How people are told. `settle_ms` is how long the first word of a page waits, so that a storm is told as one.

    `settle_tickets_ms` is how long that of a ticket waits. `remind_ms` is None for never. `source` names this controller where
    several report to one place.
    """

    channels: Mapping[str, Configured]
    routes: tuple[Route, ...]
    default: tuple[str, ...]
    give_up_ms: int = DAY_MS
    remind_ms: int | None = REMIND_MS
    settle_ms: int = SETTLE_MS
    settle_tickets_ms: int = SETTLE_TICKETS_MS
    source: str = "fleetmend"

    def channels_for(self, to: str, severity: str) -> tuple[Configured, ...]:
        """The channels of the first route that fits, else of the default route."""
        names = next((route.channels for route in self.routes if route.fits(to, severity)), self.default)
        return tuple(self.channels[name] for name in dict.fromkeys(names))

    def first_word_ms(self, severity: str) -> int:
        """How long the first word of an incident waits for others of the same kind."""
        return self.settle_tickets_ms if severity == "ticket" else self.settle_ms

    def missing_secrets(self) -> Iterator[str]:
        """What the channels name and what cannot be read here and now, a sentence each."""
        for each in self.channels.values():
            for option, value in each.options.items():
                if isinstance(value, Path) and (problem := unreadable(option, value)):
                    yield f"channel {each.name}: {option}: {problem}"


def unreadable(option: str, path: Path) -> str:
    """Why a file that an option names cannot be used here and now; empty if it can."""
    if option == "ca_file":
        return "" if path.is_file() else f"cannot read {path}: there is no such file"
    try:
        read_secret(path)
    except SecretError as error:
        return str(error)
    return ""


def read_notify(node: yaml.Node) -> Notify:
    """The section, or Problems with everything that is wrong with it."""
    wrong: list[tuple[yaml.Node, str]] = []
    found = {name: value for name, _, value in entries(node)}
    channels = _part(found.pop("channels", None), node, "channels", _channels, wrong) or {}
    names = set(channels)

    def known(name_node: yaml.Node) -> str:
        name = text(name_node)
        # Where the channels themselves are wrong, a name may well be that of one of them.
        if channels and name not in names:
            raise ValueError(f"there is no channel {name!r}; there are {', '.join(sorted(names))}")
        return name

    routes: list[Route] = []
    if "routes" in found:
        routes = _part(found.pop("routes"), node, "routes", lambda value: _routes(value, known), wrong) or []
    default = _part(found.pop("default", None), node, "default", listed(known), wrong) or ()
    rest = {name: value for name, value in found.items() if name not in _REST}
    wrong += [(value, f"unknown setting {name!r}; known are {', '.join(sorted(_KNOWN))}") for name, value in rest.items()]
    values = {}
    for name, option in _REST.items():
        values[name] = option.default
        if name in found:
            values[name] = _part(found[name], node, name, option.read, wrong)
    if wrong:
        raise Problems(wrong)
    return Notify(channels, tuple(routes), tuple(default), *(values[name] for name in _REST))


_REST = {
    option.name: option
    for option in (
        Option("give_up_after", duration("1m", "30d"), "how long a message is tried", DAY_MS),
        Option("remind", duration("1m", "7d", never=True), "how often a page that nobody took is repeated", REMIND_MS),
        Option("settle", duration("1ms", "5m"), "how long the first word of a page waits for a storm", SETTLE_MS),
        Option("settle_tickets", duration("1ms", "5m"), "how long that of a ticket waits", SETTLE_TICKETS_MS),
        Option("source", text, "name of this controller", "fleetmend"),
    )
}
_KNOWN = ("channels", "routes", "default", *_REST)


def _part(value: yaml.Node | None, above: yaml.Node, name: str, read: Any, wrong: list[tuple[yaml.Node, str]]) -> Any:
    """One setting; None, with why among what is wrong, if it cannot be read."""
    if value is None:
        wrong.append((above, f"{name} is missing"))
        return None
    try:
        return read(value)
    except ValueError as error:
        wrong += problems_of(error, value, name)
        return None


def _channels(node: yaml.Node) -> dict[str, Configured]:
    types = load(notify, "CHANNEL", Channel)
    wrong: list[tuple[yaml.Node, str]] = []
    found = {}
    for name, key, value in entries(node):
        try:
            if not NAME.fullmatch(name):
                raise Problems([(key, f"{name!r} is no name: small letters, digits, - and _")])
            found[name] = _channel(name, value, types)
        except ValueError as error:
            wrong += problems_of(error, value, name)
    if not found and not wrong:
        wrong.append((node, "there must be one at least"))
    if len(found) > CHANNELS_MAX:
        wrong.append((node, f"more than {CHANNELS_MAX} channels"))
    if wrong:
        raise Problems(wrong)
    return found


def _channel(name: str, node: yaml.Node, types: Mapping[str, Channel]) -> Configured:
    parts = entries(node)
    kind = next((value for key, _, value in parts if key == "type"), None)
    if kind is None:
        raise ValueError(f"type is missing: one of {', '.join(types)}")
    channel = types[choice(*types)(kind)]
    rest = [(key, value) for key, value in node.value if key.value != "type"]
    options = mapping(channel.options)(yaml.MappingNode(node.tag, rest, node.start_mark, node.end_mark))
    problem = channel.judge(options)
    if problem:
        raise ValueError(problem)
    return Configured(name, channel, options)


def _routes(node: yaml.Node, known: Any) -> list[Route]:
    read = mapping((
        Option("to", listed(text), "whom it is for, as playbooks say", ()),
        Option("severity", listed(choice("page", "ticket")), "page or ticket", ()),
        Option("channels", listed(known), "names of channels", required=True),
    ))  # fmt: skip
    wrong: list[tuple[yaml.Node, str]] = []
    routes = []
    for number, item in enumerate(items(node), 1):
        try:
            routes.append(Route(**read(item)))
        except ValueError as error:
            wrong += problems_of(error, item, f"route {number}")
    if wrong:
        raise Problems(wrong)
    return routes
