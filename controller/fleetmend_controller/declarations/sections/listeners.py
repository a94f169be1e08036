"""Who listens where: a declared address belongs to a declared unit, and a stranger on it is a fault."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import Field

from ...playbooks.schema import Model
from ...playbooks.values import UnitName
from ..schema import Address, DeclarationFile
from ..section import Derived, Section

LISTENERS_MAX = 500
_EVERY_MS = 10_000


class ListenerModel(Model):
    """One address and the unit that listens there."""

    address: Address
    """Host and port, such as `127.0.0.1:8080`."""
    unit: UnitName


def _derive(listeners: list[ListenerModel], declaration: DeclarationFile) -> Iterator[Derived]:
    for index, each in enumerate(listeners):
        unit = declaration.units.get(each.unit)
        params = {"address": each.address, "owner": each.unit, "process": (unit and unit.process) or ""}
        yield Derived(("listeners", index), f"listener:{each.address}", "listener_owner", params, _EVERY_MS)


def _host(listeners: list[ListenerModel]) -> list[dict[str, Any]]:
    return [{"address": each.address, "unit": each.unit} for each in listeners]


SECTION = Section(
    name="listeners",
    doc="Addresses on which declared units listen, and nobody else.",
    kind=Annotated[list[ListenerModel], Field(max_length=LISTENERS_MAX)],
    default=list,
    derive=_derive,
    host=_host,
)
