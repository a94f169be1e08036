"""From what people declare to what is checked: units, health, mounts and space become checks with a sensible pace."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .schema import DeclarationFile, HttpHealth, MountModel, SpaceModel, TcpHealth, UnitModel
from .section import Derived, sections

# systemd tells about units at once; this is the safety net behind it.
UNIT_EVERY_MS = 30_000
FILESYSTEM_EVERY_MS = 15_000

# A service that is asked every second is asked for speed: a hang shows after half a second.
TIMEOUT_MIN_MS, TIMEOUT_MAX_MS = 500, 2_000


def derive(declaration: DeclarationFile) -> tuple[Derived, ...]:
    """The checks of one declaration, in the order in which it states their reasons."""
    checks: list[Derived] = []
    for name, unit in declaration.units.items():
        checks += _of_unit(name, unit)
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


def _of_unit(name: str, unit: UnitModel) -> Iterator[Derived]:
    params = {"unit": name, "desired": unit.desired}
    yield Derived(("units", name), f"unit-active:{name}", "unit_active", params, UNIT_EVERY_MS)
    health = HttpHealth(url=unit.health) if isinstance(unit.health, str) else unit.health
    if health is None:
        return
    check_type, asked = _probe(health)
    yield Derived(
        ("units", name, "health"),
        f"health:{name}",
        check_type,
        {**asked, "unit": name},
        health.every,
        health.timeout or min(TIMEOUT_MAX_MS, max(TIMEOUT_MIN_MS, health.every // 2)),
        health.confirm,
    )


def _probe(health: HttpHealth | TcpHealth) -> tuple[str, dict[str, Any]]:
    if isinstance(health, TcpHealth):
        asked = {"address": health.tcp, "send": health.send, "expect": health.expect}
        return "tcp_port", {**asked, "expect_any": True} if health.expect_any else asked
    params: dict[str, Any] = {"url": health.url, "expect_text": health.expect_text}
    if not health.verify:
        params["verify"] = False
    return "http_endpoint", params if health.expect_status is None else {**params, "expect_status": health.expect_status}


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
