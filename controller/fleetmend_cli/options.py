"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable

import click

from .clock import now_ms
from .times import TimeError, parse_since, parse_until

Read = Callable[[str, int], int]


def _by(read: Read) -> Callable[[click.Context, click.Parameter, str | None], int | None]:
    """A callback that reads an option's text against the clock."""

    def callback(ctx: click.Context, param: click.Parameter, value: str | None) -> int | None:
        if value is None:
            return None
        try:
            return read(value, now_ms())
        except TimeError as error:
            raise click.BadParameter(f"cannot read the time: {error}", ctx, param) from None

    return callback


def since_option(what: str) -> click.Option:
    """--since as an instant in Unix milliseconds."""
    return click.Option(
        ["--since"],
        callback=_by(parse_since),
        metavar="TIME",
        help=f"{what}: 30m, 2h, 7d, 2026-05-01 or 2026-05-01T18:30.",
    )


def until_option(what: str) -> click.Option:
    """--until as milliseconds from now."""
    return click.Option(
        ["--until", "for_ms"],
        callback=_by(parse_until),
        metavar="TIME",
        help=f"{what}: 30m, 2h, 18:30 or 2026-05-01T18:30.",
    )


def duration_option(names: list[str], what: str, default: str | None) -> click.Option:
    """A duration in milliseconds; None when it is left away and there is no default."""
    return click.Option(names, callback=_by(_read_duration), metavar="DURATION", default=default, show_default=True, help=what)


def _read_duration(text: str, _now_ms: int) -> int:
    from fleetmend.catalogue import ParamError, parse_duration_ms

    try:
        return parse_duration_ms(text)
    except ParamError as error:
        raise TimeError(f"{text!r} is {error}") from None
