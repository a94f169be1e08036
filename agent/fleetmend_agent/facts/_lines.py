"""Small readers that the facts share. Pure, but for `read_or`."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..host import Host


def read_or(host: Host, path: str, default: str = "") -> str:
    """A small file's text without its last line end, or the default where the machine has no such file."""
    try:
        return host.read_text(path).strip()
    except OSError:
        # Which files there are differs by kernel, architecture and hypervisor; an absent one is an answer.
        return default


def number_or(host: Host, path: str, default: int = 0) -> int:
    """A file that holds one whole number, or the default."""
    text = read_or(host, path)
    return int(text) if text.removeprefix("-").isdecimal() and text.isascii() else default


def assignments(text: str) -> dict[str, str]:
    """Lines `NAME=value`, where the value may be quoted as in a shell."""
    values: dict[str, str] = {}
    for line in text.splitlines():
        name, equals, value = line.strip().partition("=")
        if equals and name.isidentifier():
            values[name] = _unquote(value)
    return values


def _unquote(value: str) -> str:
    try:
        return " ".join(shlex.split(value))
    except ValueError:
        # An open quote: take it as it stands.
        return value


def pairs(text: str) -> dict[str, str]:
    """Lines `name : value`; of a name that repeats, the first counts."""
    values: dict[str, str] = {}
    for line in text.splitlines():
        name, colon, value = line.partition(":")
        if colon:
            values.setdefault(name.strip(), value.strip())
    return values
