"""Asks agents, and looks itself, whether a host that fell silent still answers on the network.

What may be probed is decided here: addresses that the silent host had by its own inventory or connected from, on the configured
ports; as a control those of another host that is connected now. An answer counts only from the agent that was asked.
"""

from __future__ import annotations

import json
import logging
import secrets
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from fleetmend.reach import ADDRESSES_MAX, Found, Try, look, usable
from fleetmend.v1 import link_pb2

from ..core.effects import AskWitness
from ..core.events import WitnessSaid
from ..core.inquiry import CONTROLLER, Reach
from ..decider.ports import DeciderPort, JournalUnavailable
from ..store.engine import Store
from ..store.tables import facts
from . import bounds
from .sessions import Sessions

log = logging.getLogger(__name__)

PORTS = (22,)
TIMEOUT_MS = 3_000
ANSWER_WITHIN_MS = 15_000
ASKED_MAX = 1_000
TRIES_MAX = 20
TRIES_TOLD = 3
DETAIL_CHARS_MAX = 100
# Addresses that other machines have too: of bridges and tunnels that every host makes for itself.
_OWN_ONLY = ("lo", "docker", "br-", "virbr", "podman", "cni", "veth", "lxc", "vnet", "tun", "tap", "wg")

_FOUND = {
    link_pb2.PROBE_RESULT_REACHED: Found.REACHED,
    link_pb2.PROBE_RESULT_NO_ANSWER: Found.NO_ANSWER,
    link_pb2.PROBE_RESULT_UNABLE: Found.UNABLE,
}


@dataclass(frozen=True, slots=True)
class _Asked:
    """One question that is out."""

    wish: AskWitness
    until_ms: int


class Witnesses:
    """The questions that are out. `spawn` runs a job beside; `clock` is the controller's."""

    def __init__(
        self,
        sessions: Sessions,
        store: Store,
        decider: DeciderPort,
        clock: Callable[[], int],
        spawn: Callable[[Coroutine[Any, Any, None]], None],
        ports: tuple[int, ...] = PORTS,
        timeout_ms: int = TIMEOUT_MS,
    ) -> None:
        self._sessions = sessions
        self._store = store
        self._decider = decider
        self._clock = clock
        self._spawn = spawn
        self._ports = ports
        self._timeout_ms = timeout_ms
        self._asked: OrderedDict[str, _Asked] = OrderedDict()

    def ask(self, wish: AskWitness) -> None:
        """Ask, or look if it is the controller who is asked. A witness without a stream is asked again when it is back."""
        self._spawn(self._look(wish) if wish.witness == CONTROLLER else self._send(wish))

    def answered(self, host: str, said: link_pb2.Probed) -> str:
        """Take an agent's answer; why it does not count, else nothing."""
        asked = self._asked.get(said.probe_id)
        if asked is None or asked.wish.witness != host or self._clock() > asked.until_ms:
            return "an answer to a probe that this host was not asked for, or too late"
        del self._asked[said.probe_id]
        seen, control = [_try(t) for t in said.tries[:TRIES_MAX]], [_try(t) for t in said.control_tries[:TRIES_MAX]]
        reach, text = judged(seen, control if asked.wish.control else None, bounds.line(said.unable, DETAIL_CHARS_MAX))
        self._spawn(self._tell(asked.wish, reach, text))
        return ""

    async def _send(self, wish: AskWitness) -> None:
        addresses = await self._addresses(wish.host)
        control = await self._addresses(wish.control) if wish.control else []
        session = self._sessions.get(wish.witness)
        if session is None:
            return
        if not addresses:
            await self._tell(wish, Reach.UNABLE, "no address of it is known")
            return
        probe_id = f"probe-{secrets.token_hex(8)}"
        self._asked[probe_id] = _Asked(wish, self._clock() + ANSWER_WITHIN_MS)
        while len(self._asked) > ASKED_MAX:
            self._asked.popitem(last=False)
        probe = link_pb2.Probe(
            probe_id=probe_id,
            addresses=addresses,
            control_addresses=control,
            ports=self._ports,
            timeout_ms=self._timeout_ms,
        )
        session.send(link_pb2.LinkResponse(probe=probe))

    async def _look(self, wish: AskWitness) -> None:
        tries = await look(await self._addresses(wish.host), self._ports, self._timeout_ms / 1000)
        await self._tell(wish, *judged(tries, None, "" if tries else "no address of it is known"))

    async def _tell(self, wish: AskWitness, reach: Reach, text: str) -> None:
        event = WitnessSaid(self._clock(), wish.host, wish.incident, wish.witness, wish.round, reach, text)
        try:
            await self._decider.submit([event])
        except JournalUnavailable as error:
            # Its time ends, and what was not said counts for nothing.
            log.warning("cannot tell the decider what a witness said: %s", error)

    async def _addresses(self, host: str) -> list[str]:
        query = sa.select(facts.c.body).where(facts.c.host == host, facts.c.name == "network")
        try:
            body = await self._store.read(lambda connection: connection.execute(query).scalar())
        except sa.exc.SQLAlchemyError as error:
            log.warning("cannot read the addresses of %s: %s", host, error)
            body = None
        return addresses_of(self._sessions.last_address(host), str(body or ""))


def addresses_of(connected_from: str, network: str) -> list[str]:
    """Where a host may be looked for, by the address it connected from and its inventory.

    The first alone if the inventory has it too; behind a translation of addresses it is somebody else's.
    """
    known = list(_inventory(network))
    if usable(connected_from) and (connected_from in known or not known):
        return [connected_from]
    return known[:ADDRESSES_MAX]


def judged(seen: Iterable[Try], control: Iterable[Try] | None, unable: str) -> tuple[Reach, str]:
    """What the tries of one witness say. `control` None: nobody else was looked at, and it is the controller's own look."""
    tries = list(seen)
    reached = next((t for t in tries if t.found is Found.REACHED), None)
    if reached is not None:
        return Reach.REACHED, str(reached)
    told = "; ".join(str(t) for t in tries[:TRIES_TOLD])
    if unable or all(t.found is Found.UNABLE for t in tries):
        return Reach.UNABLE, f"could not look: {unable or told or 'nothing was tried'}"
    if control is not None and not any(t.found is Found.REACHED for t in control):
        return Reach.UNABLE, f"{told}; but it reaches no other host either, so this proves nothing"
    return Reach.NOT_REACHED, told


def _inventory(network: str) -> Iterable[str]:
    try:
        interfaces = json.loads(network)["interfaces"] if network else []
        for interface in interfaces:
            if not str(interface["name"]).startswith(_OWN_ONLY):
                yield from (a for a in (str(x).partition("/")[0] for x in interface["addresses"]) if usable(a))
    except (ValueError, KeyError, TypeError) as error:
        log.warning("cannot use an inventory of addresses: %r", error)


def _try(said: link_pb2.ProbeTry) -> Try:
    found = _FOUND.get(said.result, Found.UNABLE)
    address = said.address if usable(said.address) else "?"
    return Try(address, min(said.port, 65_535), found, max(0, said.took_ms), bounds.line(said.detail, DETAIL_CHARS_MAX))
