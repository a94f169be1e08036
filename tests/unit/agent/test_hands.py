"""What the executor is told until it knows it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from fleetmend_agent.executor_client import ExecutorRefused, ExecutorUnreachable
from fleetmend_agent.hands import Hands


class Executor:
    """Notes what it is told; `wrong` is raised instead, `gate` holds a declaration back."""

    def __init__(self) -> None:
        self.declared: list[bytes] = []
        self.wrong: Exception | None = None
        self.gate = asyncio.Event()
        self.gate.set()

    async def hello(self) -> dict[str, Any]:
        if self.wrong:
            raise self.wrong
        return {"permitted_actions": ["restart_unit"], "permits_used": ["permit-1"]}

    async def declare(self, payload: bytes, _mac: bytes) -> None:
        await self.gate.wait()
        if self.wrong:
            raise self.wrong
        self.declared.append(payload)


class Permits:
    """The side of `alone` that is asked here."""

    def __init__(self) -> None:
        self.pending = False
        self.used: list[str] = []
        self.handed_on = 0

    async def recover(self, used: Any) -> None:
        self.used += used

    async def hand_on(self) -> None:
        self.handed_on += 1


class World:
    """Hands, whom they talk to, and the declaration that is wanted."""

    def __init__(self) -> None:
        self.executor: Any = Executor()
        self.permits: Any = Permits()
        self.wanted = (b"one", b"seal")
        self.learned = 0
        self.hands = Hands(self.executor, self.permits, lambda: self.wanted, self.learn)

    def learn(self) -> None:
        self.learned += 1


def test_it_asks_once_and_tells_what_is_new():
    async def story() -> None:
        world = World()
        assert world.hands.behind
        assert await world.hands.tend()
        assert (world.hands.permitted, world.learned, world.permits.used) == (["restart_unit"], 1, ["permit-1"])
        assert await world.hands.tend()
        assert (world.executor.declared, world.learned, world.permits.handed_on) == ([b"one"], 1, 2)
        world.wanted = (b"two", b"seal")
        assert world.hands.behind
        assert await world.hands.tend()
        assert world.executor.declared == [b"one", b"two"]

    asyncio.run(story())


def test_a_declaration_that_comes_while_another_is_told_is_not_forgotten():
    async def story() -> None:
        world = World()
        world.executor.gate.clear()
        first = asyncio.create_task(world.hands.tend())
        await asyncio.sleep(0)
        world.wanted = (b"two", b"seal")
        second = asyncio.create_task(world.hands.tend())
        await asyncio.sleep(0)
        world.executor.gate.set()
        assert not await first
        assert await second
        assert world.executor.declared == [b"one", b"two"]
        assert not world.hands.behind

    asyncio.run(story())


def test_who_cannot_be_reached_is_told_later_and_complained_of_once(caplog: pytest.LogCaptureFixture):
    async def story() -> None:
        world = World()
        world.executor.wrong = ExecutorUnreachable("cannot reach the executor: no such socket")
        assert not await world.hands.tend()
        assert not await world.hands.tend()
        world.executor.wrong = None
        assert await world.hands.tend()
        assert world.executor.declared == [b"one"]

    asyncio.run(story())
    assert caplog.text.count("no such socket; trying again") == 1


@pytest.mark.parametrize(("reason", "again"), [("busy", True), ("bad_seal", False)])
def test_what_is_refused_is_said_again_only_to_one_that_was_busy(reason: str, again: bool):
    async def story() -> None:
        world = World()
        assert await world.hands.tend()
        world.wanted = (b"two", b"seal")
        world.executor.wrong = ExecutorRefused(reason, "no")
        assert await world.hands.tend() is not again
        assert world.hands.behind is again

    asyncio.run(story())


def test_permits_that_wait_are_left():
    async def story() -> None:
        world = World()
        world.permits.pending = True
        assert not await world.hands.tend()
        world.permits.pending = False
        assert await world.hands.tend()

    asyncio.run(story())
