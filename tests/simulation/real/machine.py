"""A simulated server whose agent and executor are the product's own, on files in a folder of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..hands import Hands
from ..host import Part, Server
from .agent import SimAgent
from .executor import Process, prepare
from .wire import Wire

if TYPE_CHECKING:
    from .world import RealWorld

# What every outbox segment begins with.
MAGIC_BYTES = 6


@dataclass(slots=True)
class Machine(Server):
    """The host `id`. Its truth is the simulation's, what is known of it is the agent's."""

    folder: Path = field(default_factory=Path)
    agent: SimAgent | None = None
    executor: Any = None
    wire: Wire | None = None
    wall_skew_ms: int = 0

    def __post_init__(self) -> None:
        """The first boot has its id, the executor its identity."""
        self.hands = Hands(self)
        self.boot = f"{self.id}-boot-{self.boot_number}"
        # Relative to the world's: what is said of a file is the same wherever the world lies.
        self.folder = Path(self.id)
        (self.real.folder / self.id / "agent").mkdir(parents=True)
        prepare(self.real.folder / self.id / "executor", self.id)
        self.executor = Process(self)

    @property
    def real(self) -> RealWorld:
        """Its world."""
        return self.world  # type: ignore[return-value]

    def begin_agent(self) -> None:
        """The process starts."""
        self.agent = SimAgent(self)
        self.agent.begin()

    def look(self, part: Part, requested: str = "") -> None:
        """A signal of the machine makes the part's checks run."""
        if self.agent is not None and self.up and self.agent_up:
            for check, _ in part.checks:
                self.world.time.after(0, self.agent.signal, check)

    def received(self, order_id: str) -> None:
        """The agent takes an order out of its stream."""
        order = self.world.checker.books.issued.get(order_id)
        if order is None:
            self.world.checker.fail(f"{order_id} reaches {self.id} and was never journalled")
            return
        self.world.nature.received(self, order)

    def crash_agent(self, back: Callable[[], None]) -> None:
        """kill -9 of the agent. The executor goes on."""
        self.agent_up = False
        self._kill_agent()
        self.world.time.after(self.world.rng.randint(100, 5_000), back)

    def power_off(self, back: Callable[[], None]) -> None:
        """Everything ends; of the outbox the disk has what was written down so far."""
        self.up = self.agent_up = False
        if self.wire is not None:
            self.wire.noticed()
        self.executor.die()
        self._kill_agent()
        self._cut_outbox()
        self.world.checker.powered_off(self)
        self.world.nature.off(self)
        self.world.time.after(self.world.rng.randint(5_000, 90_000), back)

    def power_on(self) -> None:
        """A new boot."""
        self.up = self.agent_up = True
        self.boot_number += 1
        self.boot = f"{self.id}-boot-{self.boot_number}"
        self.booted_ms = self.world.time.now_ms
        self.bad = {name: None for name in self.bad if name in self.cursed}
        self.half = {}
        self.sick_since = dict.fromkeys(self.bad, self.world.time.now_ms)
        self.world.nature.on(self)

    def free_disk(self) -> None:
        """The outbox finds out by itself."""
        self.disk_full = False

    def _kill_agent(self) -> None:
        if self.agent is not None:
            self.agent.kill()
        self.agent = None
        self.linked = False

    def _cut_outbox(self) -> None:
        rng = self.world.rng
        newest = sorted(self.folder.glob("outbox/*/*.seg"))[-1:]
        for segment in newest if rng.random() < 0.5 else ():
            size = segment.stat().st_size
            with segment.open("r+b") as file:
                file.truncate(rng.randint(min(MAGIC_BYTES, size), size))
