"""`resolver`: the name servers that these hosts should ask; when a declared name is wrong, they are asked who is to blame."""

from __future__ import annotations

from ...playbooks.schema import Model
from ..section import Derived, Section
from .names import Addresses


class ResolverModel(Model):
    """The resolvers."""

    servers: Addresses
    """Their addresses, one or several."""


def _derive(_resolver: object, _declaration: object) -> tuple[Derived, ...]:
    """The checks of `names` ask them."""
    return ()


SECTION = Section(
    name="resolver",
    doc="The name servers that these hosts should ask.",
    kind=ResolverModel | None,
    default=lambda: None,
    derive=_derive,
)
