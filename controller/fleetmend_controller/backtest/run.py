"""One backtest from history to report."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ..core.model import Playbook
from ..core.policy import Policy
from .history import History
from .record import read
from .replay import Replay
from .report import report
from .tally import Tally
from .variant import Variant, compile_with
from .world import World, usual_ms

# Heartbeats keep telling of what is bad; a replay does not send them one by one, so evidence never grows old in it.
NEVER_OLD_MS = 10**15


def backtest(history: History, variant: Variant) -> dict[str, Any]:
    """Replay history with the playbook in the rules. Pure; VariantError if the playbook and the rules do not fit."""
    inputs, episodes = read(history)
    world = World(usual_ms(episodes))
    tally = Tally(variant.name, world)
    known: dict[str, tuple[Policy, Playbook]] = {}

    def policies(digest: str) -> Policy:
        if digest not in known:
            known[digest] = compile_with(history.policies.get(digest, {}), variant)
        policy, playbook = known[digest]
        tally.use(playbook)
        return replace(policy, evidence_max_age_ms=NEVER_OLD_MS)

    replay = Replay(policies, world, tally.watch)
    replay.prepare(history.before)
    replay.run(inputs, history.to_ms)
    return report(history, tally, episodes, len(replay.fleet.hosts), replay.events)
