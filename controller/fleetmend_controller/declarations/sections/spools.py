"""`spools`: folders that a consumer must keep emptying."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from ...playbooks.schema import Model
from ...playbooks.values import AbsolutePath, PositiveDuration, UnitName
from ..section import Derived, Section

if TYPE_CHECKING:
    from ..schema import DeclarationFile

SPOOLS_MAX = 200
EVERY_MS = 5_000


class Spool(Model):
    """One folder."""

    max_age: PositiveDuration
    """A fault when an entry waits longer."""
    consumer: UnitName | None = None
    """The unit that empties it; whether it may be restarted is declared under `units`."""


def _derive(value: Mapping[str, Spool], _declaration: DeclarationFile) -> Iterator[Derived]:
    for path, spool in value.items():
        params = {"path": path, "max_age": spool.max_age, "consumer": spool.consumer or ""}
        yield Derived(("spools", path), f"spool-age:{path}", "spool_age", params, EVERY_MS)


SECTION = Section(
    name="spools",
    doc="Folders that a consumer must keep emptying.",
    kind=Annotated[dict[AbsolutePath, Spool], Field(max_length=SPOOLS_MAX)],
    default=dict,
    derive=_derive,
)
