"""What Alertmanager's webhook sends (version 4), bounded and cleaned. Labels come from anywhere; none of them is trusted."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from ..core.model import ALERT_PREFIX
from ..gateway.bounds import CHECK_CHARS_MAX, FINDING_TEXT_CHARS_MAX, SUMMARY_CHARS_MAX, line
from ..notify.alertmanager import ALERTNAME as OWN_ALERTNAME

ALERTS_MAX = 5_000
LABELS_MAX = 64
FINGERPRINT_CHARS_MAX = 64
_NAME_CHARS_MAX = CHECK_CHARS_MAX - len(ALERT_PREFIX)


class BadBody(ValueError):
    """A body that no Alertmanager sends; the text begins with `cannot`."""


@dataclass(frozen=True, slots=True)
class Told:
    """One alert. Times are its sender's; `ends_ms` of one that fires is 0 unless its sender said how long it holds."""

    name: str
    labels: dict[str, str] = field(hash=False)
    summary: str
    fires: bool
    starts_ms: int
    ends_ms: int
    fingerprint: str

    @property
    def own(self) -> bool:
        """Whether it is one of ours that comes back: an incident about an incident, without end."""
        return self.name == OWN_ALERTNAME


@dataclass(frozen=True, slots=True)
class Body:
    """The alerts that can be used, and how many cannot."""

    alerts: tuple[Told, ...]
    rejected: int


def parse(raw: bytes) -> Body:
    """The alerts of a body. One that cannot be used does not hold up the others."""
    try:
        document = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise BadBody("cannot read the body: it is not JSON") from error
    listed = document.get("alerts") if isinstance(document, dict) else None
    if not isinstance(listed, list):
        raise BadBody("cannot use the body: it has no list `alerts`; point a webhook receiver of Alertmanager here")
    if len(listed) > ALERTS_MAX:
        raise BadBody(f"cannot use the body: more than {ALERTS_MAX} alerts; set max_alerts of the receiver")
    told = [_alert(entry) for entry in listed]
    alerts = tuple(alert for alert in told if alert is not None)
    return Body(alerts, len(told) - len(alerts))


def _alert(entry: Any) -> Told | None:
    if not isinstance(entry, dict) or entry.get("status") not in ("firing", "resolved"):
        return None
    labels = _texts(entry.get("labels"))
    name = line(labels.get("alertname", ""), _NAME_CHARS_MAX)
    starts_ms, ends_ms = _instant(entry.get("startsAt")), _instant(entry.get("endsAt"))
    if not name or starts_ms is None or ends_ms is None:
        return None
    notes = _texts(entry.get("annotations"))
    summary = notes.get("summary") or notes.get("description") or notes.get("message") or name
    fires = entry["status"] == "firing"
    fingerprint = line(str(entry.get("fingerprint") or ""), FINGERPRINT_CHARS_MAX) or _fingerprint(labels)
    return Told(name, labels, line(summary, SUMMARY_CHARS_MAX), fires, starts_ms, ends_ms, fingerprint)


def _texts(values: Any) -> dict[str, str]:
    items = list(values.items())[:LABELS_MAX] if isinstance(values, dict) else []
    return {str(name): line(value, FINDING_TEXT_CHARS_MAX) for name, value in items if isinstance(value, str)}


def _instant(value: Any) -> int | None:
    """Unix milliseconds; 0 for the year 1, by which Go says never; None for what is no time."""
    if value is None:
        return 0
    try:
        at = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return None
    if at.tzinfo is None:
        return None
    return max(0, int((at - datetime.fromtimestamp(0, UTC)).total_seconds() * 1000))


def _fingerprint(labels: dict[str, str]) -> str:
    """Old Alertmanagers send none: the same labels are the same alert."""
    return hashlib.sha256(json.dumps(sorted(labels.items())).encode()).hexdigest()[:16]
