"""`timezone`: the time zone that these hosts keep."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from pydantic import Field

from ..schema import DeclarationFile
from ..section import Derived, Section

EVERY_MS = 30_000
ZONE_PATTERN = r"^[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z][A-Za-z0-9_+-]*){0,2}$"


def _derive(zone: str | None, _declaration: DeclarationFile) -> Iterator[Derived]:
    if zone is not None:
        yield Derived(("timezone",), "timezone:host", "timezone", {"zone": zone}, EVERY_MS)


def _host(zone: str | None) -> str | None:
    return zone


SECTION = Section(
    name="timezone",
    doc="The time zone that these hosts keep, such as Etc/UTC.",
    kind=Annotated[str, Field(pattern=ZONE_PATTERN, max_length=64)] | None,
    default=lambda: None,
    derive=_derive,
    host=_host,
)
