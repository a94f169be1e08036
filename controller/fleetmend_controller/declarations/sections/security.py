"""`security`: what looks like an intruder and is not. Whatever is not named here is told to people, and never touched."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from ...playbooks.schema import Model
from ...playbooks.values import AbsolutePath
from ..section import Derived, Section

if TYPE_CHECKING:
    from ..schema import DeclarationFile

PATHS_MAX = 64
SETUID_EVERY_MS = 10_000
PRELOAD_EVERY_MS = 60_000
# As the checks of every server are called: the declared ones take their place.
SETUID_CHECK, PRELOAD_CHECK = "setuid-files", "preload-file"

Paths = Annotated[list[AbsolutePath], Field(max_length=PATHS_MAX)]


class Security(Model):
    """Exceptions."""

    setuid_allowed: Paths = Field(default_factory=list)
    """Programs outside packages that may be set-uid."""
    preload_allowed: Paths = Field(default_factory=list)
    """Libraries that /etc/ld.so.preload may name."""


def _derive(value: Security | None, _declaration: DeclarationFile) -> Iterator[Derived]:
    if value is None:
        return
    setuid, preload = {"allowed": list(value.setuid_allowed)}, {"allowed": list(value.preload_allowed)}
    yield Derived(("security",), SETUID_CHECK, "setuid_files", setuid, SETUID_EVERY_MS)
    yield Derived(("security",), PRELOAD_CHECK, "preload_file", preload, PRELOAD_EVERY_MS)


SECTION = Section(
    name="security",
    doc="Set-uid programs and preloaded libraries that are as they should be.",
    kind=Security | None,
    default=lambda: None,
    derive=_derive,
)
