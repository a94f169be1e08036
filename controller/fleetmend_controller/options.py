"""Reading settings from YAML: each value by a reader that says what it must be, and every mistake of a mapping at once."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

LIST_MAX = 32
PORT_MAX = 65_535
TEXT_CHARS_MAX = 1_000
_DURATION = re.compile(r"([1-9][0-9]{0,6})(ms|s|m|h|d)")
_UNIT_MS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}

Reader = Callable[[yaml.Node], Any]


class Problems(ValueError):
    """Several mistakes below one setting, each with the place where it stands."""

    def __init__(self, found: Iterable[tuple[yaml.Node, str]]) -> None:
        self.found = tuple(found)
        super().__init__("; ".join(text for _, text in self.found))


@dataclass(frozen=True, slots=True)
class Address:
    """A host (IPv4, IPv6 without brackets, or a name) and a port; port 0 lets the system choose."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Option:
    """One setting of a mapping. `doc` is its line in the documentation."""

    name: str
    read: Reader
    doc: str
    default: Any = None
    required: bool = False


def text(node: yaml.Node) -> str:
    """A text that is not empty."""
    value = str(node.value) if isinstance(node, yaml.ScalarNode) else ""
    if not value.strip() or "\0" in value or len(value) > TEXT_CHARS_MAX:
        raise ValueError("it must be a text")
    return value


def path(node: yaml.Node) -> Path:
    """An absolute path."""
    found = Path(text(node))
    if not found.is_absolute():
        raise ValueError("it must be an absolute path")
    return found


def address(node: yaml.Node) -> Address:
    """An address and a port."""
    host, colon, port = text(node).rpartition(":")
    host = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not colon or not host or not port.isascii() or not port.isdigit() or int(port) > PORT_MAX:
        raise ValueError("it must be an address and a port, such as 0.0.0.0:7443 or [::]:7443")
    return Address(host, int(port))


def url(node: yaml.Node) -> str:
    """An http or https URL without a password in it."""
    value = text(node)
    try:
        parts = urlsplit(value)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        usable = False
    if not usable or any(c.isspace() for c in value):
        raise ValueError("it must be a URL that begins with http:// or https://")
    if parts.username or parts.password:
        raise ValueError("it must not hold a user or password: secrets come from files")
    return value


def whole(least: int, most: int) -> Reader:
    """A whole number within limits."""

    def read(node: yaml.Node) -> int:
        value = text(node)
        if not value.isascii() or not value.isdigit() or not least <= int(value[:12]) <= most:
            raise ValueError(f"it must be a whole number from {least} to {most}")
        return int(value)

    return read


def flag(node: yaml.Node) -> bool:
    """True or false."""
    value = text(node)
    if value not in ("true", "false"):
        raise ValueError("it must be true or false")
    return value == "true"


def choice(*words: str) -> Reader:
    """One of these words."""

    def read(node: yaml.Node) -> str:
        value = text(node)
        if value not in words:
            raise ValueError(f"it must be one of {', '.join(words)}")
        return value

    return read


def duration(least: str, most: str, *, never: bool = False) -> Reader:
    """Milliseconds within limits that are written like the value; with `never`, that word is None."""

    def read(node: yaml.Node) -> int | None:
        value = text(node)
        if never and value == "never":
            return None
        found = milliseconds(value)
        if found is None or not (milliseconds(least) or 0) <= found <= (milliseconds(most) or 0):
            raise ValueError(f"it must be a duration from {least} to {most}" + (", or never" if never else ""))
        return found

    return read


def milliseconds(value: str) -> int | None:
    """A duration as people write it; None if it is none."""
    found = _DURATION.fullmatch(value)
    return int(found[1]) * _UNIT_MS[found[2]] if found else None


def items(node: yaml.Node) -> list[yaml.Node]:
    """The entries of a list."""
    if not isinstance(node, yaml.SequenceNode) or not node.value or len(node.value) > LIST_MAX:
        raise ValueError(f"it must be a list of 1 to {LIST_MAX} entries")
    return list(node.value)


def listed(read: Reader) -> Reader:
    """A list, or one value as a list of one; every entry that cannot be used is named."""

    def read_all(node: yaml.Node) -> tuple[Any, ...]:
        if isinstance(node, yaml.ScalarNode):
            return (read(node),)
        values, wrong = [], []
        for item in items(node):
            try:
                values.append(read(item))
            except ValueError as error:
                wrong.append((item, str(error)))
        if wrong:
            raise Problems(wrong)
        return tuple(values)

    return read_all


def entries(node: yaml.Node) -> list[tuple[str, yaml.Node, yaml.Node]]:
    """The entries of a mapping: key, its node, value. A key that stands twice is an error."""
    if not isinstance(node, yaml.MappingNode):
        raise ValueError("it must be a mapping")  # noqa: TRY004 - every mistake in a file is a ValueError
    found = [(str(key.value) if isinstance(key, yaml.ScalarNode) else "", key, value) for key, value in node.value]
    names = [name for name, _, _ in found]
    twice = [(key, f"{name!r} is given twice") for index, (name, key, _) in enumerate(found) if name in names[:index]]
    if twice:
        raise Problems(twice)
    return found


def mapping(options: Iterable[Option]) -> Reader:
    """A mapping of these settings with defaults filled in."""
    known = {option.name: option for option in options}

    def read(node: yaml.Node) -> dict[str, Any]:
        values: dict[str, Any] = {}
        wrong: list[tuple[yaml.Node, str]] = []
        for name, key, value in entries(node):
            if name not in known:
                wrong.append((key, f"unknown setting {name!r}; known are {', '.join(sorted(known)) or 'none'}"))
                continue
            try:
                values[name] = known[name].read(value)
            except ValueError as error:
                wrong += problems_of(error, value, name)
        given = {name for name, _, _ in entries(node)}
        wrong += [(node, f"{name} is missing: {o.doc}") for name, o in known.items() if o.required and name not in given]
        if wrong:
            raise Problems(wrong)
        return {name: values.get(name, option.default) for name, option in known.items()}

    return read


def problems_of(error: ValueError, node: yaml.Node, name: str) -> list[tuple[yaml.Node, str]]:
    """The mistakes that a reader found, with the setting's name before each."""
    found = error.found if isinstance(error, Problems) else ((node, str(error)),)
    return [(place, f"{name}: {said}") for place, said in found]
