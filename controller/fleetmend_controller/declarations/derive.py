"""From what people declare to what is checked: units, health, mounts and space become checks with a sensible pace."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..playbooks.values import base_of, is_below
from .schema import DeclarationFile, MountModel, SpaceModel
from .section import Derived, sections
from .units import UNIT_EVERY_MS, of_unit

FILESYSTEM_EVERY_MS = 15_000
GROWTH_EVERY_MS = 5_000


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
            checks += _of_space(origin, check_type, space, list(declaration.mounts), declaration.disposable)
    if declaration.space is not None:
        checks += _of_growth(list(declaration.mounts))
    for name, section in sections().items():
        checks += section.derive(getattr(declaration, name), declaration)
    return tuple(checks)


def _of_mount(mount: str, rule: MountModel) -> Iterator[Derived]:
    if rule.unit is not None:
        params = {"unit": rule.unit, "desired": "running"}
        yield Derived(("mounts", mount), f"unit-active:{rule.unit}", "unit_active", params, UNIT_EVERY_MS)
    there: dict[str, Any] = {"mount": mount, "unit": rule.unit or "", "source": rule.source or ""}
    there |= {"fstype": rule.fstype or "", "users": list(rule.users)}
    yield Derived(("mounts", mount), f"mount-missing:{mount}", "mount_missing", there, FILESYSTEM_EVERY_MS)
    if rule.options == "rw":
        # That it is not there at all is said once, by the check above.
        params = {"mount": mount, "unit": rule.unit or "", "absent": "unknown", "remount": rule.remount}
        yield Derived(("mounts", mount), f"filesystem-readonly:{mount}", "filesystem_readonly", params, FILESYSTEM_EVERY_MS)


def _of_space(origin: str, check_type: str, space: SpaceModel, mounts: list[str], disposable: list[str]) -> Iterator[Derived]:
    """WARN begins at the target, so the check says OK, and proves a clean-up, only once the target is reached."""
    limits = {"warn_percent": space.target_percent, "crit_percent": space.heal_above_percent}
    prefix = check_type.replace("_", "-")
    if not mounts:
        params: dict[str, Any] = {**limits, "disposable": "yes" if disposable else "no"}
        yield Derived((origin,), f"{prefix}:all", check_type, params, FILESYSTEM_EVERY_MS)
    for mount in mounts:
        params = {**limits, "mount": mount, "disposable": "yes" if _may_hold(mount, mounts, disposable) else "no"}
        yield Derived((origin,), f"{prefix}:{mount}", check_type, params, FILESYSTEM_EVERY_MS)


def _of_growth(mounts: list[str]) -> Iterator[Derived]:
    """Declared mounts are looked at more often than others: they may be small, and their writers may be known."""
    for mount in mounts:
        params = {"mount": mount, "warn_eta": 1_800_000, "crit_eta": 120_000, "from_percent": 30.0}
        yield Derived(("space",), f"filesystem-fill:{mount}", "filesystem_fill", params, GROWTH_EVERY_MS)


def _may_hold(mount: str, mounts: list[str], disposable: list[str]) -> bool:
    """Whether something that is declared disposable can lie on this mount and on none of the others below it."""
    deeper = [other for other in mounts if other != mount and is_below(other, mount)]
    bases = [base_of(pattern) for pattern in disposable]
    return any(is_below(base, mount) and not any(is_below(base, other) for other in deeper) for base in bases)
