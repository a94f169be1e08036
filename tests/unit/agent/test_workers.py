"""The pool of threads: short work on one of them, more only for work that keeps others waiting."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

from fleetmend_agent.workers import Workers

WAIT_S = 10.0


def run(main: Callable[[Workers], Any], threads_max: int = 4) -> Any:
    async def all_of_it() -> Any:
        workers = Workers(threads_max)
        try:
            return await asyncio.wait_for(main(workers), WAIT_S)
        finally:
            workers.close()

    return asyncio.run(all_of_it())


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.005)


def test_short_work_runs_one_after_the_other_on_one_thread_in_the_order_in_which_it_came():
    ran: list[tuple[int, int]] = []

    async def main(workers: Workers) -> None:
        for round_of in range(3):
            jobs = [
                workers.submit(f"job{n}", lambda n=n, r=round_of: ran.append((r * 20 + n, threading.get_ident())))
                for n in range(20)
            ]
            await asyncio.gather(*(job.done for job in jobs))

    run(main)
    assert [number for number, _ in ran] == list(range(60))
    assert len({thread for _, thread in ran}) == 1


def test_work_that_keeps_others_waiting_brings_one_more_thread_and_then_they_leave():
    gate = threading.Event()

    async def main(workers: Workers) -> int:
        slow = [workers.submit(f"slow{n}", gate.wait) for n in range(3)]
        quick = workers.submit("quick", threading.get_ident)
        await quick.done
        assert not any(job.done.done() for job in slow)
        gate.set()
        await asyncio.gather(*(job.done for job in slow))
        # As many as still wait for work: one.
        await until(lambda: workers.threads == 1)
        last = workers.submit("again", threading.get_ident)
        await last.done
        return workers.threads

    assert run(main) == 1


def test_no_more_threads_than_allowed_and_the_rest_waits():
    gate = threading.Event()

    async def main(workers: Workers) -> None:
        slow = [workers.submit(f"slow{n}", gate.wait) for n in range(2)]
        late = workers.submit("late", lambda: "ran")
        await until(lambda: all(job.running for job in slow))
        await asyncio.sleep(0.2)
        assert workers.threads == 2
        assert not late.done.done()
        gate.set()
        assert await late.done == "ran"

    run(main, threads_max=2)


def test_work_given_up_leaves_its_thread_to_itself_and_the_next_gets_a_new_one():
    gate = threading.Event()

    async def main(workers: Workers) -> None:
        stuck = workers.submit("stuck", gate.wait)
        await until(lambda: stuck.running)
        assert workers.give_up(stuck)
        assert workers.hung == ["stuck"]
        assert await workers.submit("next", lambda: "ran").done == "ran"
        gate.set()
        await stuck.done
        assert workers.hung == []
        assert workers.threads == 1

    run(main)


def test_work_given_up_before_it_was_handed_on_never_runs():
    ran: list[str] = []

    async def main(workers: Workers) -> None:
        never = workers.submit("never", lambda: ran.append("never"))
        assert not workers.give_up(never)
        await workers.submit("after", lambda: ran.append("after")).done
        assert not never.done.done()

    run(main)
    assert ran == ["after"]


def test_what_ended_before_work_that_hangs_is_told_all_the_same():
    gate = threading.Event()

    async def main(workers: Workers) -> None:
        await workers.submit("first", threading.get_ident).done
        quick = workers.submit("quick", lambda: "ran")
        stuck = workers.submit("stuck", gate.wait)
        assert await quick.done == "ran"
        assert not stuck.done.done()
        gate.set()
        await stuck.done

    run(main)


def test_the_loop_is_not_woken_for_each_piece_that_ended(monkeypatch):
    gate = threading.Event()
    woken: list[str] = []

    async def main(workers: Workers) -> None:
        loop = asyncio.get_running_loop()
        await workers.submit("first", threading.get_ident).done
        wake = loop.call_soon_threadsafe
        monkeypatch.setattr(loop, "call_soon_threadsafe", lambda call: woken.append("woken") or wake(call))
        jobs = [workers.submit("gate", gate.wait), *(workers.submit(f"job{n}", threading.get_ident) for n in range(20))]
        # Behind the handing on: from then on all of them wait in the queue.
        loop.call_soon(gate.set)
        await asyncio.gather(*(job.done for job in jobs))

    run(main)
    # At most once a thread, however slow this machine is.
    assert 1 <= len(woken) <= 4
