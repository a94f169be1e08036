"""`security`: what looks like an intruder and is not. Whatever is not named here is told to people, and never touched."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from ...playbooks.schema import ConfirmModel, Model
from ...playbooks.values import AbsolutePath
from ..section import Derived, Section

if TYPE_CHECKING:
    from ..schema import DeclarationFile

PATHS_MAX = 64
SETUID_EVERY_MS = 10_000
PRELOAD_EVERY_MS = 60_000
LISTENERS_EVERY_MS = 10_000
# As the checks of every server are called: the declared ones take their place.
SETUID_CHECK, PRELOAD_CHECK, LISTENERS_CHECK = "setuid-files", "preload-file", "undeclared-listeners"

UnitPattern = Annotated[str, Field(pattern=r"^[A-Za-z0-9:_.@*\\-]{1,255}$")]
Paths = Annotated[list[AbsolutePath], Field(max_length=PATHS_MAX)]


class Security(Model):
    """Exceptions."""

    setuid_allowed: Paths = Field(default_factory=list)
    """Programs outside packages that may be set-uid."""
    preload_allowed: Paths = Field(default_factory=list)
    """Libraries that /etc/ld.so.preload may name."""
    undeclared_listeners: Literal["report", "ignore"] = "ignore"
    """`report`: people are told of what listens for other machines, in no declared unit and on no declared port."""
    listeners_allowed: Annotated[list[UnitPattern], Field(max_length=PATHS_MAX)] = Field(default_factory=list)
    """Further units that may listen; `*` stands for anything."""


def _derive(value: Security | None, _declaration: DeclarationFile) -> Iterator[Derived]:
    if value is None:
        return
    setuid, preload = {"allowed": list(value.setuid_allowed)}, {"allowed": list(value.preload_allowed)}
    yield Derived(("security",), SETUID_CHECK, "setuid_files", setuid, SETUID_EVERY_MS)
    yield Derived(("security",), PRELOAD_CHECK, "preload_file", preload, PRELOAD_EVERY_MS)
    if value.undeclared_listeners == "report":
        # One that opens a port for a moment, as some clients do, is not meant.
        params, twice = {"allowed_units": list(value.listeners_allowed)}, ConfirmModel(bad=2, good=1)
        key = ("security", "undeclared_listeners")
        yield Derived(key, LISTENERS_CHECK, "listener_extra", params, LISTENERS_EVERY_MS, confirm=twice)


SECTION = Section(
    name="security",
    doc="Set-uid programs, preloaded libraries and listening sockets that are as they should be.",
    kind=Security | None,
    default=lambda: None,
    derive=_derive,
)
