"""A catalogue of faults (format fault-catalogue/1), as the benchmark plays it. The file knows nothing of the product."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

FORMAT = "fault-catalogue/1"
EXPECTATIONS = ("heal", "escalate", "heal_or_escalate", "hold")


class CatalogueError(ValueError):
    """A file that is no such catalogue; the text begins with `cannot`."""


@dataclass(frozen=True)
class Fault:
    """One fault. Snippets are bash and run as root inside the host, after the catalogue's prelude; empty: there is none."""

    id: str
    name: str
    cls: str
    injectable: bool
    expect: str
    inject: str
    check: str = ""
    guard: str = ""
    reference_fix: str = ""
    cleanup: str = ""
    restore: str = ""
    selftest: str = ""
    settle_s: float = 0.0
    budget_s: float = 60.0
    detect: str = ""

    @property
    def undo(self) -> str:
        """What a person does about it in the end."""
        return self.reference_fix or self.restore


@dataclass(frozen=True)
class Catalogue:
    """World, declarations and faults of one file."""

    prelude: str
    world_setup: str
    declare: dict[str, Any]
    faults: tuple[Fault, ...]
    params: dict[str, str] = field(default_factory=dict)


def load(path: Path, only: tuple[str, ...] = ()) -> Catalogue:
    """Reads a catalogue; `only` keeps the faults with these ids. Raises CatalogueError."""
    try:
        document = yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise CatalogueError(f"cannot read {path}: {error}") from error
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise CatalogueError(f"cannot use {path}: it is not of the format {FORMAT}")
    faults = tuple(_fault(path, entry) for entry in document.get("faults", []))
    unknown = sorted(set(only) - {fault.id for fault in faults})
    if unknown:
        raise CatalogueError(f"cannot play {', '.join(unknown)}: {path} has {', '.join(fault.id for fault in faults)}")
    chosen = tuple(fault for fault in faults if not only or fault.id in only)
    declare = dict(document.get("declare") or {})
    return Catalogue(
        str(document["prelude"]), str(document["world_setup"]), declare, chosen, dict(document.get("params") or {})
    )


def _fault(path: Path, entry: dict[str, Any]) -> Fault:
    expect = str(entry.get("expect", ""))
    if expect not in EXPECTATIONS:
        raise CatalogueError(f"cannot use {path}: fault {entry.get('id')} expects {expect!r}, not one of {EXPECTATIONS}")
    texts = ("inject", "check", "guard", "reference_fix", "cleanup", "restore", "selftest", "detect")
    return Fault(
        id=str(entry["id"]),
        name=str(entry["name"]),
        cls=str(entry["class"]),
        injectable=bool(entry.get("injectable", True)),
        expect=expect,
        settle_s=float(entry.get("settle_s", 0)),
        budget_s=float(entry.get("budget_s", 30 if expect == "hold" else 60)),
        **{name: str(entry.get(name) or "") for name in texts},
    )
