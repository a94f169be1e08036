"""From what people declare to what is checked: units, health, mounts and space become checks with a sensible pace."""

from __future__ import annotations

from collections.abc import Iterator

from .schema import DeclarationFile, MountModel, SpaceModel
from .section import Derived, sections
from .units import UNIT_EVERY_MS, of_unit

FILESYSTEM_EVERY_MS = 15_000


def derive(declaration: DeclarationFile) -> tuple[Derived, ...]:
    """The checks of one declaration, in the order in which it states their reasons."""
    checks: list[Derived] = []
    limits = getattr(declaration, "limits", None)
    for name, unit in declaration.units.items():
        checks += of_unit(name, unit, limits)
    for mount, rule in declaration.mounts.items():
        checks += _of_mount(mount, rule)
    for origin, check_type, space in (
        ("space", "filesystem_space", declaration.space),
        ("inodes", "filesystem_inodes", declaration.inodes),
    ):
        if space is not None:
            checks += _of_space(origin, check_type, space, list(declaration.mounts))
    for name, section in sections().items():
        checks += section.derive(getattr(declaration, name), declaration)
    return tuple(checks)


def _of_mount(mount: str, rule: MountModel) -> Iterator[Derived]:
    if rule.unit is not None:
        params = {"unit": rule.unit, "desired": "running"}
        yield Derived(("mounts", mount), f"unit-active:{rule.unit}", "unit_active", params, UNIT_EVERY_MS)
    if rule.options == "rw":
        params = {"mount": mount, "unit": rule.unit or ""}
        yield Derived(("mounts", mount), f"filesystem-readonly:{mount}", "filesystem_readonly", params, FILESYSTEM_EVERY_MS)


def _of_space(origin: str, check_type: str, space: SpaceModel, mounts: list[str]) -> Iterator[Derived]:
    """WARN begins at the target, so the check says OK, and proves a clean-up, only once the target is reached."""
    limits = {"warn_percent": space.target_percent, "crit_percent": space.heal_above_percent}
    prefix = check_type.replace("_", "-")
    if not mounts:
        yield Derived((origin,), f"{prefix}:all", check_type, limits, FILESYSTEM_EVERY_MS)
    for mount in mounts:
        yield Derived((origin,), f"{prefix}:{mount}", check_type, {**limits, "mount": mount}, FILESYSTEM_EVERY_MS)
