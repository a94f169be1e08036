"""The stream between an agent and the controller, without gRPC: in order, late, held up by a partition, broken by a death.

Both ends are the product's own: LinkService here, link.Session there. Messages cross as bytes.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, cast

import grpc

from fleetmend.v1 import link_pb2 as pb
from fleetmend_agent.call import CallEnded, Code

if TYPE_CHECKING:
    from .machine import Machine
    from .world import RealWorld

EOF = object()
# How long either side takes to notice that the other one is gone without a word.
KEEPALIVE_MS = (10_000, 20_000)


class Pipe:
    """One direction."""

    def __init__(self, world: RealWorld, machine: Machine, kind: type[Any]) -> None:
        self._world = world
        self._machine = machine
        self._kind = kind
        self._queue: asyncio.Queue[Any] = asyncio.Queue()
        self._way: deque[Any] = deque()
        self._held: list[Any] = []
        self._last_ms = 0
        self.ended = False

    def put(self, message: Any) -> None:
        """Send. What is sent into a broken stream is gone."""
        self._later(message.SerializeToString())

    def end(self) -> None:
        """The sender closes, or is closed by its kernel."""
        self._later(EOF)

    def cut(self) -> None:
        """The receiver gives the stream up."""
        self.ended = True
        self._queue.put_nowait(EOF)

    def release(self) -> None:
        """A partition is over: what was under way arrives."""
        held, self._held = self._held, []
        for item in held:
            self._queue.put_nowait(item)

    async def get(self) -> Any:
        """The next message, or EOF."""
        item = await self._queue.get()
        if item is EOF:
            self.ended = True
            return EOF
        return self._kind.FromString(item)

    def _later(self, item: Any) -> None:
        world = self._world
        delay_ms = 1 if world.calm else world.rng.randint(1, world.swarm.delay_ms)
        self._last_ms = max(self._last_ms, world.time.now_ms + delay_ms)
        self._way.append(item)
        world.time.at(self._last_ms, self._arrive)

    def _arrive(self) -> None:
        # Whichever of the arrivals of one moment is called first, the first of the messages comes first.
        item = self._way.popleft()
        if self._machine.partitioned or self._held:
            self._held.append(item)
        elif not self.ended:
            self._queue.put_nowait(item)


class Wire:
    """One stream."""

    def __init__(self, world: RealWorld, machine: Machine) -> None:
        self.world = world
        self.machine = machine
        self.up = Pipe(world, machine, pb.LinkRequest)
        self.down = Pipe(world, machine, pb.LinkResponse)

    def noticed(self) -> None:
        """Each end finds out for itself, after a while, that nothing comes any more."""
        for pipe in (self.up, self.down):
            self.world.time.after(self.world.rng.randint(*KEEPALIVE_MS), self._give_up, pipe)

    def _give_up(self, pipe: Pipe) -> None:
        if self.machine.partitioned or not self.machine.up:
            pipe.cut()

    def release(self) -> None:
        """The partition is over before anybody noticed, or not."""
        self.up.release()
        self.down.release()

    async def requests(self) -> AsyncIterator[Any]:
        """What the controller reads."""
        while (message := await self.up.get()) is not EOF:
            yield message


class Context:
    """The controller's end, as gRPC gives it to a handler."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def peer(self) -> str:
        """Where the agent calls from."""
        return self._wire.machine.id

    async def send_initial_metadata(self, metadata: tuple[()]) -> None:
        """The headers; nobody here reads them."""

    async def write(self, message: Any) -> None:
        """To the agent."""
        self._wire.down.put(message)

    async def abort(self, code: grpc.StatusCode, details: str) -> None:
        """End the call."""
        raise Aborted(f"{code.name}: {details}")


class Aborted(Exception):
    """The handler ended its call."""


class Call:
    """The agent's end."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    async def write(self, message: pb.LinkRequest) -> None:
        """To the controller."""
        if self._wire.down.ended:
            raise CallEnded(Code.UNAVAILABLE, "the stream broke")
        self._wire.up.put(message)

    async def read(self) -> pb.LinkResponse:
        """From the controller."""
        message = await self._wire.down.get()
        if message is EOF:
            raise CallEnded(Code.UNAVAILABLE, "the stream broke")
        return cast("pb.LinkResponse", message)

    def close(self) -> None:
        """The agent lets go; a machine without power says nothing."""
        if self._wire.machine.up:
            self._wire.up.end()
