"""Heat and fans, by the sensors that the kernel knows: each against the limit that its own chip tells."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from . import Check, Context, Field, Gauge, Kind, Result, Scalar, Status
from ._source import worst
from ._sysfs import entries, integer, text

if TYPE_CHECKING:
    from ..host import Host

HWMON, ZONES = "/sys/class/hwmon", "/sys/class/thermal"
# Chips that know no limit say 0, or one that no metal would live through.
_PLAUSIBLE_MC = range(20_000, 200_001)


@dataclass(frozen=True, slots=True)
class Sensor:
    """One reading: millidegrees, or turns a minute. A limit of None is none."""

    kind: str
    label: str
    value: int
    warn: int | None = None
    crit: int | None = None
    alarm: bool = False

    @property
    def status(self) -> Status:
        """Against its limits, and what the chip itself says."""
        if self.kind == "fan":
            return Status.CRIT if self.alarm or (self.crit is not None and self.value < self.crit) else Status.OK
        if self.alarm or (self.crit is not None and self.value >= self.crit):
            return Status.CRIT
        return Status.WARN if self.warn is not None and self.value >= self.warn else Status.OK

    @property
    def words(self) -> str:
        """For people."""
        if self.kind == "fan":
            return f"{self.label} turns {self.value} times a minute" + (f", least {self.crit}" if self.crit else "")
        return f"{self.label} is {self.value / 1000:.1f} °C" + (f", limit {self.crit / 1000:.0f} °C" if self.crit else "")


def chip_sensors(host: Host, folder: str) -> Iterator[Sensor]:
    """The sensors of one chip below /sys/class/hwmon."""
    for name in entries(host, folder, r"(temp|fan)\d{1,3}_input"):
        stem = f"{folder}/{name.removesuffix('_input')}"
        value = integer(host, f"{folder}/{name}")
        if value is None or integer(host, f"{stem}_fault") == 1:
            # The sensor itself is broken or not connected: it says nothing of the heat.
            continue
        label = text(host, f"{stem}_label") or name.removesuffix("_input")
        if name.startswith("fan"):
            least = integer(host, f"{stem}_min")
            yield Sensor("fan", label, value, crit=least or None, alarm=integer(host, f"{stem}_alarm") == 1)
        else:
            crit, high = _limit(host, f"{stem}_crit"), _limit(host, f"{stem}_max")
            alarm = integer(host, f"{stem}_crit_alarm") == 1 or integer(host, f"{stem}_emergency_alarm") == 1
            yield Sensor("temperature", label, value, high if high and high < (crit or high + 1) else None, crit, alarm)


def zone_sensors(host: Host, folder: str) -> Iterator[Sensor]:
    """The reading of one thermal zone, with the point at which the machine would switch off."""
    value = integer(host, f"{folder}/temp")
    if value is None:
        return
    points = [
        _limit(host, f"{folder}/{name.removesuffix('_type')}_temp")
        for name in entries(host, folder, r"trip_point_\d{1,3}_type")
        if text(host, f"{folder}/{name}") in {"critical", "hot"}
    ]
    known = [point for point in points if point]
    yield Sensor("temperature", text(host, f"{folder}/type") or "zone", value, crit=min(known) if known else None)


def _limit(host: Host, path: str) -> int | None:
    found = integer(host, path)
    return found if found in _PLAUSIBLE_MC else None


def _run(context: Context) -> Iterable[Result]:
    host = context.host
    chips = [
        (
            f"{text(host, f'{HWMON}/{name}/name') or 'chip'} {name}",
            list(chip_sensors(host, f"{HWMON}/{name}")),
            f"{HWMON}/{name}",
        )
        for name in entries(host, HWMON, r"hwmon\d{1,4}")
    ]
    chips += [
        (
            f"{text(host, f'{ZONES}/{name}/type') or 'zone'} {name}",
            list(zone_sensors(host, f"{ZONES}/{name}")),
            f"{ZONES}/{name}",
        )
        for name in entries(host, ZONES, r"thermal_zone\d{1,4}")
    ]
    chips = [chip for chip in chips if chip[1] or _claims(host, chip[2])]
    yield Result(Status.OK, f"{len(chips)} chips with sensors" if chips else "no sensors")
    for key, sensors, _ in chips:
        if sensors:
            yield _judge(key, sensors)
        else:
            yield Result(Status.UNKNOWN, f"cannot judge {key}: none of its sensors tells a number", key, {"chip": key})


def _claims(host: Host, folder: str) -> bool:
    """Whether a chip has readings that are no numbers, as against none at all."""
    names = entries(host, folder, r"(temp|fan)\d{1,3}_input")
    return any(text(host, f"{folder}/{name}") and integer(host, f"{folder}/{name}") is None for name in names)


def _judge(key: str, sensors: list[Sensor]) -> Result:
    status = worst([sensor.status for sensor in sensors])
    bad = [sensor for sensor in sensors if sensor.status is not Status.OK]
    bad.sort(key=lambda sensor: sensor.status is not Status.CRIT)
    heats = [sensor.value / 1000 for sensor in sensors if sensor.kind == "temperature"]
    fans = [sensor.value for sensor in sensors if sensor.kind == "fan"]
    gauges = {"hottest_celsius": round(max(heats), 1)} if heats else {}
    if fans:
        gauges["slowest_fan_rpm"] = float(min(fans))
    finding: dict[str, Scalar] = {"chip": key}
    if bad:
        finding |= {
            "sensor": bad[0].label,
            "kind": bad[0].kind,
            "value": _number(bad[0]),
            "all": "; ".join(s.words for s in bad),
        }
        return Result(status, f"{key}: {finding['all']}", key, finding, gauges)
    return Result(status, f"{key}: {len(sensors)} sensors are within their limits", key, finding, gauges)


def _number(sensor: Sensor) -> float:
    return float(sensor.value) if sensor.kind == "fan" else round(sensor.value / 1000, 1)


CHECK = Check(
    name="temperature",
    summary="Temperatures and fans against the limits that their chips tell",
    run=_run,
    finding=(
        Field("chip", Kind.TEXT, "the chip or thermal zone"),
        Field("sensor", Kind.TEXT, "the sensor that is worst"),
        Field("kind", Kind.TEXT, "temperature or fan"),
        Field("value", Kind.NUMBER, "degrees Celsius, or turns a minute"),
        Field("all", Kind.TEXT, "every sensor of the chip that is beyond its limit"),
    ),
    gauges=(
        Gauge("hottest_celsius", "the highest temperature of the chip"),
        Gauge("slowest_fan_rpm", "turns a minute of the slowest fan"),
    ),
    blocking=True,
    every_s=30.0,
)
