"""Temperatures, fans and power supplies as the server's own management controller sees them, asked over Redfish.

It only ever reads (GET), by an account that needs no more than that. Switching servers off and on is the fleet controller's.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from . import Check, CheckUnknown, Context, Field, Gauge, Kind, Param, Result, Scalar, Status
from ._ask import document, get
from ._http import Target, parse_url
from ._probe import Fault, connected, within
from ._source import why

CHASSIS_MAX = 16
SENSORS_MAX = 500
_GROUPS = {"Thermal": ("Temperatures", "Fans"), "Power": ("PowerSupplies", "Voltages", "PowerControl")}
_HEALTH = {"OK": Status.OK, "Warning": Status.WARN, "Critical": Status.CRIT}
_FAILED_STATES = frozenset({"UnavailableOffline", "Disabled"})


@dataclass(frozen=True, slots=True)
class Sensor:
    """One member of a group: what it is, its reading as text, and its state."""

    chassis: str
    kind: str
    name: str
    reading: str
    status: Status
    words: str

    @property
    def key(self) -> str:
        """Unique within a server."""
        return f"{self.chassis} {self.kind} {self.name}"


def sensors(chassis: str, group: str, answer: Any) -> Iterator[Sensor]:
    """The sensors of one group's document. What is absent or tells no health is left out."""
    for kind in _GROUPS[group]:
        members = answer.get(kind) if isinstance(answer, dict) else None
        for member in members if isinstance(members, list) else []:
            status = member.get("Status") if isinstance(member, dict) else None
            if not isinstance(status, dict) or status.get("State") == "Absent":
                continue
            health, state = str(status.get("Health") or ""), str(status.get("State") or "")
            name = str(member.get("Name") or member.get("FanName") or member.get("MemberId") or "unnamed")[:80]
            found = _HEALTH.get(health, Status.OK)
            if kind == "PowerSupplies" and state in _FAILED_STATES:
                found = Status.CRIT
            yield Sensor(chassis, kind, name, _reading(member), found, " ".join(filter(None, (health, state))))


def _reading(member: dict[str, Any]) -> str:
    for field, unit in (
        *(("ReadingCelsius", "°C"), ("ReadingVolts", "V"), ("LineInputVoltage", "V line"), ("PowerConsumedWatts", "W")),
        ("Reading", str(member.get("ReadingUnits") or "")),
    ):
        value = member.get(field)
        if isinstance(value, int | float) and not isinstance(value, bool):
            return f"{value:g} {unit}".strip()
    return ""


async def _run(context: Context) -> Iterable[Result]:
    controller = _Controller(context)
    try:
        async with within(context.timeout_s):
            found = [sensor async for sensor in controller.sensors()][:SENSORS_MAX]
    except Fault as fault:
        raise CheckUnknown(f"cannot ask {controller.base.shown}: {fault}") from fault
    results = [Result(Status.OK, f"{len(found)} sensors", gauges=_counts(found))]
    for sensor in found:
        if sensor.status is not Status.OK or sensor.key in context.known:
            finding: dict[str, Scalar] = {
                "chassis": sensor.chassis,
                "kind": sensor.kind,
                "sensor": sensor.name,
                "reading": sensor.reading,
                "state": sensor.words,
            }
            text = f"{sensor.name} is {sensor.words or 'well'}" + (f" at {sensor.reading}" if sensor.reading else "")
            results.append(Result(sensor.status, text, sensor.key, finding))
    return results


def _counts(found: list[Sensor]) -> dict[str, float]:
    return {"redfish_sick_sensors_value": float(sum(sensor.status is not Status.OK for sensor in found))}


class _Controller:
    """The management controller's address, and how to be let in."""

    def __init__(self, context: Context) -> None:
        params = context.params
        self.base: Target = parse_url(params["address"].rstrip("/") + "/")
        self._chassis: str = params["chassis"]
        self._head = _authorisation(context)
        self._tls = _tls(context) if self.base.scheme == "https" else None

    async def sensors(self) -> Any:
        """Every sensor of every chassis. Raises Fault."""
        for path in await self._chassis_paths():
            for group in _GROUPS:
                status, body = await self._get(f"{path}/{group}")
                answer = document(status, body) if status != 404 else None
                for sensor in sensors(path.rpartition("/")[2], group, answer):
                    yield sensor

    async def _chassis_paths(self) -> list[str]:
        if self._chassis:
            return [f"/redfish/v1/Chassis/{self._chassis}"]
        status, body = await self._get("/redfish/v1/Chassis")
        answer = document(status, body)
        members = answer.get("Members") if isinstance(answer, dict) else None
        paths = [str(each.get("@odata.id", "")) for each in members or [] if isinstance(each, dict)]
        good = [path.rstrip("/") for path in paths if path.startswith("/redfish/") and path.isascii() and path.isprintable()]
        if not good:
            raise Fault("bad_answer", "it names no chassis")
        return [path for path in good if " " not in path][:CHASSIS_MAX]

    async def _get(self, path: str) -> tuple[int, bytes]:
        head = f"Host: {self.base.host}\r\nAccept: application/json\r\n{self._head}Connection: close\r\n"
        async with connected(self.base.host, self.base.port, self._tls, self.base.host) as connection:
            return await get(connection, f"GET {path} HTTP/1.1\r\n{head}\r\n".encode("latin-1"))


def _authorisation(context: Context) -> str:
    """The header for the account; the password is read anew each time, so that it can be changed. Raises CheckUnknown."""
    user, file = context.params["user"], context.params["password_file"]
    if not user:
        return ""
    import base64

    try:
        password = context.host.read_text(file, 4096).strip() if file else ""
    except OSError as error:
        raise CheckUnknown(f"cannot read {file}: {why(error)}") from error
    return f"Authorization: Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}\r\n"


def _tls(context: Context) -> ssl.SSLContext:
    ca = context.params["ca"]
    try:
        return ssl.create_default_context(cafile=context.host.path(ca) if ca else None)
    except OSError as error:
        raise CheckUnknown(f"cannot read CA certificates {ca or 'of the system'}: {why(error)}") from error


CHECK = Check(
    name="redfish_sensors",
    summary="Temperatures, fans and power supplies as the server's management controller (BMC) sees them",
    run=_run,
    params=(
        Param("address", Kind.TEXT, "http:// or https:// address of the controller, without a path", required=True),
        Param("chassis", Kind.TEXT, "id of one chassis; empty: all that the controller names", default=""),
        Param("user", Kind.TEXT, "account that may read; empty: none", default=""),
        Param("password_file", Kind.TEXT, "file on the host with its password", default=""),
        Param("ca", Kind.TEXT, "file of CA certificates to trust for https, instead of the system's", default=""),
    ),
    finding=(
        Field("chassis", Kind.TEXT, "the chassis"),
        Field("kind", Kind.TEXT, "Temperatures, Fans, PowerSupplies, Voltages or PowerControl"),
        Field("sensor", Kind.TEXT, "name of the sensor or part"),
        Field("reading", Kind.TEXT, "what it reads, with its unit; empty if it reads nothing"),
        Field("state", Kind.TEXT, "the controller's own words"),
    ),
    gauges=(Gauge("redfish_sick_sensors_value", "sensors and parts that are not well"),),
    every_s=60.0,
    timeout_s=30.0,
)
