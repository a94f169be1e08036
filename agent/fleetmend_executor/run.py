"""Carries out a plan, effect by effect, within one deadline; the executor's clocks; the one broad except, around one action."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from importlib import import_module
from typing import NamedTuple

from .actions import Refused
from .commands import Finished, plain, run_argv
from .effects import ClearFiles, Command, Effect, KillProcess, ReadEvidence, UnitGuard, UnitJob

OUTPUT_CHARS_MAX = 48 * 1024
DETAIL_CHARS_MAX = 2000
COMMANDS_MAX = 32


def boot_clock_ms() -> int:
    """CLOCK_BOOTTIME: never steps, goes on through suspend, the same for all parts of a host."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000


def wall_s() -> float:
    """Unix time, for the age of files only."""
    return time.time()


class ActionFailed(Exception):
    """An effect that did not work out; `reason` is a stable word."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason


class Run:
    """One action under way: what it has left to spend, and what it did so far."""

    def __init__(self, deadline_s: float) -> None:
        self.deadline_s = deadline_s
        self.commands: list[Finished] = []
        self.output: list[str] = []
        self.detail: list[str] = []

    def left_s(self) -> float:
        """Seconds until the deadline, never less than 0."""
        return max(0.0, self.deadline_s - time.monotonic())

    def argv(self, *argv: str, timeout_s: float | None = None, output_bytes_max: int = 16 * 1024) -> Finished:
        """Run a command within the deadline and note it."""
        left_s = self.left_s()
        finished = run_argv(argv, left_s if timeout_s is None else min(timeout_s, left_s), output_bytes_max)
        self.commands.append(finished)
        return finished


class Result(NamedTuple):
    """What became of a plan. `outcome` is done, failed or refused."""

    outcome: str
    reason: str
    detail: str
    output: str = ""
    commands: tuple[Finished, ...] = ()


class Runner:
    """Carries out plans. `surprises` counts what no part of the executor foresaw; each is also said aloud."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self.say = say
        self.surprises = 0

    def carry_out(self, plan: Callable[[], tuple[Effect, ...]], timeout_s: float) -> Result:
        """Plan and run. Always a result: a surprise is a failure with the reason `internal`."""
        run = Run(time.monotonic() + timeout_s)
        try:
            for effect in plan():
                perform(effect, run)
        except Refused as error:
            return _result("refused", error.reason, str(error), run)
        except ActionFailed as error:
            return _result("failed", error.reason, str(error), run)
        except Exception as error:  # noqa: BLE001 - an action must end, whatever is wrong with it
            self.surprises += 1
            self.say(f"cannot finish an action: {type(error).__name__}: {error}")
            return _result("failed", "internal", f"cannot finish: {type(error).__name__}: {error}", run)
        return _result("done", "done", "; ".join(run.detail) or "done", run)


def perform(effect: Effect, run: Run) -> None:
    """One effect. The built-in effects are imported when one is needed: a cold start pays for what it uses."""
    if isinstance(effect, Command):
        _command(effect, run)
    elif isinstance(effect, UnitGuard):
        from . import systemd

        systemd.guard(effect, run)
    elif isinstance(effect, UnitJob):
        from . import systemd

        systemd.job(effect, run)
    elif isinstance(effect, KillProcess):
        from . import killing

        killing.kill(effect, run)
    elif isinstance(effect, ClearFiles):
        from . import clearing

        clearing.clear(effect, run, wall_s())
    elif isinstance(effect, ReadEvidence):
        from . import evidence

        evidence.read(effect, run)
    else:
        import_module(f"fleetmend_executor.{effect.performer}").perform(effect, run)


def _command(effect: Command, run: Run) -> None:
    argv = hosted_argv(effect.argv, min(effect.timeout_s or run.left_s(), run.left_s())) if effect.hosted else effect.argv
    finished = run.argv(*argv, timeout_s=effect.timeout_s, output_bytes_max=effect.output_bytes_max)
    run.output.append(f"== {effect.title}\n{finished.output}" if effect.title else finished.output)
    if finished.exit and not effect.optional:
        raise failure(finished)


def hosted_argv(argv: tuple[str, ...], timeout_s: float) -> tuple[str, ...]:
    """The command as a transient unit of systemd, which ends with its time even if this executor dies before it."""
    name = f"--unit=fleetmend-repair-{os.getpid()}-{time.monotonic_ns()}"
    bounds = (
        f"--property=RuntimeMaxSec={max(1, math.ceil(timeout_s))}",
        "--property=TimeoutStopSec=5s",
        "--property=Restart=no",
    )
    how = ("--quiet", "--pipe", "--wait", "--collect", "--service-type=exec", "--setenv=LC_ALL=C.UTF-8")
    return ("systemd-run", name, *how, *bounds, "--", *argv)


def failure(finished: Finished) -> ActionFailed:
    """A command's bad end as an error with its last line."""
    name = " ".join(finished.argv)[:200]
    last = finished.output.strip().rpartition("\n")[2]
    if finished.exit == 124:
        return ActionFailed("timeout", last)
    if finished.exit == 127:
        return ActionFailed("cannot_start", finished.output.strip() or f"cannot start {name}")
    return ActionFailed("exit_status", f"cannot {name}: exit status {finished.exit}: {last}")


def _result(outcome: str, reason: str, detail: str, run: Run) -> Result:
    output = plain("\n".join(part for part in run.output if part.strip()))
    if len(output) > OUTPUT_CHARS_MAX:
        output = output[:OUTPUT_CHARS_MAX] + f"\n[{len(output) - OUTPUT_CHARS_MAX} more characters]"
    return Result(outcome, reason, plain(detail)[:DETAIL_CHARS_MAX], output, tuple(run.commands[:COMMANDS_MAX]))
