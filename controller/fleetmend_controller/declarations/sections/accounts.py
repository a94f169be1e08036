"""`accounts`: who may be root under another name."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from ...playbooks.schema import Model
from ..section import Derived, Section

if TYPE_CHECKING:
    from ..schema import DeclarationFile

EVERY_MS = 60_000
# As the check of every server is called: the declared one takes its place.
CHECK = "accounts-uid0"

Account = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_.-]{0,63}$")]


class Accounts(Model):
    """Accounts that are something special."""

    uid0: Annotated[list[Account], Field(min_length=1, max_length=20)] = Field(default_factory=lambda: ["root"])
    """The accounts that may have uid 0."""


def _derive(value: Accounts | None, _declaration: DeclarationFile) -> Iterator[Derived]:
    if value is not None:
        yield Derived(("accounts",), CHECK, "accounts_uid0", {"allowed": list(value.uid0)}, EVERY_MS)


SECTION = Section(
    name="accounts",
    doc="Which accounts may have uid 0.",
    kind=Accounts | None,
    default=lambda: None,
    derive=_derive,
)
