"""Dataclasses to JSON values and back, by their annotations. What the journal and the snapshots hold is made here.

Enums become their values, dataclasses objects, tuples and lists arrays. Dicts become arrays of pairs, because the order of the
core's dicts is part of its state and canonical JSON sorts objects; only labels and findings, text to scalars, become objects.
Members of the unions Event and Effect carry their class name as `type`. Converters are built once a type.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import json
import types
import typing
from collections.abc import Callable
from typing import Any

from ..core import effects, events

Convert = Callable[[Any], Any]

_SCALARS = (str, int, float, bool)

EVENTS: dict[str, type] = {c.__name__: c for c in typing.get_args(events.Event)}
EFFECTS: dict[str, type] = {c.__name__: c for c in typing.get_args(effects.Effect)}


class CodecError(ValueError):
    """A stored document that does not fit its type."""


def dumps(value: Any) -> str:
    """Canonical JSON text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def encode(value: Any) -> Any:
    """A dataclass as JSON values."""
    return _encoder_of(value)(value)


def encode_tagged(value: Any) -> dict[str, Any]:
    """An event or effect as JSON values with its class name under `type`."""
    return {"type": type(value).__name__, **_encoder_of(value)(value)}


def decode(kind: type, value: Any) -> Any:
    """The dataclass of a type from JSON values; CodecError if they do not fit."""
    try:
        return decoder(kind)(value)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CodecError(f"cannot read a stored {kind.__name__}: {error!r}") from error


def decode_event(value: dict[str, Any]) -> events.Event:
    """An event from its tagged JSON values."""
    name = value.get("type") if isinstance(value, dict) else None
    kind = EVENTS.get(name) if isinstance(name, str) else None
    if kind is None:
        raise CodecError(f"cannot read a stored event: unknown type {name!r}")
    return typing.cast("events.Event", decode(kind, value))


def _encoder_of(value: Any) -> Convert:
    kind: Any = type(value)
    return encoder(kind)


@functools.cache
def encoder(kind: Any) -> Convert:
    """The function that turns values of a type into JSON values."""
    if dataclasses.is_dataclass(kind):
        fields = [(name, encoder(hint)) for name, hint in _hints(kind)]
        return lambda v: {name: convert(getattr(v, name)) for name, convert in fields}
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return lambda v: v.value
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin in (list, tuple):
        return _encode_sequence(args)
    if origin is dict:
        return _encode_dict(args)
    if origin in (typing.Union, types.UnionType):
        return _encode_union(args)
    return _same


@functools.cache
def decoder(kind: Any) -> Convert:
    """The function that turns JSON values into values of a type."""
    if dataclasses.is_dataclass(kind):
        return _decode_dataclass(typing.cast("type", kind))
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return kind
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin is list:
        item = decoder(args[0])
        return lambda v: [item(x) for x in v]
    if origin is tuple:
        return _decode_tuple(args)
    if origin is dict:
        return _decode_dict(args)
    if origin in (typing.Union, types.UnionType):
        return _decode_union(args)
    return _same


def _hints(kind: Any) -> list[tuple[str, Any]]:
    hints = typing.get_type_hints(kind)
    return [(field.name, hints[field.name]) for field in dataclasses.fields(kind)]


def _same(value: Any) -> Any:
    return value


def _encode_sequence(args: tuple[Any, ...]) -> Convert:
    if len(args) == 2 and args[1] is not Ellipsis:
        first, second = encoder(args[0]), encoder(args[1])
        return lambda v: [first(v[0]), second(v[1])]
    item = encoder(args[0])
    return lambda v: [item(x) for x in v]


def _unordered(args: tuple[Any, ...]) -> bool:
    """Labels and findings: text to text, or text to any scalar. Text to numbers may be a queue of times, whose order counts."""
    scalars = typing.get_args(args[1])
    return args[0] is str and (args[1] is str or (bool(scalars) and all(scalar in _SCALARS for scalar in scalars)))


def _encode_dict(args: tuple[Any, ...]) -> Convert:
    key, item = encoder(args[0]), encoder(args[1])
    if _unordered(args):
        return dict
    return lambda v: [[key(k), item(x)] for k, x in v.items()]


def _encode_union(args: tuple[Any, ...]) -> Convert:
    if all(a in _SCALARS or a is type(None) for a in args):
        return _same
    converters = {a: encoder(a) for a in args}
    tagged = sum(1 for a in args if dataclasses.is_dataclass(a)) > 1

    def convert(value: Any) -> Any:
        body = converters[type(value)](value)
        return {"type": type(value).__name__, **body} if tagged else body

    return convert


def _decode_dataclass(kind: type) -> Convert:
    fields = [(name, decoder(hint)) for name, hint in _hints(kind)]
    defaulted = {
        f.name
        for f in dataclasses.fields(kind)
        if f.default is not dataclasses.MISSING or f.default_factory is not dataclasses.MISSING
    }

    def convert(value: Any) -> Any:
        # A field that a later version added may be missing in an old row, if it has a default.
        given = {name: read(value[name]) for name, read in fields if name in value or name not in defaulted}
        return kind(**given)

    return convert


def _decode_tuple(args: tuple[Any, ...]) -> Convert:
    if len(args) == 2 and args[1] is not Ellipsis:
        first, second = decoder(args[0]), decoder(args[1])
        return lambda v: (first(v[0]), second(v[1]))
    item = decoder(args[0])
    return lambda v: tuple(item(x) for x in v)


def _decode_dict(args: tuple[Any, ...]) -> Convert:
    key, item = decoder(args[0]), decoder(args[1])
    if _unordered(args):
        return dict
    return lambda v: {key(k): item(x) for k, x in v}


def _decode_union(args: tuple[Any, ...]) -> Convert:
    rest = [a for a in args if a is not type(None)]
    if all(a in _SCALARS for a in rest):
        return _same
    if len(rest) == 1:
        only = decoder(rest[0])
        return lambda v: None if v is None else only(v)
    by_name = {a.__name__: decoder(a) for a in rest}
    return lambda v: None if v is None else by_name[v["type"]](v)
