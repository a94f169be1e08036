"""What smartctl says of a disk, as values. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

# ATA attributes that foretell failure, by number: their names differ from maker to maker.
_ATTRIBUTES = {5: "reallocated", 187: "uncorrectable", 197: "pending", 198: "uncorrectable"}
_NVME_WARNINGS = (
    (0x01, "spare space is used up"),
    (0x02, "temperature is out of its range"),
    (0x04, "reliability is degraded"),
    (0x08, "it is read-only"),
    (0x10, "its memory backup failed"),
    (0x20, "its persistent memory is unreliable"),
)


@dataclass(frozen=True, slots=True)
class Device:
    """A disk as smartctl names it; behind a controller several have one name and differ by `kind`."""

    name: str
    kind: str

    @property
    def label(self) -> str:
        """Unique among the disks of a machine."""
        return f"{self.name} {self.kind}" if "," in self.kind else self.name


@dataclass(slots=True)
class Health:
    """What a disk tells of itself. `passed` of None: it does not tell. Counts of -1 likewise."""

    protocol: str = ""
    model: str = ""
    serial: str = ""
    passed: bool | None = None
    warnings: str = ""
    reallocated: int = -1
    pending: int = -1
    uncorrectable: int = -1
    media_errors: int = -1
    used_percent: int = -1
    spare_percent: int = -1
    spare_least_percent: int = -1
    temperature: int = -1
    hours: int = -1


def parse_scan(text: str) -> list[Device]:
    """The disks of `smartctl --scan -j`. Raises ValueError."""
    found = []
    for entry in _list(_object(text), "devices"):
        name, kind = entry.get("name"), entry.get("type", "")
        if isinstance(name, str) and name.startswith("/dev/") and isinstance(kind, str) and name.isprintable():
            found.append(Device(name, kind))
    return found


def parse_health(text: str) -> Health:
    """The answer of `smartctl -j -a`. Raises ValueError when it says nothing of the disk's health."""
    answer = _object(text)
    health = Health(
        protocol=_text(_mapping(answer, "device").get("protocol")),
        model=_text(answer.get("model_name")),
        serial=_text(answer.get("serial_number")),
        temperature=_count(_mapping(answer, "temperature").get("current")),
        hours=_count(_mapping(answer, "power_on_time").get("hours")),
    )
    passed = _mapping(answer, "smart_status").get("passed")
    health.passed = passed if isinstance(passed, bool) else None
    nvme = _mapping(answer, "nvme_smart_health_information_log")
    if nvme:
        _nvme(health, nvme)
    for row in _list(_mapping(answer, "ata_smart_attributes"), "table"):
        name = _ATTRIBUTES.get(row.get("id", 0) if isinstance(row.get("id"), int) else 0)
        if name is not None:
            # The raw value's upper bytes are the maker's own in some drives.
            setattr(health, name, max(getattr(health, name), _count(_mapping(row, "raw").get("value")) & 0xFFFFFFFF))
    grown = _count(answer.get("scsi_grown_defect_list"))
    health.reallocated = max(health.reallocated, grown)
    if health.passed is None and not nvme and health.reallocated < 0 and health.pending < 0:
        raise ValueError(messages(answer) or "it tells nothing of its health")
    return health


def _nvme(health: Health, log: dict[str, Any]) -> None:
    bits = _count(log.get("critical_warning"))
    health.warnings = ", ".join(words for bit, words in _NVME_WARNINGS if bits > 0 and bits & bit)
    health.media_errors = _count(log.get("media_errors"))
    health.used_percent = _count(log.get("percentage_used"))
    health.spare_percent = _count(log.get("available_spare"))
    health.spare_least_percent = _count(log.get("available_spare_threshold"))
    health.temperature = max(health.temperature, _count(log.get("temperature")))


def messages(answer: dict[str, Any]) -> str:
    """What smartctl itself has to say."""
    return "; ".join(_text(entry.get("string")) for entry in _list(_mapping(answer, "smartctl"), "messages"))


def _object(text: str) -> dict[str, Any]:
    try:
        answer = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError("its answer is no JSON; version 7.0 or newer is needed") from error
    if not isinstance(answer, dict):
        raise ValueError("its answer is no JSON object")  # noqa: TRY004 - what it says is wrong, not a type of ours
    return answer


def _mapping(values: dict[str, Any], name: str) -> dict[str, Any]:
    found = values.get(name)
    return found if isinstance(found, dict) else {}


def _list(values: dict[str, Any], name: str) -> list[dict[str, Any]]:
    found = values.get(name)
    return [entry for entry in found if isinstance(entry, dict)] if isinstance(found, list) else []


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _count(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63 else -1
