"""Orders out and outcomes back, as sealed documents (see fleetmend/seal.py)."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from typing import Any

from fleetmend import permits
from fleetmend.seal import SealError, derive_host_key, seal, unseal
from fleetmend.v1 import link_pb2

from ..core.effects import Grant, SendPermits
from ..core.model import ActionStep, Order, Outcome, Scalar
from . import bounds

COMMANDS_MAX = 20


@dataclass(frozen=True, slots=True)
class Ended:
    """An executor's outcome, verified and bounded, or an agent's refusal to hand the order on."""

    order: str
    outcome: Outcome
    refusal: str
    detail: str
    boot: str
    ended_clock_ms: int
    output: str
    commands: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PermitUse:
    """What a permit was used for, as the executor noted it, bounded."""

    playbook: str
    action: str
    params: tuple[tuple[str, Scalar], ...]
    within_ms: int
    stay_ok_ms: int
    timeout_ms: int
    check: str
    check_type: str
    key: str
    finding: dict[str, Scalar]
    summary: str
    since_clock_ms: int
    sampled_clock_ms: int
    away_ms: int


@dataclass(frozen=True, slots=True)
class PermitTold:
    """One of the two things that a host tells of a permit. `ended` is its sealed end; None when it just began."""

    permit: str
    use: PermitUse
    boot: str
    started_clock_ms: int
    ended: Ended | None


class Forged(ValueError):
    """An outcome that the host's executor did not seal, or of another's order. `reason` is the word in metric and audit."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason


# What an agent may say when it did not hand an order to its executor, and what that makes of the order.
AGENT_REFUSALS = {
    "fault_gone": Outcome.REFUSED,
    "expired": Outcome.EXPIRED,
    "executor_unreachable": Outcome.REFUSED,
    "unreadable": Outcome.REFUSED,
}


class Sealer:
    """Seals orders and declarations for hosts, and opens what their executors sealed."""

    def __init__(self, master: bytes) -> None:
        self._master = master

    def key(self, host: str) -> bytes:
        """The executor key of a host."""
        return derive_host_key(self._master, host)

    def order(self, order: Order, epoch: int) -> link_pb2.SealedOrder:
        """The message that carries an order. SealError if a parameter has no canonical form."""
        document: dict[str, Any] = {
            "kind": "order",
            "v": 1,
            "order_id": order.id,
            "host_id": order.host,
            "boot_id": order.boot,
            "epoch": epoch,
            "incident": order.incident,
            "subject": {"check": order.check, "key": order.key},
            "action": order.action,
            "params": dict(order.params),
            "timeout_ms": order.timeout_ms,
            "expires_clock_ms": order.expires_clock_ms,
            "issued_ms": order.issued_ms,
            "requested_by": order.requested_by,
        }
        payload, mac = seal(self.key(order.host), document)
        return link_pb2.SealedOrder(order_id=order.id, payload=payload, mac=mac, check=order.check, key=order.key)

    def permits(self, given: SendPermits, epoch: int) -> link_pb2.SealedPermits:
        """The message that carries a set of permits. SealError if a parameter has no canonical form."""
        document: dict[str, Any] = {
            "kind": permits.KIND,
            "v": 1,
            "host_id": given.host,
            "boot_id": given.boot,
            "epoch": epoch,
            "version": given.version,
            "expires_clock_ms": given.expires_clock_ms,
            "grants": [_grant(grant) for grant in given.grants],
            "left": {"units": list(given.left_units), "subjects": [list(subject) for subject in given.left_subjects]},
        }
        payload, mac = seal(self.key(given.host), document)
        return link_pb2.SealedPermits(payload=payload, mac=mac)

    def permit_use(self, host: str, message: link_pb2.PermitUse, boot: str) -> PermitTold:
        """What a host tells of a permit that it used: its beginning, or its sealed end. Forged, Malformed."""
        permit = bounds.identifier(message.permit_id, "permit id")
        if not permit.startswith(f"{permits.PREFIX}{host}-"):
            raise Forged("foreign_order", f"{permit} is no permit of {host}")
        if not message.payload:
            return PermitTold(permit, _use(_object(message.permit)), boot, bounds.clock_ms(message.started_clock_ms), None)
        try:
            document = unseal(self.key(host), message.payload, message.mac, "outcome")
        except SealError as error:
            raise Forged("bad_seal", str(error)) from error
        if document.get("host_id") != host or document.get("order_id") != permit:
            raise Forged("foreign_outcome", f"the outcome of {permit} names another host or permit")
        ended = _ended(document, permit)
        started = document.get("started_clock_ms")
        started_ms = bounds.clock_ms(started) if isinstance(started, int) else ended.ended_clock_ms
        return PermitTold(permit, _use(document.get("permit")), ended.boot, started_ms, ended)

    def declaration(self, host: str, epoch: int, version: int, rules: dict[str, Any]) -> tuple[bytes, bytes]:
        """Payload and MAC of what a host's executor is told about units, disposable and protected."""
        document = {"kind": "declaration", "v": 1, "host_id": host, "epoch": epoch, "version": version, **rules}
        return seal(self.key(host), document)

    def outcome(self, host: str, message: link_pb2.OrderOutcome, boot: str, issued_to: str | None) -> Ended | None:
        """What became of an order of this host. None if it is nobody's any more and properly sealed; Forged, Malformed.

        `issued_to` is the host that the order was issued to, None for an order that nobody remembers (any more).
        """
        order_id = bounds.identifier(message.order_id, "order id")
        if issued_to is not None and issued_to != host:
            raise Forged("foreign_order", f"{order_id} was issued to {issued_to}, not to {host}")
        if message.agent_refusal:
            if issued_to is None:
                raise Forged("unknown_order", f"{order_id} was not issued to {host}")
            return _refusal(message, order_id, boot)
        try:
            document = unseal(self.key(host), message.payload, message.mac, "outcome")
        except SealError as error:
            raise Forged("bad_seal", str(error)) from error
        if document.get("host_id") != host or document.get("order_id") != order_id:
            raise Forged("foreign_outcome", f"the outcome of {order_id} names another host or order")
        return _ended(document, order_id) if issued_to is not None else None


def _refusal(message: link_pb2.OrderOutcome, order_id: str, boot: str) -> Ended:
    outcome = AGENT_REFUSALS.get(message.agent_refusal)
    if outcome is None:
        raise bounds.Malformed("the agent's refusal is no known word")
    detail = bounds.line(message.detail, bounds.DETAIL_CHARS_MAX)
    ended = bounds.clock_ms(message.ended_clock_ms)
    return Ended(order_id, outcome, message.agent_refusal, detail, boot, ended, "")


def _ended(document: dict[str, Any], order_id: str) -> Ended:
    try:
        outcome = Outcome(document["outcome"])
        ended = document["ended_clock_ms"]
        boot = bounds.identifier(str(document["boot_id"]), "boot id")
    except (KeyError, ValueError) as error:
        raise bounds.Malformed(f"the outcome of {order_id} lacks what it must say") from error
    if not isinstance(ended, int):
        raise bounds.Malformed(f"the outcome of {order_id} has no end")
    reason = bounds.line(str(document.get("reason", "")), bounds.ID_CHARS_MAX)
    text = bounds.line(str(document.get("detail", "")), bounds.DETAIL_CHARS_MAX)
    detail = f"{reason}: {text}" if reason and text and outcome is not Outcome.DONE else text or reason
    output = bounds.lines(str(document.get("output", "")), bounds.OUTPUT_CHARS_MAX)
    refusal = reason if outcome is Outcome.REFUSED else ""
    return Ended(order_id, outcome, refusal, detail, boot, bounds.clock_ms(ended), output, _commands(document.get("commands")))


def _commands(listed: Any) -> tuple[str, ...]:
    """What was run, a line each. It is told, not acted on: what has another form is left out."""
    entries = listed[:COMMANDS_MAX] if isinstance(listed, list) else []
    return tuple(_command(entry) for entry in entries if isinstance(entry, dict) and isinstance(entry.get("argv"), list))


def _command(entry: dict[str, Any]) -> str:
    argv = bounds.line(shlex.join(str(word) for word in entry["argv"]), bounds.SUMMARY_CHARS_MAX)
    ended = bounds.line(f"exit {entry.get('exit')} after {entry.get('ms')} ms", bounds.ID_CHARS_MAX)
    return f"{argv}: {ended}"


def _grant(grant: Grant) -> dict[str, Any]:
    reach = json.loads(grant.reach)
    prove = grant.step.prove
    return {
        "playbook": grant.playbook,
        "permits": list(grant.permits),
        "reach": reach["reach"],
        "unless": reach["unless"],
        "first": [_deed(step) for step in grant.first],
        "deed": _deed(grant.step),
        "for_ms": grant.for_ms,
        "prove": {"within_ms": prove.within_ms if prove else 0, "stay_ok_ms": prove.stay_ok_ms if prove else 0},
        "backoff_ms": grant.backoff_ms,
        "factor": grant.factor,
        "budget": {"count": grant.count, "window_ms": grant.window_ms},
    }


def _deed(step: ActionStep) -> dict[str, Any]:
    return {"action": step.action, "params": dict(step.params), "timeout_ms": step.timeout_ms}


def _object(text: str) -> Any:
    try:
        return json.loads(text) if len(text) <= bounds.OUTPUT_CHARS_MAX else None
    except (ValueError, RecursionError):
        return None


def _use(said: Any) -> PermitUse:
    """What is told of a permit's use; Malformed if a part is missing."""
    try:
        check, key = bounds.subject(str(said["check"]), str(said["key"]))
        return PermitUse(
            playbook=bounds.line(str(said["playbook"]), bounds.ID_CHARS_MAX),
            action=bounds.line(str(said["action"]), bounds.ID_CHARS_MAX),
            params=tuple(sorted(bounds.plain_scalars(said["params"]).items())),
            within_ms=bounds.clock_ms(int(said["within_ms"])),
            stay_ok_ms=bounds.clock_ms(int(said["stay_ok_ms"])),
            timeout_ms=bounds.clock_ms(int(said["timeout_ms"])),
            check=check,
            check_type=bounds.line(str(said["check_type"]), bounds.CHECK_CHARS_MAX),
            key=key,
            finding=bounds.plain_scalars(said["finding"]),
            summary=bounds.line(str(said["summary"]), bounds.SUMMARY_CHARS_MAX),
            since_clock_ms=bounds.clock_ms(int(said["since_clock_ms"])),
            sampled_clock_ms=bounds.clock_ms(int(said["sampled_clock_ms"])),
            away_ms=bounds.clock_ms(int(said["away_ms"])),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise bounds.Malformed("what a permit was used for is not told in full") from error
