"""What comes in and goes out: sealed orders as values, sealed outcomes of them, and the word for what was not taken on."""

from __future__ import annotations

import hashlib
import json
from typing import Any, NamedTuple

from fleetmend.permits import Grant, PermitSet
from fleetmend.seal import SealError, seal, unseal

from .commands import Finished
from .ledger import Entry
from .permits import Trigger
from .run import Result
from .store import Identity

ORDER_ID_CHARS_MAX = 128
OUTCOME_BYTES_MAX = 240 * 1024


class NotTaken(Exception):
    """An order or declaration that was not taken on: nothing ran, nothing was recorded. `reason` is a stable word."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason


class Outcome(NamedTuple):
    """The sealed end of an order, as it goes to the controller: canonical text and MAC in hex."""

    order_id: str
    payload: str
    mac: str


class Use(NamedTuple):
    """By which permit, on what it is used."""

    held: PermitSet
    grant: Grant
    trigger: Trigger


class Order(NamedTuple):
    """A verified order's parts. `use` and `permit`, its description for the ledger, are set when it was given ahead of time."""

    order_id: str
    host_id: str
    boot_id: str
    epoch: int
    action: str
    params: dict[str, Any]
    timeout_ms: int
    expires_clock_ms: int
    use: Use | None = None
    permit: str = ""

    def entry(self, started_clock_ms: int = 0) -> Entry:
        """How the ledger notes it."""
        return Entry(
            self.order_id,
            self.boot_id,
            self.epoch,
            self.expires_clock_ms,
            self.action,
            started_clock_ms=started_clock_ms,
            permit=self.permit,
        )


def parse_order(document: dict[str, Any]) -> Order:
    """The parts of an unsealed order; NotTaken("unreadable") when one is missing or of another type."""
    texts = {name: document.get(name) for name in ("order_id", "host_id", "boot_id", "action")}
    numbers = {name: document.get(name) for name in ("epoch", "timeout_ms", "expires_clock_ms")}
    if document.get("v") != 1:
        raise NotTaken("unreadable", f"cannot read order: version {document.get('v')!r} of its form is unknown")
    for name, value in texts.items():
        if not isinstance(value, str) or not 0 < len(value) <= ORDER_ID_CHARS_MAX or not value.isprintable():
            raise NotTaken("unreadable", f"cannot read order: its {name} is not a short text")
    for name, number in numbers.items():
        if not isinstance(number, int) or isinstance(number, bool) or number < 0:
            raise NotTaken("unreadable", f"cannot read order: its {name} is not a whole number")
    params = document.get("params", {})
    return Order(**texts, **numbers, params=params if isinstance(params, dict) else {"": params})  # type: ignore[arg-type]


def sealed(identity: Identity, entry: Entry, result: Result, ended_ms: int) -> Outcome:
    """The outcome of an order, under the host's key; without its output if that is too large to travel."""
    document = {
        "kind": "outcome",
        "v": 1,
        "order_id": entry.order_id,
        "host_id": identity.host_id,
        "boot_id": entry.boot_id,
        "epoch": entry.epoch,
        "outcome": result.outcome,
        "reason": result.reason,
        "detail": result.detail,
        "started_clock_ms": entry.started_clock_ms,
        "ended_clock_ms": ended_ms,
        "output": result.output,
        "commands": [_command(finished) for finished in result.commands],
        **({"permit": json.loads(entry.permit)} if entry.permit else {}),
    }
    payload, mac = seal(identity.key, document)
    if len(payload) > OUTCOME_BYTES_MAX:
        payload, mac = seal(identity.key, {**document, "output": "[left out: too large]", "commands": []})
    return Outcome(entry.order_id, payload.decode(), mac.hex())


def _command(finished: Finished) -> dict[str, Any]:
    return {"argv": [word[:500] for word in finished.argv[:50]], "exit": finished.exit, "ms": finished.ms}


def believed(identity: Identity, payload: bytes, mac: bytes, kind: str) -> dict[str, Any]:
    """The document, if its seal holds; NotTaken("bad_seal") otherwise."""
    try:
        return unseal(identity.key, payload, mac, kind)
    except SealError as error:
        digest = hashlib.sha256(payload).hexdigest()[:12]
        raise NotTaken("bad_seal", f"{error} (payload {digest})") from error
