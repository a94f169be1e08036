"""What may stand in a declaration beside units, mounts and space: one file in sections/ for each top-level key."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from pydantic import create_model

from fleetmend import registry

from ..playbooks.schema import ConfirmModel
from ..playbooks.text import Path
from . import sections as folder
from .schema import DeclarationFile, MountModel

if TYPE_CHECKING:
    from collections.abc import Mapping

AT_ONCE = ConfirmModel()


@dataclass(frozen=True, slots=True)
class Derived:
    """One check as it follows from a declaration. `origin` is the part that it follows from; None means as the type says."""

    origin: Path
    name: str
    type: str
    params: dict[str, Any]
    every_ms: int
    timeout_ms: int | None = None
    confirm: ConfirmModel = AT_ONCE


def _tells_nothing(_value: Any) -> None:
    """The default of `host`: what the section says is for checks only."""


def _no_units(_value: Any) -> Iterable[str]:
    """The default of `running`."""
    return ()


@dataclass(frozen=True, slots=True)
class Section:
    """One top-level key of a declaration file.

    `kind` is its type as pydantic understands it, `default` makes the value where the key is left away, `doc` is for editors.
    `derive(value, declaration)` gives the checks that follow; `host(value)` what the executors of these hosts are told: values
    of JSON without fractions, None for nothing. Of several declarations for one host, mappings are merged by their keys (two
    that say different things under one key are an error at load), lists are united, and anything else must be the same.
    `running(value)` names units that the section wants running: they are declared like those under `units`, restart: never.
    """

    name: str
    doc: str
    kind: Any
    default: Callable[[], Any]
    derive: Callable[[Any, DeclarationFile], Iterable[Derived]]
    host: Callable[[Any], Any] = _tells_nothing
    running: Callable[[Any], Iterable[str]] = _no_units


@cache
def sections() -> Mapping[str, Section]:
    """Every section, by its key."""
    return registry.load(folder, "SECTION", Section)


@cache
def whole_file() -> type[DeclarationFile]:
    """The model of a declaration file with every section in it."""
    from pydantic import Field

    fields: dict[str, Any] = {
        name: (section.kind, Field(default_factory=section.default, description=section.doc))
        for name, section in sections().items()
    }
    return create_model("DeclarationFile", __base__=DeclarationFile, __doc__=DeclarationFile.__doc__, **fields)


def _mount_told(mount: MountModel) -> dict[str, Any]:
    """Of a mount, what actions need: its unit, whether it may be mounted writable again, and who writes there."""
    return {"unit": mount.unit or "", "remount": mount.remount, "users": list(mount.users)}


def told_to_hosts(declaration: DeclarationFile) -> dict[str, Any]:
    """What executors are told of the sections, by key; sections with nothing to tell are left out."""
    told: dict[str, Any] = {name: section.host(getattr(declaration, name)) for name, section in sections().items()}
    told["mounts"] = {path: _mount_told(mount) for path, mount in declaration.mounts.items()}
    return {name: value for name, value in told.items() if value not in (None, {}, [])}


def wanted_running(declaration: DeclarationFile) -> list[str]:
    """The units that sections want running beside those under `units`."""
    named = (unit for name, section in sections().items() for unit in section.running(getattr(declaration, name)))
    return [unit for unit in named if unit not in declaration.units]
