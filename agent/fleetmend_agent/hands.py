"""What the executor is asked once and told until it knows it: what the host permits, the declaration, the permits.

Then it is left asleep. Whatever fails is tried again by whoever calls `tend`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from .alone import Alone
from .executor_client import AnswerLost, ExecutorClient, ExecutorRefused, ExecutorUnreachable
from .log import LOG

Declaration = tuple[bytes, bytes]
"""Payload and seal; empty while the controller has sent none."""


class Hands:
    """The agent's side of all that is said to the executor but orders. Belongs to the event loop's thread."""

    def __init__(
        self, executor: ExecutorClient, alone: Alone, wanted: Callable[[], Declaration], learned: Callable[[], None]
    ) -> None:
        """`wanted`: the newest declaration. `learned` is called when it is known what the host permits."""
        self.permitted: list[str] | None = None
        self._executor = executor
        self._alone = alone
        self._wanted = wanted
        self._learned = learned
        self._told: Declaration | None = None
        self._problem = ""
        self._one_at_a_time = asyncio.Lock()

    @property
    def behind(self) -> bool:
        """Whether the executor has not been told the newest declaration."""
        return self._told != self._wanted()

    async def tend(self) -> bool:
        """Asks and tells what is missing. True if nothing is left; else call again later."""
        async with self._one_at_a_time:
            wanted = self._wanted()
            try:
                await self._say(wanted)
            except ExecutorRefused as error:
                LOG.warning("the executor refused: %s: %s", error.reason, error.detail)
                if error.reason != "busy":
                    self._told = wanted
            except (ExecutorUnreachable, AnswerLost) as error:
                if str(error) != self._problem:
                    LOG.warning("%s; trying again", error)
                self._problem = str(error)
                return False
            self._problem = ""
            # A newer declaration may have come while this one was handed on.
            return not self.behind and not self._alone.pending

    async def _say(self, wanted: Declaration) -> None:
        if self.permitted is None:
            answer = await self._executor.hello()
            self.permitted = [str(action) for action in answer.get("permitted_actions", [])]
            self._learned()
            await self._alone.recover(map(str, answer.get("permits_used", [])))
        if wanted[0] and wanted != self._told:
            await self._executor.declare(*wanted)
        self._told = wanted
        await self._alone.hand_on()
