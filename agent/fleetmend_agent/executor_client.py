"""The agent's side of the executor's socket: one connection a request, frames of a length and a JSON object."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import json
import math
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from .log import LOG

FRAME_BYTES_MAX = 1024 * 1024
CONNECT_TIMEOUT_S = 5.0
ANSWER_TIMEOUT_S = 20.0
ORDER_TIMEOUT_S = 3600.0
# Asked so shortly before, it is most likely still there: it leaves after 60 s without a request. One that is there answers
# within milliseconds, and one that was killed in between is started anew.
ROUSE_EVERY_S = 5.0
_LENGTH = struct.Struct(">I")


class ExecutorUnreachable(OSError):
    """Nothing was handed over: the socket is missing, closed, or does not answer."""


class AnswerLost(OSError):
    """The request was handed over and the connection broke before the answer came: ask again, the ledger knows."""


class ExecutorRefused(Exception):
    """The executor did not take the request on. `reason` is its stable word."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True, slots=True)
class SealedOutcome:
    """What became of an order, as the executor sealed it."""

    order_id: str
    payload: bytes
    mac: bytes


class ExecutorClient:
    """Knows where the socket is; every method opens it anew, since the executor leaves when idle."""

    def __init__(self, socket_path: str) -> None:
        self.socket_path = socket_path
        self._asked_s = -math.inf

    async def rouse(self) -> None:
        """Starts the executor for the order that a fault may bring, while the controller decides. Nobody there is no error."""
        if asyncio.get_running_loop().time() - self._asked_s < ROUSE_EVERY_S:
            return
        try:
            await self.hello()
        except (ExecutorUnreachable, AnswerLost, ExecutorRefused) as error:
            # The order, if one comes, says so to the controller.
            LOG.debug("%s", error)

    async def hello(self) -> dict[str, Any]:
        """Version, permitted actions, version of the declaration in force."""
        async with self._request({"op": "hello"}) as receive:
            return await receive(ANSWER_TIMEOUT_S)

    async def declare(self, payload: bytes, mac: bytes) -> None:
        """Hands on a sealed declaration."""
        async with self._request(_sealed("declaration", payload, mac)) as receive:
            await receive(ANSWER_TIMEOUT_S)

    async def order(
        self, payload: bytes, mac: bytes, started: Callable[[str, int], None], timeout_s: float = ORDER_TIMEOUT_S
    ) -> SealedOutcome:
        """Hands over an order and waits for its outcome; `started` is called with its id and boot clock if it begins."""
        async with self._request(_sealed("order", payload, mac)) as receive:
            while True:
                answer = await receive(timeout_s)
                if answer.get("event") == "outcome":
                    return _outcome(answer)
                if answer.get("event") == "started":
                    started(str(answer.get("order_id", "")), int(answer.get("started_clock_ms", 0)))

    async def withdraw(self, payload: bytes, mac: bytes, timeout_s: float = ORDER_TIMEOUT_S) -> SealedOutcome:
        """Ends an order that was not begun, for good; of one that was, its outcome as it is or will be."""
        async with self._request(_sealed("withdraw", payload, mac)) as receive:
            return _outcome(await receive(timeout_s))

    async def look(self, what: str, timeout_s: float) -> Any:
        """What root sees of one thing, as the executor's looks are called."""
        async with self._request({"op": "look", "what": what}) as receive:
            return (await receive(timeout_s)).get("seen")

    def looking(self, loop: asyncio.AbstractEventLoop) -> Callable[[str, float], Any]:
        """`look` for worker threads of this loop's process. Raises OSError, also for what the executor refuses."""

        def look(what: str, timeout_s: float) -> Any:
            future = asyncio.run_coroutine_threadsafe(self.look(what, timeout_s), loop)
            try:
                return future.result(timeout_s + CONNECT_TIMEOUT_S)
            except ExecutorRefused as error:
                raise ExecutorUnreachable(f"cannot see {what} by the executor: {error.detail}") from error
            except concurrent.futures.CancelledError as error:
                raise ExecutorUnreachable(f"cannot see {what} by the executor: the agent ends") from error

        return look

    async def keep_permits(self, payload: bytes, mac: bytes) -> None:
        """Hands on a sealed set of permits: what it lacks is withdrawn."""
        async with self._request(_sealed("permits", payload, mac)) as receive:
            await receive(ANSWER_TIMEOUT_S)

    async def permit(
        self, payload: bytes, mac: bytes, permit: str, trigger: dict[str, Any], started: Callable[[str, int, str], None]
    ) -> SealedOutcome:
        """Uses a permit of the set on what was seen; `started` gets its id, the boot clock and what it is used for."""
        request = {**_sealed("permit", payload, mac), "permit_id": permit, "trigger": trigger}
        async with self._request(request) as receive:
            while True:
                answer = await receive(ORDER_TIMEOUT_S)
                if answer.get("event") == "outcome":
                    return _outcome(answer)
                if answer.get("event") == "started":
                    started(permit, int(answer.get("started_clock_ms", 0)), str(answer.get("permit", "")))

    async def used(self, permit: str) -> SealedOutcome:
        """What became of a permit that was used before."""
        async with self._request({"op": "used", "permit_id": permit}) as receive:
            return _outcome(await receive(ANSWER_TIMEOUT_S))

    @contextlib.asynccontextmanager
    async def _request(self, request: dict[str, Any]) -> AsyncIterator[Callable[[float], Awaitable[dict[str, Any]]]]:
        body = json.dumps(request, separators=(",", ":"), ensure_ascii=False).encode()
        self._asked_s = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                reader, writer = await asyncio.open_unix_connection(self.socket_path)
                writer.write(_LENGTH.pack(len(body)) + body)
                await writer.drain()
        except OSError as error:
            reason = error.strerror or str(error) or "it does not answer"
            raise ExecutorUnreachable(f"cannot reach the executor at {self.socket_path}: {reason}") from error
        try:
            yield lambda timeout_s: _receive(reader, timeout_s)
        finally:
            writer.close()


def _sealed(operation: str, payload: bytes, mac: bytes) -> dict[str, str]:
    return {"op": operation, "payload": payload.decode("utf-8", "strict"), "mac": mac.hex()}


async def _receive(reader: asyncio.StreamReader, timeout_s: float) -> dict[str, Any]:
    try:
        async with asyncio.timeout(timeout_s):
            (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
            if length > FRAME_BYTES_MAX:
                raise AnswerLost(f"cannot read the executor's answer: {length} bytes, limit {FRAME_BYTES_MAX}")
            answer = json.loads(await reader.readexactly(length))
    except (OSError, EOFError, ValueError) as error:
        raise AnswerLost(f"cannot read the executor's answer: {error or type(error).__name__}") from error
    if not isinstance(answer, dict):
        raise AnswerLost("cannot read the executor's answer: not a JSON object")
    if answer.get("event") == "refused":
        raise ExecutorRefused(str(answer.get("reason", "")), str(answer.get("detail", "")))
    return answer


def _outcome(answer: dict[str, Any]) -> SealedOutcome:
    try:
        return SealedOutcome(str(answer["order_id"]), str(answer["payload"]).encode(), bytes.fromhex(str(answer["mac"])))
    except (KeyError, ValueError) as error:
        raise AnswerLost(f"cannot read the executor's outcome: {error}") from error
