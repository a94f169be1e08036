"""What a thread hands over of a stream: whoever waits for it is never left waiting."""

from __future__ import annotations

import signal
import threading
from queue import Queue

import grpc
import pytest

from fleetmend_cli.command import _hand_over, next_answer


def answering(*answers):
    for answer in answers:
        if isinstance(answer, Exception):
            raise answer
        yield answer


def handed_over(call) -> list[object]:
    answers: Queue[object] = Queue()
    try:
        _hand_over(call, answers)
    finally:
        held = [answers.get_nowait() for _ in range(answers.qsize())]
        assert held[-1] is None
    return held


def test_every_answer_comes_and_then_the_end():
    assert handed_over(answering(1, 2)) == [1, 2, None]


def test_an_error_of_the_call_comes_before_the_end():
    error = grpc.RpcError("gone")
    assert handed_over(answering(1, error)) == [1, error, None]


def test_what_nobody_foresaw_ends_it_too():
    with pytest.raises(ValueError, match="odd"):
        handed_over(answering(1, ValueError("odd")))


def test_an_interrupt_that_wakes_nobody_ends_the_wait_all_the_same():
    """The kernel may give a signal to another thread, or just before the wait begins: a plain wait then lasts on."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    answers: Queue[object] = Queue()
    elsewhere = threading.Timer(0.3, lambda: signal.pthread_kill(threading.get_ident(), signal.SIGINT))
    late = threading.Timer(20, answers.put, ("too late",))
    for timer in (elsewhere, late):
        timer.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            next_answer(answers)
    finally:
        late.cancel()
        elsewhere.join()
        signal.signal(signal.SIGINT, before)
    assert answers.empty()
