"""`packages`: which packages must be installed and complete, and what may be done about those that are not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from ...playbooks.schema import Model
from ..section import Derived, Section

if TYPE_CHECKING:
    from ..schema import DeclarationFile

PACKAGES_MAX = 200
EVERY_MS = 15_000
STATE_EVERY_MS = 10_000
# The check of every server has this name too: where it is declared what may be done, the declared one takes its place.
STATE_CHECK = "package-state"
INSTALLED = "installed:"

PackageName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9+.-]{1,99}$")]
Version = Annotated[str, Field(pattern=r"^[0-9A-Za-z][0-9A-Za-z.+:~-]{0,99}$")]


class Package(Model):
    """One package that must be installed."""

    version: Version | None = None
    """This version and no other, in quotes. Without it nothing is installed anew."""
    hold: bool = False
    """It must be on hold."""
    reinstall: Literal["allowed", "never"] = "never"
    """`allowed`: that very version is installed anew, from the host's own sources, when it is gone or files of it are wrong."""


class Packages(Model):
    """What must be installed."""

    configure: Literal["allowed", "never"] = "never"
    """`allowed`: packages that an interrupted installation left half-way are configured."""
    installed: Annotated[dict[PackageName, Package], Field(max_length=PACKAGES_MAX)] = Field(default_factory=dict)
    """By name."""


def _derive(value: Packages | None, _declaration: DeclarationFile) -> Iterator[Derived]:
    if value is None:
        return
    if value.configure == "allowed":
        yield Derived(("packages", "configure"), STATE_CHECK, "package_state", {"configure": "allowed"}, STATE_EVERY_MS)
    for name, package in value.installed.items():
        params = {"package": name, "version": package.version or "", "hold": package.hold, "reinstall": package.reinstall}
        yield Derived(("packages", "installed", name), f"package-files:{name}", "package_files", params, EVERY_MS)


def _host(value: Packages | None) -> dict[str, Any]:
    """Flat, since declarations are united by their keys."""
    if value is None:
        return {}
    told: dict[str, Any] = {"configure": "allowed"} if value.configure == "allowed" else {}
    for name, package in value.installed.items():
        told[INSTALLED + name] = {"version": package.version or "", "hold": package.hold, "reinstall": package.reinstall}
    return told


SECTION = Section(
    name="packages",
    doc="Packages that must be installed and complete, and what may be done about those that are not.",
    kind=Packages | None,
    default=lambda: None,
    derive=_derive,
    host=_host,
)
