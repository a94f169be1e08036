"""`ownership`: who owns paths that a service stands on, and with which mode; a folder that is gone is made anew."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from ...playbooks.schema import Model
from ...playbooks.values import AbsolutePath, is_below
from ..section import Derived, Section

if TYPE_CHECKING:
    from ..schema import DeclarationFile

PATHS_MAX = 200
EVERY_MS = 15_000
Account = Annotated[str, Field(pattern=r"^([a-z_][a-z0-9_.-]{0,31}|[0-9]{1,10})$")]


class Ownership(Model):
    """What one path must be; at least one of owner, group and mode."""

    owner: Account | None = None
    """A local user, or a number."""
    group: Account | None = None
    """A local group, or a number."""
    mode: Annotated[str, Field(pattern=r"^[0-7]{3,4}$")] | None = None
    """Octal and in quotes: "0750"."""
    kind: Literal["directory", "file"] | None = None
    """`directory`: made anew when it is gone. Left away: when it was seen as a folder before."""

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.owner is None and self.group is None and self.mode is None:
            raise ValueError("it says nothing: give owner, group or mode")
        return self


def _derive(value: Mapping[str, Ownership], declaration: DeclarationFile) -> Iterator[Derived]:
    for path, rule in value.items():
        params = {"path": path, "owner": rule.owner or "", "group": rule.group or ""}
        params |= {"mode": rule.mode or "", "kind": rule.kind or "", **_mount_of(path, declaration)}
        yield Derived(("ownership", path), f"file-mode:{path}", "file_mode", params, EVERY_MS)


def _mount_of(path: str, declaration: DeclarationFile) -> dict[str, str]:
    """The declared mount on which the path lies; nothing for the mount point itself, which is there without it."""
    mounts = [mount for mount in declaration.mounts if mount != path and is_below(path, mount)]
    if not mounts:
        return {}
    mount = max(mounts, key=len)
    rule = declaration.mounts[mount]
    return {"mount": mount, "source": rule.source or "", "fstype": rule.fstype or ""}


def _host(value: Mapping[str, Ownership]) -> dict[str, Any]:
    return {
        path: {"owner": rule.owner or "", "group": rule.group or "", "mode": rule.mode or "", "kind": rule.kind or ""}
        for path, rule in value.items()
    }


SECTION = Section(
    name="ownership",
    doc="Owner, group and mode that paths must have.",
    kind=Annotated[dict[AbsolutePath, Ownership], Field(max_length=PATHS_MAX)],
    default=dict,
    derive=_derive,
    host=_host,
)
