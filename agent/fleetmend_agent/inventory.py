"""Inventory facts: collected on worker threads now and then, sent when they changed, all of them on a new stream."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from typing import Any

from fleetmend.v1 import link_pb2 as pb

from .facts import Fact
from .host import Host
from .runner import guarded
from .workers import Workers, WorkersExhausted

SECTION_BYTES_MAX = 256 * 1024
COLLECT_TIMEOUT_S = 30.0


class Inventory:
    """The newest state of each section, as JSON text."""

    def __init__(self, host: Host, workers: Workers, facts: Mapping[str, Fact], changed: Callable[[list[str]], None]) -> None:
        """`changed` is called with the names of sections that have something new to say."""
        self._host = host
        self._workers = workers
        self._facts = facts
        self._changed = changed
        self._sections: dict[str, pb.FactSection] = {}
        self._running: dict[str, asyncio.Task[None]] = {}

    def collect(self, name: str) -> None:
        """Collects one section anew, unless it is being collected."""
        if name not in self._running:
            self._running[name] = asyncio.get_running_loop().create_task(self._collect(self._facts[name]))

    def message(self, names: list[str] | None = None) -> pb.Facts:
        """Sections for the controller: those named, or all that are known."""
        wanted = sorted(self._sections) if names is None else [name for name in names if name in self._sections]
        return pb.Facts(sections=[self._sections[name] for name in wanted])

    async def stop(self) -> None:
        """Ends what is being collected."""
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _collect(self, fact: Fact) -> None:
        try:
            section = await self._section(fact)
        finally:
            self._running.pop(fact.name, None)
        if section != self._sections.get(fact.name):
            self._sections[fact.name] = section
            self._changed([fact.name])

    async def _section(self, fact: Fact) -> pb.FactSection:
        try:
            job = self._workers.submit(f"fact {fact.name}", lambda: guarded(lambda: _text(fact.collect(self._host))))
        except WorkersExhausted as error:
            return pb.FactSection(name=fact.name, error=str(error))
        try:
            await asyncio.wait({job.done}, timeout=COLLECT_TIMEOUT_S)
        finally:
            finished = job.done.done()
            if not finished:
                self._workers.give_up(job)
        if not finished:
            return pb.FactSection(name=fact.name, error=f"cannot collect {fact.name}: no answer within {COLLECT_TIMEOUT_S:g} s")
        outcome = job.done.result()
        if outcome.results is None:
            return pb.FactSection(name=fact.name, error=outcome.problem)
        return pb.FactSection(name=fact.name, json=outcome.results)


def _text(section: dict[str, Any]) -> str:
    text = json.dumps(section, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    data = text.encode("utf-8", "replace")  # Names of files may be no text.
    if len(data) > SECTION_BYTES_MAX:
        raise ValueError(f"{len(data)} bytes, the limit is {SECTION_BYTES_MAX}")
    return data.decode()
