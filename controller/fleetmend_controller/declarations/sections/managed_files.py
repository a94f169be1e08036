"""`managed_files`: trees of golden copies that the files of a host must equal; a drifted one is put back."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema

from ...playbooks.schema import Model
from ...playbooks.values import AbsolutePath
from ..section import Derived, Section

if TYPE_CHECKING:
    from ..schema import DeclarationFile

TREES_MAX = 20
EVERY_MS = 10_000


def _as_list(value: object) -> object:
    if value == []:
        raise ValueError("an empty list manages nothing: name a tree, or take the section away")
    return [value] if isinstance(value, str) else value


_SCHEMA = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}]}
Trees = Annotated[list[AbsolutePath], Field(max_length=TREES_MAX), BeforeValidator(_as_list), WithJsonSchema(_SCHEMA)]


class ManagedFiles(Model):
    """Every file below a golden tree must equal the file of the host at the same path."""

    golden: Trees
    """The tree, or several: `/usr/share/shop/golden` holds `/usr/share/shop/golden/etc/shop.conf` for `/etc/shop.conf`."""
    modes: Literal["same", "any"] = "same"
    """`same`: owner and mode are those of the golden copy too; `any`: content alone counts."""


def _trees(value: ManagedFiles | None) -> list[str]:
    return [] if value is None else [tree.rstrip("/") for tree in value.golden]


def _derive(value: ManagedFiles | None, _declaration: DeclarationFile) -> Iterator[Derived]:
    for tree in _trees(value):
        params = {"golden": tree, "modes": value.modes if value else "same"}
        yield Derived(("managed_files",), f"managed-file:{tree}", "managed_file", params, EVERY_MS)


def _host(value: ManagedFiles | None) -> dict[str, Any]:
    return {tree: {"modes": value.modes if value else "same"} for tree in _trees(value)}


SECTION = Section(
    name="managed_files",
    doc="Golden copies that files of the host must equal.",
    kind=ManagedFiles | None,
    default=lambda: None,
    derive=_derive,
    host=_host,
)
