"""Options that several commands share."""

from __future__ import annotations

from typing import Any

import click

from .clock import now_ms
from .times import TimeError, parse_since, parse_until


class _Time(click.ParamType):
    """A time, read against the clock."""

    def __init__(self, name: str, read: Any) -> None:
        self.name = name
        self._read = read

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Milliseconds, as the reader gives them."""
        if isinstance(value, int):
            return value
        try:
            return int(self._read(value, now_ms()))
        except TimeError as error:
            self.fail(f"cannot read the time: {error}", param, ctx)


def since_option(what: str) -> click.Option:
    """--since as an instant in Unix milliseconds."""
    return click.Option(
        ["--since"], type=_Time("time", parse_since), metavar="TIME", help=f"{what}: 30m, 2h, 7d, 2026-05-01 or 2026-05-01T18:30."
    )


def until_option(what: str) -> click.Option:
    """--until as milliseconds from now."""
    return click.Option(
        ["--until", "for_ms"], type=_Time("time", parse_until), metavar="TIME", help=f"{what}: 30m, 2h, 18:30 or 2026-05-01T18:30."
    )


def duration_option(names: list[str], what: str, default: str) -> click.Option:
    """A duration in milliseconds."""
    return click.Option(names, type=_Time("duration", _read_duration), metavar="DURATION", default=default, show_default=True, help=what)


def _read_duration(text: str, _now_ms: int) -> int:
    from fleetmend.catalogue import ParamError, parse_duration_ms

    try:
        return parse_duration_ms(text)
    except ParamError as error:
        raise TimeError(f"{text!r} is {error}") from None
