"""What follows from one declared unit: its checks, and what the executor is told of it beyond whether it may be restarted."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..playbooks.schema import ConfirmModel
from ..playbooks.text import Path
from .schema import DeclarationFile, ExecHealth, HttpHealth, JournalHealth, TcpHealth, UnitModel
from .section import Derived

# systemd tells about units at once; this is the safety net behind it.
UNIT_EVERY_MS = 30_000
# A service that is asked every second is asked for speed: a hang shows after half a second.
TIMEOUT_MIN_MS, TIMEOUT_MAX_MS = 500, 2_000
# All that is told by the shared look at the processes.
PROCESS_EVERY_MS, SLOW_EVERY_MS = 10_000, 15_000
# What lies behind these probes is looked at by checks of its own: they may heal it first.
PROBE_EVERY_MS, PROBE_TIMEOUT_MS = 10_000, 5_000
HEARTBEAT_EVERY_MIN_MS, HEARTBEAT_EVERY_MAX_MS = 1_000, 30_000
TWICE, THRICE = ConfirmModel(bad=2, good=1), ConfirmModel(bad=3, good=1)
# What executors are told of a unit, each where it is declared.
TOLD = ("lock_file", "config_test", "bound_to", "process", "user")


def of_unit(name: str, unit: UnitModel, limits: Any = None) -> Iterator[Derived]:
    """The checks of one unit, in the order in which their reasons are stated."""
    origin = ("units", name)
    params = {"unit": name, "desired": unit.desired}
    yield Derived(origin, f"unit-active:{name}", "unit_active", params, UNIT_EVERY_MS)
    yield from _health(origin, name, unit)
    if unit.desired == "stopped":
        return
    yield from _probes(origin, name, unit)
    restart = unit.restart == "allowed"
    if unit.heartbeat is not None:
        beat, owner = unit.heartbeat, {"unit": name} if restart else {}
        every_ms = min(HEARTBEAT_EVERY_MAX_MS, max(HEARTBEAT_EVERY_MIN_MS, beat.max_age))
        asked = {"path": beat.path, "max_age": beat.max_age, **owner}
        yield Derived((*origin, "heartbeat"), f"heartbeat:{name}", "file_age", asked, every_ms, confirm=TWICE)
    if name.endswith(".service"):
        yield from _processes(origin, name, unit, limits)


def told_of_units(declaration: DeclarationFile) -> dict[str, dict[str, Any]]:
    """What executors are told of units, by name; units of which nothing is to be told are left out."""
    told = {
        name: {key: value for key in TOLD if (value := getattr(unit, key)) is not None}
        | ({"reload": "never"} if unit.reload == "never" else {})
        for name, unit in declaration.units.items()
    }
    return {name: facts for name, facts in told.items() if facts}


def _health(origin: Path, name: str, unit: UnitModel) -> Iterator[Derived]:
    health = HttpHealth(url=unit.health) if isinstance(unit.health, str) else unit.health
    if health is None:
        return
    check_type, asked = _probe(health)
    timeout_ms = health.timeout or min(TIMEOUT_MAX_MS, max(TIMEOUT_MIN_MS, health.every // 2))
    if isinstance(health, ExecHealth) and health.timeout is None:
        timeout_ms = PROBE_TIMEOUT_MS
    if isinstance(health, JournalHealth) and health.timeout is None:
        timeout_ms = health.journal + PROBE_TIMEOUT_MS
    asked["unit"] = name
    yield Derived((*origin, "health"), f"health:{name}", check_type, asked, health.every, timeout_ms, health.confirm)


def _probe(health: HttpHealth | TcpHealth | ExecHealth | JournalHealth) -> tuple[str, dict[str, Any]]:
    if isinstance(health, ExecHealth):
        return "nagios_plugin", {"argv": [health.exec]}
    if isinstance(health, JournalHealth):
        return "journal_write", {"within": health.journal}
    if isinstance(health, TcpHealth):
        asked = {"address": health.tcp, "send": health.send, "expect": health.expect}
        return "tcp_port", {**asked, "expect_any": True} if health.expect_any else asked
    params: dict[str, Any] = {"url": health.url, "expect_text": health.expect_text}
    if not health.verify:
        params["verify"] = False
    return "http_endpoint", params if health.expect_status is None else {**params, "expect_status": health.expect_status}


def _probes(origin: Path, name: str, unit: UnitModel) -> Iterator[Derived]:
    """Without the unit in their finding: what they find is no matter for a restart."""
    for key, word, url in (
        ("write_probe", "write", unit.write_probe),
        ("dependency_probe", "dependency", unit.dependency_probe),
    ):
        if url is not None:
            params = {"url": url}
            yield Derived((*origin, key), f"{word}:{name}", "http_endpoint", params, PROBE_EVERY_MS, PROBE_TIMEOUT_MS, THRICE)


def _processes(origin: Path, name: str, unit: UnitModel, limits: Any) -> Iterator[Derived]:
    of_it = {"unit": name, "report_only": unit.restart != "allowed"}
    if unit.memory_max is not None:
        asked = {**of_it, "limit": unit.memory_max}
        yield Derived((*origin, "memory_max"), f"memory:{name}", "unit_memory", asked, PROCESS_EVERY_MS, confirm=TWICE)
    if unit.process is not None or unit.instances is not None:
        asked = {
            "service": name,
            "report_only": of_it["report_only"],
            "process": unit.process or "",
            "instances": unit.instances or 0,
        }
        yield Derived(origin, f"process:{name}", "unit_process", asked, PROCESS_EVERY_MS, confirm=TWICE)
    percent = getattr(limits, "descriptors_percent", None)
    full = {} if percent is None else {"crit_percent": percent, "warn_percent": min(percent, 80)}
    yield Derived(origin, f"descriptors:{name}", "unit_descriptors", {**of_it, **full}, PROCESS_EVERY_MS)
    yield Derived(origin, f"zombies:{name}", "unit_zombies", of_it, PROCESS_EVERY_MS, confirm=TWICE)
    # Even what is never killed is woken by being asked to end.
    frozen = {"unit": name, "report_only": unit.restart == "never"}
    yield Derived(origin, f"frozen:{name}", "unit_frozen", frozen, PROCESS_EVERY_MS, confirm=TWICE)
    upkeep = {"unit": name, "report_only": unit.restart != "allowed" or unit.stateful}
    yield Derived(origin, f"binary:{name}", "unit_binary", upkeep, SLOW_EVERY_MS)
    yield Derived(origin, f"restarts:{name}", "unit_restarts", {"service": name}, SLOW_EVERY_MS)
