"""One sealed order from its bytes to its sealed outcome: verify, look into the ledger, check the rules, begin, run, end.

A permit takes the same way once it fits what the agent saw (permits.py); it is an order that was given ahead of time.

Refusals come in two kinds. Of an order that is truly ours and can never run, the refusal is its end: sealed and recorded. When
the order cannot be believed (bad_seal), comes from a deposed controller (stale_epoch), or could not be recorded or taken on now
(ledger_unavailable, not_enrolled, busy), nothing is recorded and `NotTaken` says so: a later delivery may still run.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from fleetmend import permits as shared
from fleetmend import registry
from fleetmend.permits import PermitSet

from . import actions, declaration, permits, policy
from .actions import Action, Cost, Refused, validate
from .documents import NotTaken, Order, Outcome, Use, believed, parse_order, sealed
from .effects import Effect
from .ledger import Entry, Ledger, LedgerUnavailable
from .policy_document import PolicyError
from .rules import HostRules
from .run import Result, Runner, boot_clock_ms
from .store import Identity, StateError, read_identity
from .turns import WAIT_S_MAX, Turns

# The order or permit, when it began, and what a permit was used for.
Started = Callable[[str, int, str], None]
Plan = Callable[[], tuple[Effect, ...]]


class Desk:
    """Where orders arrive. One for the process; safe to use from several threads."""

    def __init__(self, state_dir: str, policy_path: str, boot_id: str, say: Callable[[str], None], runner: Runner) -> None:
        self.state_dir, self.policy_path, self.boot_id = state_dir, policy_path, boot_id
        self.say, self.runner = say, runner
        self._lock, self._turns = threading.Lock(), Turns()
        self._ledger: Ledger | None = None
        self._under_way: dict[str, threading.Event] = {}
        self._unrecorded: dict[str, tuple[Entry, Outcome]] = {}

    def order(self, payload: bytes, mac: bytes, started: Started, *, withdrawn: bool = False) -> Outcome:
        """The order's one outcome, now or as it was. `started` is called once the ledger holds the order. Raises NotTaken.

        `withdrawn`: the agent found the fault gone. An order that was never taken on ends here and can run no more.
        """
        identity = self.identity()
        return self._settle(parse_order(believed(identity, payload, mac, "order")), identity, started, withdrawn=withdrawn)

    def permit(self, payload: bytes, mac: bytes, permit_id: str, trigger: object, started: Started) -> Outcome:
        """Use a permit of this set on what the agent saw: its one outcome, now or as it was. Raises NotTaken."""
        identity = self.identity()
        held = self._newest_permits(identity, payload, mac)
        grant = held.grant_of(permit_id)
        if grant is None:
            raise NotTaken("unknown_permit", f"cannot use {permit_id[:80]!r}: it is not in set {held.version}")
        if boot_clock_ms() >= held.expires_clock_ms:
            raise NotTaken("expired", f"cannot use {permit_id}: it expired at {held.expires_clock_ms} ms of the boot clock")
        try:
            seen = permits.parse_trigger(trigger)
            params = permits.filled(grant, seen)
        except Refused as error:
            raise NotTaken("unreadable", str(error)) from error
        order = Order(
            order_id=permit_id,
            host_id=held.host_id,
            boot_id=held.boot_id,
            epoch=held.epoch,
            action=grant.deed.action,
            params=params,
            timeout_ms=grant.deed.timeout_ms,
            expires_clock_ms=held.expires_clock_ms,
            use=Use(held, grant, seen),
            permit=permits.described(held, grant, seen, params),
        )
        return self._settle(order, identity, started)

    def keep_permits(self, payload: bytes, mac: bytes) -> int:
        """Keep a newer set of permits, durably: what it lacks is withdrawn. The version now in force. Raises NotTaken."""
        return self._newest_permits(self.identity(), payload, mac).version

    def used(self, permit_id: str) -> Outcome:
        """What became of a permit that the ledger knows. Raises NotTaken."""
        identity = self.identity()
        with self._lock:
            ledger = self._open_ledger(identity)
            entry = ledger.get(permit_id)
            if entry is None or not entry.permit:
                raise NotTaken("unknown_permit", f"cannot tell of {permit_id[:80]!r}: it was not used here")
            if permit_id in self._under_way:
                raise NotTaken("busy", f"cannot answer for {permit_id}: it is under way")
        return self._recorded(ledger, permit_id)

    def _settle(self, order: Order, identity: Identity, started: Started, *, withdrawn: bool = False) -> Outcome:
        with self._lock:
            ledger = self._open_ledger(identity)
            self._compact(ledger)
            other = self._under_way.get(order.order_id)
            known = ledger.get(order.order_id)
            if other is None and known is None:
                self._check_epoch(order.epoch, identity, ledger)
                self._under_way[order.order_id] = threading.Event()
        if other is not None:
            other.wait(order.timeout_ms / 1000 + WAIT_S_MAX)
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
        document = believed(identity, payload, mac, "declaration")
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
            listed = policy.load(self.policy_path, self.state_dir).actions
            permitted = [name for name in registry.names(actions) if name in listed]
            detail = ""
        except PolicyError as error:
            permitted, detail = [], str(error)
        try:
            version = self._declaration(self.identity(), lenient=True).version
        except NotTaken as error:
            version, detail = 0, str(error)
        found = {"permitted_actions": permitted, "declaration_version": version, "detail": detail}
        return {**found, **self._told_of_permits(), "surprises": self.runner.surprises}

    def look(self, what: str) -> Any:
        """What root sees of one thing that the agent may not see itself; reading only. Raises NotTaken."""
        from .looks import look

        try:
            return look(what, HostRules(policy.load(self.policy_path, self.state_dir), self._declaration(self.identity())))
        except PolicyError as error:
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

    def _told_of_permits(self) -> dict[str, Any]:
        """Which permits were used, so that none goes unreported. A host that never had any need not open its ledger."""
        try:
            identity = self.identity()
            held = permits.load(self.state_dir, identity.key, identity.host_id)
            if held is None:
                return {}
            with self._lock:
                known = self._open_ledger(identity).permits()
        except NotTaken:
            return {}
        return {"permits_version": held.version, "permits_used": [entry.order_id for entry in known[-permits.TOLD_MAX :]]}

    def _newest_permits(self, identity: Identity, payload: bytes, mac: bytes) -> PermitSet:
        """The set, if none that is in force is newer; stored first if it is news. Raises NotTaken."""
        document = believed(identity, payload, mac, shared.KIND)
        try:
            fresh = shared.parse(document)
        except shared.PermitError as error:
            raise NotTaken("unreadable", str(error)) from error
        if fresh.host_id != identity.host_id:
            raise NotTaken("wrong_host", f"cannot use permits of host {fresh.host_id[:40]}")
        if fresh.boot_id != self.boot_id:
            raise NotTaken("wrong_boot", "cannot use these permits: the host has booted since they were given")
        with self._lock:
            self._check_epoch(fresh.epoch, identity, self._open_ledger(identity))
            held = permits.load(self.state_dir, identity.key, identity.host_id)
            if held is not None and (fresh.age < held.age or (fresh.age == held.age and fresh != held)):
                raise NotTaken("stale_version", f"cannot use permits {fresh.version}: {held.version} are in force")
            if fresh != held:
                try:
                    permits.store(self.state_dir, payload, mac)
                except OSError as error:
                    raise NotTaken("state_unavailable", f"cannot store permits: {error.strerror}") from error
        return fresh

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
                # The clock of this boot says nothing about one before it: there, only the beginning is known.
                ended_ms = boot_clock_ms() if entry.boot_id == self.boot_id else entry.started_clock_ms
                outcome = sealed(identity, entry, result, ended_ms)
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
        held = permits.load(self.state_dir, identity.key, identity.host_id)
        highest = max(identity.epoch, ledger.epoch, declared, held.epoch if held is not None else 0)
        if epoch < highest:
            raise NotTaken("stale_epoch", f"cannot obey epoch {epoch}: {highest} was seen; a newer controller is in charge")

    def _take_on(self, order: Order, identity: Identity, ledger: Ledger, started: Started) -> Outcome:
        try:
            self._check_bounds(order, identity)
            action = _action(order.action)
            plan = self._checked_plan(order, action, identity, ledger)
        except Refused as error:
            return self._end(order, identity, ledger, _refusal(error), 0)
        if action.cost is Cost.HARMLESS:
            return self._run(order, identity, ledger, action, plan, started)
        try:
            with self._turn_of(order):
                self._check_bounds(order, identity)
                return self._run(order, identity, ledger, action, plan, started)
        except Refused as error:
            return self._end(order, identity, ledger, _refusal(error), 0)

    def _turn_of(self, order: Order) -> AbstractContextManager[None]:
        if order.use is not None:
            return self._turns.of_permit(order.order_id)
        left_s = (order.expires_clock_ms - boot_clock_ms()) / 1000
        return self._turns.of_order(str(order.params.get("unit") or order.action), left_s)

    def _check_bounds(self, order: Order, identity: Identity) -> None:
        if order.host_id != identity.host_id:
            raise Refused("wrong_host", f"cannot obey {order.order_id}: it is for host {order.host_id[:40]}")
        if order.boot_id != self.boot_id:
            raise Refused("wrong_boot", f"cannot obey {order.order_id}: the host has booted since it was given")
        if boot_clock_ms() >= order.expires_clock_ms:
            raise Refused(
                "expired", f"cannot obey {order.order_id}: it expired at {order.expires_clock_ms} ms of the boot clock"
            )

    def _checked_plan(self, order: Order, action: Action, identity: Identity, ledger: Ledger) -> Plan:
        """All that can be refused is refused here, before the ledger says that the order began."""
        try:
            rules = HostRules(policy.load(self.policy_path, self.state_dir), self._declaration(identity))
        except PolicyError as error:
            raise Refused("policy_unavailable", str(error)) from error
        rules.constraint(action.name)
        use = order.use
        if use is not None:
            permits.check(use.held, use.grant, use.trigger, action, boot_clock_ms())
            permits.check_budget(use.grant, ledger.permits(), self.boot_id, boot_clock_ms())
        effects = action.plan(validate(action, order.params), rules)
        if use is not None:
            effects = (*_evidence(use, rules), *effects)
        return lambda: effects

    def _run(self, order: Order, identity: Identity, ledger: Ledger, action: Action, plan: Plan, started: Started) -> Outcome:
        begun_ms = boot_clock_ms()
        ledger.begin(order.entry(begun_ms))
        started(order.order_id, begun_ms, order.permit)
        timeout_s = min(order.timeout_ms / 1000, action.timeout_s) if order.timeout_ms else action.timeout_s
        if order.use is not None:
            timeout_s += sum(deed.timeout_ms for deed in order.use.grant.first) / 1000
        result = self.runner.carry_out(plan, timeout_s)
        return self._end(order, identity, ledger, result, begun_ms)

    def _end(self, order: Order, identity: Identity, ledger: Ledger, result: Result, begun_ms: int) -> Outcome:
        ended_ms = boot_clock_ms()
        entry = order.entry(begun_ms or ended_ms)
        outcome = sealed(identity, entry, result, ended_ms)
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


def boot_id(path: str = "/proc/sys/kernel/random/boot_id") -> str:
    """Which boot this is."""
    with open(path, encoding="ascii") as file:
        return file.read(64).strip()


def _action(name: str) -> Action:
    if name not in registry.names(actions):
        raise Refused("unknown_action", f"cannot run {name[:80]!r}: this executor has no such action")
    return registry.load_one(actions, name, "ACTION", Action)


def _evidence(use: Use, rules: HostRules) -> tuple[Effect, ...]:
    """What the harmless deeds before a permit's own do. One that may not run here is left out: it heals nothing by itself."""
    effects: list[Effect] = []
    for deed in use.grant.first:
        try:
            action = _action(deed.action)
            rules.constraint(action.name)
            if action.cost is Cost.HARMLESS:
                effects += action.plan(validate(action, shared.fill(deed, use.trigger.seen.finding)), rules)
        except (Refused, shared.PermitError):
            continue
    return tuple(effects)


def _content(held: declaration.Declaration) -> tuple[Any, ...]:
    return held.units, held.disposable, held.protected


def _refusal(error: Refused) -> Result:
    return Result("expired" if error.reason == "expired" else "refused", error.reason, str(error))
