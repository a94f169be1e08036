"""One sealed order from its bytes to its sealed outcome: verify, look into the ledger, check the rules, begin, run, end.

Refusals come in two kinds. Of an order that is truly ours and can never run, the refusal is its end: sealed and recorded. When
the order cannot be believed (bad_seal), comes from a deposed controller (stale_epoch), or could not be recorded or taken on now
(ledger_unavailable, not_enrolled, busy), nothing is recorded and `NotTaken` says so: a later delivery may still run.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from fleetmend import registry
from fleetmend.seal import SealError, seal, unseal

from . import actions, declaration, policy
from .actions import Action, Cost, Refused, validate
from .commands import Finished
from .effects import Effect
from .ledger import Entry, Ledger, LedgerUnavailable
from .rules import HostRules
from .run import Result, Runner, boot_clock_ms
from .store import Identity, StateError, read_identity

ORDER_ID_CHARS_MAX = 128
TARGET_WAIT_S_MAX = 30.0
TARGETS_MAX = 1024
OUTCOME_BYTES_MAX = 240 * 1024

Started = Callable[[str, int], None]
Plan = Callable[[], tuple[Effect, ...]]


class NotTaken(Exception):
    """An order or declaration that was not taken on: nothing ran, nothing was recorded. `reason` is a stable word."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Outcome:
    """The sealed end of an order, as it goes to the controller: canonical text and MAC in hex."""

    order_id: str
    payload: str
    mac: str


@dataclass(frozen=True, slots=True)
class Order:
    """A verified order's parts."""

    order_id: str
    host_id: str
    boot_id: str
    epoch: int
    action: str
    params: dict[str, Any]
    timeout_ms: int
    expires_clock_ms: int

    def entry(self, started_clock_ms: int = 0) -> Entry:
        """How the ledger notes it."""
        return Entry(
            self.order_id, self.boot_id, self.epoch, self.expires_clock_ms, self.action, started_clock_ms=started_clock_ms
        )


@dataclass(slots=True)
class Desk:
    """Where orders arrive. One for the process; safe to use from several threads."""

    state_dir: str
    policy_path: str
    boot_id: str
    say: Callable[[str], None]
    runner: Runner
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _ledger: Ledger | None = None
    _under_way: dict[str, threading.Event] = field(default_factory=dict)
    _targets: dict[str, threading.Lock] = field(default_factory=dict)
    _unrecorded: dict[str, tuple[Entry, Outcome]] = field(default_factory=dict)

    def order(self, payload: bytes, mac: bytes, started: Started, *, withdrawn: bool = False) -> Outcome:
        """The order's one outcome, now or as it was. `started` is called once the ledger holds the order. Raises NotTaken.

        `withdrawn`: the agent found the fault gone. An order that was never taken on ends here and can run no more.
        """
        identity = self.identity()
        order = parse_order(_believed(identity, payload, mac, "order"))
        with self._lock:
            ledger = self._open_ledger(identity)
            self._compact(ledger)
            other = self._under_way.get(order.order_id)
            known = ledger.get(order.order_id)
            if other is None and known is None:
                self._check_epoch(order.epoch, identity, ledger)
                self._under_way[order.order_id] = threading.Event()
        if other is not None:
            other.wait(order.timeout_ms / 1000 + TARGET_WAIT_S_MAX)
        if other is not None or known is not None:
            return self._recorded(ledger, order.order_id)
        try:
            if withdrawn:
                gone = Result("refused", "fault_gone", f"{order.order_id} was withdrawn: the fault was gone before it began")
                return self._end(order, identity, ledger, gone, 0)
            return self._take_on(order, identity, ledger, started)
        except LedgerUnavailable as error:
            raise NotTaken("ledger_unavailable", str(error)) from error
        finally:
            with self._lock:
                self._under_way.pop(order.order_id).set()

    def declare(self, payload: bytes, mac: bytes) -> int:
        """Keep a newer declaration, durably; the version now in force. Raises NotTaken."""
        identity = self.identity()
        document = _believed(identity, payload, mac, "declaration")
        with self._lock:
            try:
                fresh = declaration.parse(document, identity.host_id)
                held = self._declaration(identity, lenient=True)
                self._check_epoch(fresh.epoch, identity, self._open_ledger(identity))
                same_version = fresh.version == held.version
                if fresh.version < held.version or (same_version and _content(fresh) != _content(held)):
                    raise NotTaken("stale_version", f"cannot store declaration {fresh.version}: {held.version} is in force")
                if fresh != held:
                    declaration.store(self._declaration_path, payload, mac)
            except declaration.DeclarationError as error:
                raise NotTaken(error.reason, str(error)) from error
            except OSError as error:
                raise NotTaken("state_unavailable", f"cannot store declaration: {error.strerror}") from error
            return fresh.version

    def hello(self) -> dict[str, Any]:
        """What the agent tells the controller beforehand. A policy that cannot be read permits nothing."""
        try:
            listed = policy.load(self.policy_path).actions
            permitted = [name for name in registry.names(actions) if name in listed]
            detail = ""
        except policy.PolicyError as error:
            permitted, detail = [], str(error)
        try:
            version = self._declaration(self.identity(), lenient=True).version
        except NotTaken as error:
            version, detail = 0, str(error)
        found = {"permitted_actions": permitted, "declaration_version": version, "detail": detail}
        return {**found, "surprises": self.runner.surprises}

    def look(self, what: str) -> Any:
        """What root sees of one thing that the agent may not see itself; reading only. Raises NotTaken."""
        from .looks import look

        try:
            return look(what, HostRules(policy.load(self.policy_path), self._declaration(self.identity())))
        except policy.PolicyError as error:
            raise NotTaken("policy_unavailable", str(error)) from error
        except Refused as error:
            raise NotTaken(error.reason, str(error)) from error

    def identity(self) -> Identity:
        """Who this host is, read afresh: enrolment may have happened since. Raises NotTaken."""
        try:
            return read_identity(self.state_dir)
        except StateError as error:
            raise NotTaken("not_enrolled", str(error)) from error

    def close(self) -> None:
        """Give the ledger back."""
        if self._ledger is not None:
            self._ledger.close()
            self._ledger = None

    @property
    def _declaration_path(self) -> str:
        return f"{self.state_dir}/declaration.json"

    def _open_ledger(self, identity: Identity) -> Ledger:
        """Opened at the first order. What a crash left without an end gets one now: unknown, never run again."""
        if self._ledger is not None:
            return self._ledger
        try:
            ledger = Ledger(self.state_dir)
            for entry in ledger.unfinished():
                self.say(f"order {entry.order_id} has no end: this executor died while it ran; its outcome is unknown")
                result = Result("unknown", "executor_died", "cannot tell what became of it: the executor died while it ran")
                outcome = _sealed(identity, entry, result, boot_clock_ms())
                ledger.end(entry, outcome.payload, outcome.mac)
        except LedgerUnavailable as error:
            self.say(str(error))
            raise NotTaken("ledger_unavailable", str(error)) from error
        self._ledger = ledger
        return ledger

    def _compact(self, ledger: Ledger) -> None:
        """Only does something once the file is large."""
        try:
            ledger.compact(self.boot_id, boot_clock_ms())
        except LedgerUnavailable as error:
            raise NotTaken("ledger_unavailable", str(error)) from error

    def _check_epoch(self, epoch: int, identity: Identity, ledger: Ledger) -> None:
        try:
            declared = self._declaration(identity, lenient=True).epoch
        except NotTaken:
            declared = 0
        highest = max(identity.epoch, ledger.epoch, declared)
        if epoch < highest:
            raise NotTaken("stale_epoch", f"cannot obey epoch {epoch}: {highest} was seen; a newer controller is in charge")

    def _take_on(self, order: Order, identity: Identity, ledger: Ledger, started: Started) -> Outcome:
        try:
            self._check_bounds(order, identity)
            action = _action(order.action)
            plan = self._checked_plan(order, action, identity)
        except Refused as error:
            return self._end(order, identity, ledger, _refusal(error), 0)
        if action.cost is Cost.HARMLESS:
            return self._run(order, identity, ledger, action, plan, started)
        target = self._target(str(order.params.get("unit") or order.action))
        wait_s = min(TARGET_WAIT_S_MAX, max(0.0, (order.expires_clock_ms - boot_clock_ms()) / 1000))
        if not target.acquire(timeout=wait_s):
            busy = Result("refused", "busy", "cannot begin: another order on the same target has not ended")
            return self._end(order, identity, ledger, busy, 0)
        try:
            self._check_bounds(order, identity)
            return self._run(order, identity, ledger, action, plan, started)
        except Refused as error:
            return self._end(order, identity, ledger, _refusal(error), 0)
        finally:
            target.release()

    def _check_bounds(self, order: Order, identity: Identity) -> None:
        if order.host_id != identity.host_id:
            raise Refused("wrong_host", f"cannot obey {order.order_id}: it is for host {order.host_id[:40]}")
        if order.boot_id != self.boot_id:
            raise Refused("wrong_boot", f"cannot obey {order.order_id}: the host has booted since it was given")
        if boot_clock_ms() >= order.expires_clock_ms:
            raise Refused(
                "expired", f"cannot obey {order.order_id}: it expired at {order.expires_clock_ms} ms of the boot clock"
            )

    def _checked_plan(self, order: Order, action: Action, identity: Identity) -> Plan:
        """All that can be refused is refused here, before the ledger says that the order began."""
        try:
            rules = HostRules(policy.load(self.policy_path), self._declaration(identity))
        except policy.PolicyError as error:
            raise Refused("policy_unavailable", str(error)) from error
        rules.constraint(action.name)
        effects = action.plan(validate(action, order.params), rules)
        return lambda: effects

    def _run(self, order: Order, identity: Identity, ledger: Ledger, action: Action, plan: Plan, started: Started) -> Outcome:
        begun_ms = boot_clock_ms()
        ledger.begin(order.entry(begun_ms))
        started(order.order_id, begun_ms)
        timeout_s = min(order.timeout_ms / 1000, action.timeout_s) if order.timeout_ms else action.timeout_s
        result = self.runner.carry_out(plan, timeout_s)
        return self._end(order, identity, ledger, result, begun_ms)

    def _end(self, order: Order, identity: Identity, ledger: Ledger, result: Result, begun_ms: int) -> Outcome:
        ended_ms = boot_clock_ms()
        entry = order.entry(begun_ms or ended_ms)
        outcome = _sealed(identity, entry, result, ended_ms)
        self._unrecorded[order.order_id] = (entry, outcome)
        ledger.end(entry, outcome.payload, outcome.mac)
        self._unrecorded.pop(order.order_id)
        self.say(f"order {order.order_id} {order.action}: {result.outcome} ({result.reason}) {result.detail[:200]}")
        return outcome

    def _recorded(self, ledger: Ledger, order_id: str) -> Outcome:
        """The outcome in the ledger. An end that a full disk kept out of it is tried again; nothing else may answer."""
        entry = ledger.get(order_id)
        if entry is not None and entry.ended:
            return Outcome(order_id, entry.payload, entry.mac)
        begun, outcome = self._unrecorded.get(order_id, (None, None))
        if begun is None or outcome is None:
            raise NotTaken("busy", f"cannot answer for {order_id}: it is under way")
        try:
            ledger.end(begun, outcome.payload, outcome.mac)
        except LedgerUnavailable as error:
            raise NotTaken("ledger_unavailable", str(error)) from error
        self._unrecorded.pop(order_id, None)
        return outcome

    def _declaration(self, identity: Identity, *, lenient: bool = False) -> declaration.Declaration:
        """The copy in force. One that cannot be trusted declares nothing; `lenient` lets a good one replace it."""
        try:
            return declaration.load(self._declaration_path, identity.key, identity.host_id)
        except declaration.DeclarationError as error:
            if lenient:
                self.say(str(error))
                return declaration.NONE
            raise Refused("declaration_unavailable", str(error)) from error

    def _target(self, name: str) -> threading.Lock:
        with self._lock:
            if len(self._targets) > TARGETS_MAX:
                self._targets = {key: lock for key, lock in self._targets.items() if lock.locked()}
            return self._targets.setdefault(name, threading.Lock())


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


def boot_id(path: str = "/proc/sys/kernel/random/boot_id") -> str:
    """Which boot this is."""
    with open(path, encoding="ascii") as file:
        return file.read(64).strip()


def _believed(identity: Identity, payload: bytes, mac: bytes, kind: str) -> dict[str, Any]:
    try:
        return unseal(identity.key, payload, mac, kind)
    except SealError as error:
        digest = hashlib.sha256(payload).hexdigest()[:12]
        raise NotTaken("bad_seal", f"{error} (payload {digest})") from error


def _action(name: str) -> Action:
    if name not in registry.names(actions):
        raise Refused("unknown_action", f"cannot run {name[:80]!r}: this executor has no such action")
    return registry.load_one(actions, name, "ACTION", Action)


def _content(held: declaration.Declaration) -> tuple[Any, ...]:
    return held.units, held.disposable, held.protected


def _refusal(error: Refused) -> Result:
    return Result("expired" if error.reason == "expired" else "refused", error.reason, str(error))


def _sealed(identity: Identity, entry: Entry, result: Result, ended_ms: int) -> Outcome:
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
    }
    payload, mac = seal(identity.key, document)
    if len(payload) > OUTCOME_BYTES_MAX:
        payload, mac = seal(identity.key, {**document, "output": "[left out: too large]", "commands": []})
    return Outcome(entry.order_id, payload.decode(), mac.hex())


def _command(finished: Finished) -> dict[str, Any]:
    return {"argv": [word[:500] for word in finished.argv[:50]], "exit": finished.exit, "ms": finished.ms}
