"""`trust_store`: the bundle of CA certificates that programs on these hosts trust."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ...playbooks.schema import Model
from ...playbooks.values import AbsolutePath
from ..schema import DeclarationFile
from ..section import Derived, Section
from .certificates import Command

EVERY_MS = 60_000


class TrustStoreModel(Model):
    """The trust store."""

    bundle: AbsolutePath = "/etc/ssl/certs/ca-certificates.crt"
    ca: AbsolutePath | None = None
    """PEM file of a CA that must be in the bundle."""
    rebuild: Command | None = None
    """Name of a command in the hosts' policy files that makes the bundle anew."""


def _derive(store: TrustStoreModel | None, _declaration: DeclarationFile) -> Iterator[Derived]:
    if store is not None:
        params: dict[str, Any] = {"path": store.bundle, "ca": store.ca or "", "rebuild": store.rebuild or ""}
        yield Derived(("trust_store",), "trust-store:host", "trust_store", params, EVERY_MS)


SECTION = Section(
    name="trust_store",
    doc="The bundle of CA certificates that programs on these hosts trust.",
    kind=TrustStoreModel | None,
    default=lambda: None,
    derive=_derive,
)
