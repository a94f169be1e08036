"""Copies of a fleet, and whether two fleets are the same, the order of their dicts included: the order is part of the state."""

from __future__ import annotations

import dataclasses
import functools
import typing
from collections.abc import Callable
from typing import Any

from fleetmend_controller.core.model import Scalar

Copy = Callable[[Any], Any]
Same = Callable[[Any, Any], bool]


def copy(value: Any) -> Any:
    """A dataclass that shares nothing changeable with the original."""
    made = _copier(type(value))
    return value if made is None else made(value)


def differing(one: Any, other: Any) -> list[str]:
    """The fields in which two dataclasses of a type differ."""
    hints = typing.get_type_hints(type(one))
    return [f for f, hint in hints.items() if not _same(hint)(getattr(one, f), getattr(other, f))]


@functools.cache
def _copier(kind: Any) -> Copy | None:
    """How to copy values of a type; None if they cannot change."""
    if dataclasses.is_dataclass(kind):
        return None if kind.__dataclass_params__.frozen else _copy_dataclass(kind)
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin is list:
        item = _copier(args[0])
        return list if item is None else lambda v: [item(x) for x in v]
    if origin is dict:
        item = _copier(args[1])
        return dict if item is None else lambda v: {k: item(x) for k, x in v.items()}
    changing = [c for c in map(_copier, args) if c is not None] if type(None) in args else []
    return (lambda v: None if v is None else changing[0](v)) if changing else None


def _copy_dataclass(kind: Any) -> Copy:
    hints = typing.get_type_hints(kind)
    fields = [(f.name, _copier(hints[f.name])) for f in dataclasses.fields(kind)]

    def made(value: Any) -> Any:
        new = object.__new__(kind)
        for name, each in fields:
            held = getattr(value, name)
            setattr(new, name, held if each is None else each(held))
        return new

    return made


@functools.cache
def _same(kind: Any) -> Same:
    if dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        fields = [(name, _same(hint)) for name, hint in hints.items()]
        return lambda a, b: a is b or all(same(getattr(a, n), getattr(b, n)) for n, same in fields)
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin is dict:
        if args[0] is str and args[1] in (str, Scalar):
            # Labels and findings: their order says nothing, and the journal does not keep it.
            return lambda a, b: a == b
        item = _same(args[1])
        return lambda a, b: list(a) == list(b) and all(item(x, y) for x, y in zip(a.values(), b.values(), strict=True))
    if origin is list:
        item = _same(args[0])
        return lambda a, b: len(a) == len(b) and all(map(item, a, b))
    return lambda a, b: a == b
