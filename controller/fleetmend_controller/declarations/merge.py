"""What several declarations tell one host, as one; and where they would tell it different things."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any


def merged(parts: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """What several declarations tell one host. They agree where they meet: `declarations.build` saw to it."""
    whole: dict[str, Any] = {}
    for part in parts:
        for name, value in part.items():
            held = whole.get(name)
            if isinstance(value, dict) and isinstance(held, dict):
                whole[name] = held | value
            elif isinstance(value, list) and isinstance(held, list):
                whole[name] = held + [item for item in value if item not in held]
            else:
                whole[name] = value
    return whole


def disagreements(mine: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Where two declarations tell the same host different things, as paths in the file."""
    found: list[tuple[str, ...]] = []
    for name in mine.keys() & theirs.keys():
        one, other = mine[name], theirs[name]
        if isinstance(one, dict) and isinstance(other, dict):
            found += [(name, key) for key in one.keys() & other.keys() if one[key] != other[key]]
        elif one != other and not (isinstance(one, list) and isinstance(other, list)):
            found.append((name,))
    return sorted(found)
