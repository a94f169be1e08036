"""`names`: names that must lead to certain addresses on these hosts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from ipaddress import ip_address
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from ...playbooks.schema import ConfirmModel
from ..schema import DeclarationFile
from ..section import Derived, Section

EVERY_MS = 10_000
NAMES_MAX = 100


def _name(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*", value) or len(value) > 253:
        raise ValueError("it is no name of a host, such as db.example.com")
    return value


def addresses(value: object) -> list[str]:
    """One address or several, in their usual form. ValueError says what is wrong."""
    given = value if isinstance(value, list) else [value]
    texts = [each for each in given if isinstance(each, str)]
    if not texts or len(texts) != len(given):
        raise ValueError("it must be an address, or a list of addresses")
    try:
        return [str(ip_address(each)) for each in texts]
    except ValueError as error:
        raise ValueError("it is no address, such as 192.0.2.1") from error


ONE_OR_MORE = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}]}
Addresses = Annotated[list[str], BeforeValidator(addresses), WithJsonSchema(ONE_OR_MORE)]
Names = dict[Annotated[str, AfterValidator(_name)], Addresses]


def _derive(names: Names, declaration: DeclarationFile) -> Iterator[Derived]:
    resolver = getattr(declaration, "resolver", None)
    servers = list(resolver.servers) if resolver is not None else []
    for name, wanted in names.items():
        params = {"name": name, "addresses": wanted, "servers": servers}
        yield Derived(("names", name), f"name:{name}", "dns_name", params, EVERY_MS, confirm=ConfirmModel(bad=2, good=1))


SECTION = Section(
    name="names",
    doc="Names that must lead to these addresses on the hosts.",
    kind=Annotated[Names, Field(max_length=NAMES_MAX)],
    default=dict,
    derive=_derive,
)
