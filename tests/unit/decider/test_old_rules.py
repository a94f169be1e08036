"""A new version that does not take the rules of the last run: it starts without them where it can, and says what to do else."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from fleetmend_controller.decider import ledger
from fleetmend_controller.rules import Problem, RulesError
from fleetmend_controller.store import codec

from .test_decider import Running, compile_rules

OLD, NEW = {"digest": "old"}, {"digest": "new"}


class NewVersion(Running):
    """A version of the controller to which the old rules are nonsense."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.decider._compile = self.compile

    @staticmethod
    def compile(documents):
        if documents == OLD:
            raise RulesError((Problem("playbooks/a.yaml", 3, 1, "cannot use `whenever`: no such field"),))
        return compile_rules(documents)


async def old_life(database: Path, *, clean: bool) -> object:
    old = Running(database)
    await old.decider.start("test", old.gateway)
    await old.decider.load_rules(compile_rules(OLD), "ann")
    await old.decider.submit([*old.joined(), old.crit()])
    fleet = codec.encode(old.decider.fleet)
    if clean:
        await old.decider.stop()
        old.store.close()
    else:
        old.kill()
    return fleet


def test_after_an_orderly_end_it_starts_and_takes_the_rules_of_its_files(database: Path, caplog: pytest.LogCaptureFixture):
    async def story():
        before = await old_life(database, clean=True)
        new = NewVersion(database)
        recovered = await new.decider.start("test", new.gateway)
        assert (recovered.policy, recovered.replayed) == ("", 0)
        assert "playbooks/a.yaml:3:1: cannot use `whenever`" in recovered.unusable
        assert "none are in force now" in caplog.text
        after = codec.encode(new.decider.fleet)
        assert {**after, "epoch": 0, "doubt": 0, "doubt_ms": 0} == {**before, "epoch": 0, "doubt": 0, "doubt_ms": 0}
        assert await new.decider.load_rules(compile_rules(NEW), "start")
        after = codec.encode(new.decider.fleet)
        new.kill()
        # What it decided before it had rules of its own is replayed as it was decided.
        again = NewVersion(database)
        recovered = await again.decider.start("test", again.gateway)
        assert (recovered.policy, recovered.unusable, recovered.replayed > 0) == ("new", "", True)
        replayed = codec.encode(again.decider.fleet)
        again.kill()
        assert {**replayed, "epoch": 0} == {**after, "epoch": 0}

    asyncio.run(story())


def test_after_a_kill_the_old_rules_are_needed_and_it_says_what_to_do(database: Path):
    async def story():
        await old_life(database, clean=False)
        new = NewVersion(database)
        with pytest.raises(ledger.PolicyUnusable, match="start the version before once more and stop it with SIGTERM"):
            await new.decider.start("test", new.gateway)
        new.store.close()
        # The way out that it names.
        old = Running(database)
        await old.decider.start("test", old.gateway)
        await old.decider.stop()
        old.store.close()
        new = NewVersion(database)
        assert (await new.decider.start("test", new.gateway)).unusable
        new.kill()

    asyncio.run(story())
