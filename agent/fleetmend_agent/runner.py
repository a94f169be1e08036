"""Runs checks: when due, when a signal names them, when somebody asks. Turns results into statuses and says what changed.

A check can do its worst: raise, return nonsense, or never return. It is cut off at its timeout and is UNKNOWN; while it still
hangs it is not started again, and every slot that passes counts as one more UNKNOWN. The others go on.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

from fleetmend import registry

from . import checks
from .checks import Check, CheckUnknown, Context, Result, Status, prepare
from .checks._result import bounded
from .checks._units import spared
from .confirm import Confirmed
from .host import Host
from .log import LOG
from .workers import Job, Workers, WorkersExhausted

CHECKS_MAX = 500
SUBJECTS_MAX = 1000
ASKED_MAX = 256
REMEMBER_OK_MS = 600_000
PATHS_MAX = 2000


@dataclass(frozen=True, slots=True)
class Spec:
    """One check to run, as the controller configured it. `problem` says why it cannot run at all."""

    name: str
    type: str
    params: dict[str, Any] = field(default_factory=dict)
    every_ms: int = 30_000
    timeout_ms: int = 10_000
    confirm_bad: int = 1
    confirm_good: int = 1
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Observed:
    """What one check says about one subject, to be reported."""

    check: str
    check_type: str
    result: Result
    sampled_clock_ms: int
    requested: bool = False


@dataclass(slots=True)
class Subject:
    """What is remembered of one subject of a check."""

    confirmed: Confirmed = field(default_factory=Confirmed)
    result: Result = field(default_factory=lambda: Result(Status.UNKNOWN, ""))
    sampled_clock_ms: int = 0
    changed_clock_ms: int = 0


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a guarded call ended: results, or why there are none. `defect`: it raised what it must not raise."""

    results: Any = None
    problem: str = ""
    defect: bool = False


@dataclass(slots=True)
class Watch:
    """One configured check and everything known about it."""

    spec: Spec
    check: Check | None
    params: dict[str, Any]
    problem: str = ""
    subjects: dict[str, Subject] = field(default_factory=dict)
    completed: bool = False
    judged: bool = False
    task: asyncio.Task[None] | None = None
    stray: asyncio.Future[Any] | None = None
    again: bool = False
    asked: set[str] = field(default_factory=set)
    asking: frozenset[str] = frozenset()
    memory: dict[str, Any] = field(default_factory=dict)
    paths: frozenset[str] = frozenset()

    @property
    def settled(self) -> bool:
        """Whether it names everything that it knows: what was seen bad once, and is not confirmed yet, is not gone."""
        return self.completed and all(subject.confirmed.status is not None for subject in self.subjects.values())


def guarded(call: Callable[[], Any]) -> Outcome:
    """Calls a check or a fact collector, whatever it does. It and its asynchronous twin have the agent's only broad excepts."""
    try:
        return Outcome(call())
    except CheckUnknown as error:
        return Outcome(problem=str(error))
    except Exception as error:  # noqa: BLE001 - around one check
        return _defect(error)


async def guarded_async(call: Callable[[], Awaitable[Any]]) -> Outcome:
    """As `guarded`, for coroutines."""
    try:
        return Outcome(_judged(await call()))
    except CheckUnknown as error:
        return Outcome(problem=str(error))
    except Exception as error:  # noqa: BLE001 - around one check
        return _defect(error)


def _judged(results: Any) -> list[Result]:
    """What a check gave, bounded; a check that gave something else than results shows it here, inside the guard."""
    return [bounded(each) for each in islice(results, SUBJECTS_MAX)]


def _defect(error: Exception) -> Outcome:
    return Outcome(problem=f"cannot judge: {type(error).__name__}: {error}", defect=True)


class Runner:
    """The checks of this host. Belongs to the event loop's thread."""

    def __init__(
        self,
        host: Host,
        workers: Workers,
        report: Callable[[Observed], None],
        first_settled: Callable[[], None] = lambda: None,
        refreshers: Mapping[str, Callable[[], Awaitable[None]]] | None = None,
        load: Callable[[str], Check] | None = None,
    ) -> None:
        """`report` takes what must be told; `first_settled` is called when a check can say of everything how it is.

        `refreshers`, by signal name, bring a table kept by events up to date before a fresh run; they may raise OSError.
        `load` finds a check by its type, as `load_check` does.
        """
        self._host = host
        self._workers = workers
        self._report = report
        self._first_settled = first_settled
        self._load = load or load_check
        self._refreshers = dict(refreshers or {})
        self.watches: dict[str, Watch] = {}
        self.runs_total = 0
        self.defects_total = 0

    def configure(self, specs: Iterable[Spec]) -> set[str]:
        """Takes a new set of checks; returns the names that are new or changed. What did not change keeps its history."""
        wanted = {spec.name: spec for spec in list(specs)[:CHECKS_MAX]}
        for name in set(self.watches) - set(wanted):
            watch = self.watches.pop(name)
            if watch.task is not None:
                watch.task.cancel()
        changed = set()
        for name, spec in wanted.items():
            known = self.watches.get(name)
            if known is None or known.spec != spec:
                self.watches[name] = self._watch(spec, known)
                changed.add(name)
        return changed

    def start(self, name: str, by_signal: bool = False) -> None:
        """Runs a check now. If it runs already, a signal makes it run once more afterwards; a slot of its own is skipped."""
        watch = self.watches.get(name)
        if watch is None:
            return
        if watch.task is not None:
            watch.again = watch.again or by_signal
            return
        watch.task = asyncio.get_running_loop().create_task(self._run(watch, frozenset()))

    def ask(self, name: str, key: str) -> None:
        """Runs a check afresh and reports this subject whatever comes out, even if there is no such check or subject."""
        watch = self.watches.get(name)
        if watch is None:
            text = f"cannot run check {name!r}: this host is not configured to run it"
            self._report(Observed(name, "", Result(Status.UNKNOWN, text, key), self._host.clock_ms(), requested=True))
            return
        if len(watch.asked) < ASKED_MAX:
            watch.asked.add(key)
        if watch.task is None:
            self._run_asked(watch)

    def named_by(self, signal: str) -> list[str]:
        """The checks that a signal makes run."""
        return [name for name, watch in self.watches.items() if watch.check is not None and watch.check.signal == signal]

    def latest(self, name: str, key: str) -> Status | None:
        """The newest result of a subject, confirmed or not; OK if the check completed without it; None if nobody knows."""
        watch = self.watches.get(name)
        if watch is None or not watch.completed:
            return None
        subject = watch.subjects.get(key)
        return subject.confirmed.latest if subject is not None else Status.OK

    def subjects(self) -> Iterable[tuple[Watch, str, Subject]]:
        """Every subject whose status is settled."""
        for watch in self.watches.values():
            for key, subject in watch.subjects.items():
                if subject.confirmed.status is not None:
                    yield watch, key, subject

    def gauges(self) -> Iterable[tuple[tuple[str, str, str], float]]:
        """The newest gauges as ((gauge, check, key), value)."""
        for name, watch in self.watches.items():
            for key, subject in watch.subjects.items():
                for gauge, value in subject.result.gauges.items():
                    yield (gauge, name, key), value

    def hung(self) -> int:
        """How many checks were cut off and have not returned."""
        return sum(watch.stray is not None for watch in self.watches.values())

    async def stop(self) -> None:
        """Ends every run."""
        tasks = [watch.task for watch in self.watches.values() if watch.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _watch(self, spec: Spec, known: Watch | None) -> Watch:
        subjects: dict[str, Subject] = {}
        memory: dict[str, Any] = {}
        if known is not None:
            if known.task is not None:
                known.task.cancel()
            if (known.spec.type, known.spec.params) == (spec.type, spec.params):
                subjects, memory = known.subjects, known.memory
        watch = Watch(spec, None, {}, spec.problem, subjects, memory=memory)
        if known is not None:
            # Whoever asked is answered by the first run of the changed check.
            watch.asked = known.asked | known.asking
        if spec.problem:
            return watch
        try:
            watch.check = self._load(spec.type)
            watch.params = prepare(watch.check, spec.params)
        except CheckUnknown as error:
            watch.problem = str(error)
        else:
            watch.paths = self._watched(watch.check, watch.params)
        return watch

    def _watched(self, check: Check, params: dict[str, Any]) -> frozenset[str]:
        """The paths whose events make a check run. One that cannot name them is polled."""
        if check.signal != "inotify":
            return frozenset()
        if check.watched is None:
            return frozenset({str(params["path"])} if params.get("path") else ())
        watched = check.watched
        outcome = guarded(lambda: frozenset(islice(watched(self._host, params), PATHS_MAX)))
        return outcome.results if outcome.results is not None else frozenset()

    def _run_asked(self, watch: Watch) -> None:
        watch.asking = frozenset(watch.asked)
        watch.asked.clear()
        watch.task = asyncio.get_running_loop().create_task(self._run(watch, watch.asking))

    async def _run(self, watch: Watch, asked: frozenset[str]) -> None:
        sampled_ms = self._host.clock_ms()
        outcome = await self._outcome(watch, asked)
        self.runs_total += 1
        if outcome.defect:
            self.defects_total += 1
            LOG.error("check %s failed by a defect: %s", watch.spec.name, outcome.problem)
        watch.task = None
        watch.asking = frozenset()
        self._take(watch, outcome, sampled_ms, asked)
        if watch.asked:
            self._run_asked(watch)
        elif watch.again:
            watch.again = False
            self.start(watch.spec.name)

    async def _outcome(self, watch: Watch, asked: frozenset[str]) -> Outcome:
        check = watch.check
        if check is None or watch.problem:
            return Outcome(problem=watch.problem)
        if watch.stray is not None:
            return Outcome(problem=f"cannot run {watch.spec.name}: an earlier run still hangs")
        if asked and (refresh := self._refreshers.get(check.signal)):
            try:
                await refresh()
            except OSError as error:
                return Outcome(problem=f"cannot read afresh: {error}")
        context = Context(
            host=self._host,
            params=watch.params,
            timeout_s=watch.spec.timeout_ms / 1000,
            fresh=bool(asked),
            known=self._known(watch, asked),
            memory=watch.memory,
        )
        if inspect.iscoroutinefunction(check.run):
            return await self._on_loop(watch, check.run, context)
        if check.blocking:
            return await self._on_thread(watch, check.run, context)
        return guarded(lambda: _judged(check.run(context)))

    async def _on_loop(self, watch: Watch, run: Callable[[Context], Awaitable[Any]], context: Context) -> Outcome:
        task = asyncio.get_running_loop().create_task(guarded_async(lambda: run(context)))
        try:
            done, _ = await asyncio.wait({task}, timeout=context.timeout_s)
        except asyncio.CancelledError:
            task.cancel()
            raise
        if done:
            return task.result()
        task.cancel()
        self._stray(watch, task)
        return _cut_off(context)

    async def _on_thread(self, watch: Watch, run: Callable[[Context], Any], context: Context) -> Outcome:
        try:
            job = self._workers.submit(watch.spec.name, lambda: guarded(lambda: _judged(run(context))))
        except WorkersExhausted as error:
            return Outcome(problem=str(error))
        try:
            await asyncio.wait({job.done}, timeout=context.timeout_s)
        except asyncio.CancelledError:
            self._give_up(watch, job)
            raise
        if job.done.done():
            outcome: Outcome = job.done.result()
            return outcome
        if self._give_up(watch, job):
            LOG.warning("check %s hangs: its thread was given up after %.1f s", watch.spec.name, context.timeout_s)
            return _cut_off(context)
        return Outcome(problem=f"cannot run {watch.spec.name}: all worker threads were busy for {context.timeout_s:g} s")

    def _give_up(self, watch: Watch, job: Job) -> bool:
        if job.done.done() or not self._workers.give_up(job):
            return False
        self._stray(watch, job.done)
        return True

    def _stray(self, watch: Watch, future: asyncio.Future[Any]) -> None:
        def returned(_: asyncio.Future[Any]) -> None:
            watch.stray = None

        watch.stray = future
        future.add_done_callback(returned)

    def _known(self, watch: Watch, asked: frozenset[str]) -> dict[str, Status]:
        """What a check that reports only what is wrong must still answer for. A long recovered subject is let go."""
        forget_before_ms = self._host.clock_ms() - REMEMBER_OK_MS
        known = dict.fromkeys(asked, Status.UNKNOWN)
        for key, subject in watch.subjects.items():
            recent = 0 < subject.changed_clock_ms >= forget_before_ms
            if recent or key in asked or subject.confirmed.latest is not Status.OK or subject.confirmed.status is not Status.OK:
                known[key] = subject.confirmed.status or subject.confirmed.latest
        return known

    def _take(self, watch: Watch, outcome: Outcome, sampled_ms: int, asked: frozenset[str]) -> None:
        complete = outcome.results is not None
        results = {result.key: spared(self._host, result) for result in outcome.results} if complete else {}
        silent = sorted({*watch.subjects, *asked} - set(results)) or ([] if results else [""])
        for key in silent:
            results[key] = bounded(_gone(key) if complete else Result(Status.UNKNOWN, outcome.problem, key))
        for key, result in results.items():
            self._settle(watch, key, result, sampled_ms, key in asked)
        watch.completed = watch.completed or complete
        if watch.settled and not watch.judged:
            watch.judged = True
            self._first_settled()

    def _settle(self, watch: Watch, key: str, result: Result, sampled_ms: int, requested: bool) -> None:
        gone = result.finding.get("gone") is True
        subject = watch.subjects.get(key)
        if subject is None:
            subject = Subject()
            if len(watch.subjects) < SUBJECTS_MAX:
                watch.subjects[key] = subject
        spec = watch.spec
        first = subject.confirmed.status is None
        if requested:
            changed = subject.confirmed.adopt(result.status)
        else:
            changed = subject.confirmed.settle(result.status, spec.confirm_bad, spec.confirm_good)
        if result.status is Status.UNKNOWN:
            # The last numbers are not numbers of now.
            result = replace(result, gauges={})
        subject.result = result
        subject.sampled_clock_ms = sampled_ms
        if changed and not first:
            subject.changed_clock_ms = sampled_ms
        if requested or (changed and not (first and result.status is Status.OK)):
            subject.changed_clock_ms = sampled_ms
            self._report(Observed(spec.name, spec.type, result, sampled_ms, requested))
        if gone and subject.confirmed.status in {None, Status.OK}:
            watch.subjects.pop(key, None)


def load_check(type_name: str) -> Check:
    """The check of a type. Only what is configured is ever imported. Raises CheckUnknown."""
    if not type_name.isidentifier() or type_name not in registry.names(checks):
        raise CheckUnknown(f"cannot run a check of type {type_name!r}: this agent does not know it; update the agent")
    return registry.load_one(checks, type_name, "CHECK", Check)


def _gone(key: str) -> Result:
    return Result(Status.OK, f"{key or 'it'} is no longer there", key, {"gone": True})


def _cut_off(context: Context) -> Outcome:
    return Outcome(problem=f"cannot finish within {context.timeout_s:g} s: the check was cut off and still hangs")
