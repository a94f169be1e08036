"""The power supply behind the server: on mains or on battery, by apcupsd (apcaccess) or NUT (upsc), where there is one."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from . import Check, Context, Field, Gauge, Kind, Param, Result, Scalar, Status
from ._source import human_seconds, why

if TYPE_CHECKING:
    from ..host import Host

UPS_MAX = 16
_TOOL_TIMEOUT_S = 10.0
_LINE = re.compile(r"^([A-Za-z][A-Za-z0-9. ]{0,40}?)\s*: (.*)$", re.MULTILINE)
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_NUMBER = re.compile(r"-?\d{1,9}(?:\.\d{1,6})?")


@dataclass(frozen=True, slots=True)
class Supply:
    """One supply. `words` are the driver's own; numbers of -1 are not told."""

    name: str
    words: frozenset[str]
    charge_percent: float = -1
    left_s: float = -1
    load_percent: float = -1

    @property
    def on_battery(self) -> bool:
        """The mains are gone."""
        return bool(self.words & {"ONBATT", "OB"})

    @property
    def is_low(self) -> bool:
        """It will end soon."""
        return bool(self.words & {"LOWBATT", "LB", "SHUTTING", "FSD"})


def parse_apcaccess(text: str) -> Supply | None:
    """What apcaccess prints; None when it is nothing of a supply."""
    values = dict(_LINE.findall(text))
    if "STATUS" not in values:
        return None
    return Supply(
        values.get("UPSNAME", "").strip() or "apc",
        frozenset(values["STATUS"].upper().split()),
        _number(values.get("BCHARGE")),
        _scaled(values.get("TIMELEFT"), 60),
        _number(values.get("LOADPCT")),
    )


def parse_upsc(name: str, text: str) -> Supply | None:
    """What upsc prints of one supply; None when it is nothing of a supply."""
    values = dict(_LINE.findall(text))
    if "ups.status" not in values:
        return None
    return Supply(
        name,
        frozenset(values["ups.status"].upper().split()),
        _number(values.get("battery.charge")),
        _number(values.get("battery.runtime")),
        _number(values.get("ups.load")),
    )


def _number(text: str | None) -> float:
    found = _NUMBER.match((text or "").strip())
    return max(-1.0, float(found[0])) if found else -1.0


def _scaled(text: str | None, factor: float) -> float:
    found = _number(text)
    return found * factor if found >= 0 else -1.0


def _run(context: Context) -> Iterable[Result]:
    host = context.host
    results = [Result(Status.OK, "supplies that tell of themselves are asked")]
    asked = False
    for tool, ask in (("apcaccess", _apc), ("upsc", _nut)):
        try:
            host.tool(tool)
        except FileNotFoundError:
            continue
        asked = True
        results += ask(host, context.params)
    return results if asked else [Result(Status.OK, "no tool for a power supply: neither apcaccess nor upsc")]


def _apc(host: Host, params: dict[str, float]) -> Iterable[Result]:
    supply = parse_apcaccess(_output(host, "apcaccess", "status"))
    return [_judge(supply, params) if supply else _silent("apc", "apcaccess")]


def _nut(host: Host, params: dict[str, float]) -> Iterable[Result]:
    names = [name for name in _output(host, "upsc", "-l").split() if _NAME.fullmatch(name)]
    for name in names[:UPS_MAX]:
        supply = parse_upsc(name, _output(host, "upsc", name))
        yield _judge(supply, params) if supply else _silent(name, "upsc")


def _silent(name: str, tool: str) -> Result:
    return Result(Status.UNKNOWN, f"cannot judge supply {name}: {tool} tells nothing of it", name, {"supply": name})


def _output(host: Host, *argv: str) -> str:
    try:
        done = host.run(argv, _TOOL_TIMEOUT_S)
    except OSError as error:
        return why(error)
    return "" if done.timed_out else done.stdout


def _judge(supply: Supply, params: dict[str, float]) -> Result:
    lost = bool(supply.words & {"COMMLOST", "NOBATT", "OFF"})
    weak = 0 <= supply.charge_percent < params["low_percent"]
    status = Status.OK
    if supply.words & {"REPLACEBATT", "RB", "OVERLOAD", "OVER", "BYPASS"}:
        status = Status.WARN
    if supply.on_battery or supply.is_low or lost:
        status = Status.CRIT
    finding: dict[str, Scalar] = {
        "supply": supply.name,
        "state": " ".join(sorted(supply.words)),
        "on_battery": supply.on_battery,
        "low": supply.is_low or (supply.on_battery and weak),
        "charge_percent": supply.charge_percent,
        "left_seconds": int(supply.left_s),
    }
    gauges = {
        "ups_charge_ratio": supply.charge_percent / 100,
        "ups_left_seconds": supply.left_s,
        "ups_load_ratio": supply.load_percent / 100,
    }
    words = f"{supply.name}: {'on battery' if supply.on_battery else str(finding['state']).lower()}"
    words += ", battery low" if finding["low"] else ""
    words += f", {supply.charge_percent:.0f} % charged" if supply.charge_percent >= 0 else ""
    words += f", {human_seconds(supply.left_s)} left" if supply.left_s >= 0 else ""
    return Result(status, words, supply.name, finding, {name: value for name, value in gauges.items() if value >= 0})


CHECK = Check(
    name="ups",
    summary="Power supplies that run on battery, by apcaccess or upsc where there is one",
    run=_run,
    params=(Param("low_percent", Kind.NUMBER, "on battery, a charge below this is low", default=30.0, minimum=0, maximum=100),),
    finding=(
        Field("supply", Kind.TEXT, "name of the supply"),
        Field("state", Kind.TEXT, "the driver's own words"),
        Field("on_battery", Kind.FLAG, "the mains are gone"),
        Field("low", Kind.FLAG, "the battery will end soon"),
        Field("charge_percent", Kind.NUMBER, "charge of the battery; -1 if not told"),
        Field("left_seconds", Kind.INTEGER, "how long the battery lasts; -1 if not told"),
    ),
    gauges=(
        Gauge("ups_charge_ratio", "charge of the battery, 0 to 1"),
        Gauge("ups_left_seconds", "how long the battery lasts"),
        Gauge("ups_load_ratio", "load of the supply, 0 to 1"),
    ),
    blocking=True,
    every_s=60.0,
    timeout_s=30.0,
)
