"""`live_logs`: logs that are being written, how large they may get, and the unit that rotates them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BeforeValidator, Field, WithJsonSchema

from ...playbooks.schema import Model
from ...playbooks.values import AbsolutePath, UnitName, size_bytes
from ..section import Derived, Section

if TYPE_CHECKING:
    from ..schema import DeclarationFile

LOGS_MAX = 200
EVERY_MS = 5_000
Size = Annotated[int, BeforeValidator(size_bytes), Field(ge=1), WithJsonSchema({"type": ["string", "integer"]})]


class LiveLog(Model):
    """One log."""

    max_size: Size
    """A fault above this: `500K`, `10M`."""
    rotated_by: UnitName | None = None
    """The unit that rotates it, which may be started for that."""


def _derive(value: Mapping[str, LiveLog], _declaration: DeclarationFile) -> Iterator[Derived]:
    for path, log in value.items():
        params = {"path": path, "max_size": log.max_size, "rotated_by": log.rotated_by or ""}
        yield Derived(("live_logs", path), f"log-size:{path}", "log_size", params, EVERY_MS)


def _host(value: Mapping[str, LiveLog]) -> dict[str, Any]:
    return {path: {"rotated_by": log.rotated_by} for path, log in value.items() if log.rotated_by is not None}


SECTION = Section(
    name="live_logs",
    doc="Logs that are being written: how large they may get, and what rotates them.",
    kind=Annotated[dict[AbsolutePath, LiveLog], Field(max_length=LOGS_MAX)],
    default=dict,
    derive=_derive,
    host=_host,
)
