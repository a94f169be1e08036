"""Pages: how many at once, and where the next one begins."""

from __future__ import annotations

import base64
import binascii
import json

from .errors import invalid

SIZE_DEFAULT = 100
SIZE_MAX = 1000


def page_size(asked: int) -> int:
    """The size of a page, within bounds."""
    if asked < 0 or asked > SIZE_MAX:
        raise invalid(f"cannot list {asked} at once: page_size is 0 to {SIZE_MAX}")
    return asked or SIZE_DEFAULT


def encode_token(*place: str | int) -> str:
    """Where the next page begins, as an opaque text."""
    return base64.urlsafe_b64encode(json.dumps(place, separators=(",", ":")).encode()).decode().rstrip("=")


def decode_token(token: str, kinds: tuple[type, ...]) -> tuple[str | int, ...] | None:
    """The place of a token made by `encode_token`; None for the first page."""
    if not token:
        return None
    try:
        place = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    except (binascii.Error, ValueError, RecursionError) as error:
        raise invalid("cannot read page_token: not one of ours; begin again without it") from error
    if (
        not isinstance(place, list)
        or len(place) != len(kinds)
        or not all(type(p) is k for p, k in zip(place, kinds, strict=True))
    ):
        raise invalid("cannot read page_token: it belongs to another list; begin again without it")
    return tuple(place)
