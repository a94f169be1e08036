"""One file, one constant: finds what a folder offers without decorators, base classes or import side effects."""

from __future__ import annotations

import importlib
import os
from types import ModuleType
from typing import TypeVar

T = TypeVar("T")


class RegistryError(RuntimeError):
    """A file in a registry folder that does not keep the rule of one constant named like the file."""


def names(package: ModuleType) -> list[str]:
    """The entries of a registry folder, modules and packages, sorted; those that begin with an underscore are helpers."""
    # By the folder, not by pkgutil: that loads inspect, a tenth of the executor's start from cold.
    found = [entry for folder in package.__path__ for entry in os.scandir(folder) if not entry.name.startswith((".", "_"))]
    return sorted({e.name.removesuffix(".py") for e in found if e.name.endswith(".py") or e.is_dir()})


def import_one(package: ModuleType, name: str) -> ModuleType:
    """The module of one entry."""
    return importlib.import_module(f"{package.__name__}.{name}")


def load_one(package: ModuleType, name: str, constant: str, kind: type[T]) -> T:
    """The constant of one file. Refuses a file without it, of another type, or whose `.name` differs from the file."""
    module = import_one(package, name)
    entry = getattr(module, constant, None)
    if not isinstance(entry, kind):
        raise RegistryError(f"cannot load {module.__name__}: it must declare {constant} = {kind.__name__}(...)")
    declared = getattr(entry, "name", None)
    if declared != name:
        raise RegistryError(f"cannot load {module.__name__}: its {constant} is named {declared!r}, the file {name!r}")
    return entry


def load(package: ModuleType, constant: str, kind: type[T]) -> dict[str, T]:
    """Every entry of a registry folder, by name."""
    return {name: load_one(package, name, constant, kind) for name in names(package)}
