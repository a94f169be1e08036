"""The ledger under crashes at every byte: no order begins twice, each has one end, nothing confirmed is forgotten."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, precondition, rule

from fleetmend_executor.ledger import ENDS_KEPT, Entry, Ledger, LedgerUnavailable


def entry(number: int, *, epoch: int = 1, expires: int = 10**9, boot: str = "b") -> Entry:
    return Entry(f"ord-{number}-1", boot, epoch, expires, "restart_unit", started_clock_ms=number)


def fill(ledger: Ledger, count: int, **changes) -> None:
    for number in range(count):
        ledger.begin(entry(number, **changes))
        ledger.end(entry(number), f"payload {number}", "00")


@pytest.fixture
def folder(tmp_path):
    return str(tmp_path)


def test_what_was_written_is_there_after_reopening(folder):
    ledger = Ledger(folder)
    fill(ledger, 2, epoch=4)
    ledger.begin(entry(7))
    before = dict(ledger.entries)
    ledger.close()
    again = Ledger(folder)
    assert again.entries == before
    assert [e.order_id for e in again.unfinished()] == ["ord-7-1"]
    assert again.epoch == 4
    assert Path(again.path).stat().st_mode & 0o777 == 0o600
    again.close()


def test_beginning_or_ending_twice_is_an_error(folder):
    ledger = Ledger(folder)
    fill(ledger, 1)
    with pytest.raises(LedgerUnavailable, match="begun before"):
        ledger.begin(entry(0))
    with pytest.raises(LedgerUnavailable, match="ended before"):
        ledger.end(entry(0), "other", "11")
    ledger.close()


def test_two_executors_never_share_a_ledger(folder):
    ledger = Ledger(folder)
    with pytest.raises(LedgerUnavailable, match="another executor"):
        Ledger(folder)
    ledger.close()


@pytest.mark.parametrize("flip", [b"ord-1-1", b'"begin"', b'"sum":"', b'{"record"'])
def test_a_damaged_line_is_named_wherever_the_damage_is(folder, flip):
    ledger = Ledger(folder)
    fill(ledger, 3)
    ledger.close()
    path = Path(ledger.path)
    lines = path.read_bytes().splitlines(keepends=True)
    assert flip in lines[2]
    changed = bytearray(lines[2])
    changed[lines[2].index(flip) + 2] ^= 1
    path.write_bytes(b"".join([*lines[:2], bytes(changed), *lines[3:]]))
    with pytest.raises(LedgerUnavailable, match="line 3 is damaged"):
        Ledger(folder)


def test_a_missing_line_in_the_middle_is_damage_when_it_shows(folder):
    ledger = Ledger(folder)
    fill(ledger, 2)
    ledger.close()
    path = Path(ledger.path)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines, lines[0]]))
    with pytest.raises(LedgerUnavailable, match="line 5 is damaged"):
        Ledger(folder)


def test_compaction_keeps_what_may_still_be_asked_for_and_the_epoch(folder):
    ledger = Ledger(folder)
    fill(ledger, ENDS_KEPT + 50, expires=100)
    ledger.close()
    ledger = Ledger(folder)
    ledger.begin(entry(5000, expires=10**6, epoch=9))
    assert not ledger.compact("b", 1000, over_bytes=10**9)
    assert ledger.compact("b", 1000, over_bytes=0)
    kept = set(ledger.entries)
    assert ledger.get("ord-0-1") is None
    assert {"ord-5000-1", "ord-1049-1"} <= kept
    ledger.end(entry(5000), "p", "22")
    ledger.close()
    again = Ledger(folder)
    assert set(again.entries) == kept
    assert again.epoch == 9
    assert again.compact("other boot", 0, over_bytes=0)
    assert again.epoch == 9
    again.close()


def test_orders_that_could_still_run_survive_compaction_in_any_number(folder):
    ledger = Ledger(folder)
    fill(ledger, ENDS_KEPT + 20, expires=5000)
    assert ledger.compact("b", 1000, over_bytes=0)
    assert ledger.get("ord-0-1") is not None
    ledger.close()


class Crashes(RuleBasedStateMachine):
    """Every write may be cut off at any byte by a crash; the model remembers what was confirmed and what may have been."""

    orders = Bundle("orders")

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.mkdtemp(prefix="fm-ledger-")
        self.ledger = Ledger(self.folder)
        self.begun: set[str] = set()
        self.ended: dict[str, str] = {}
        self.count = 0
        self.clock_ms = 0

    def teardown(self) -> None:
        self.ledger.close()
        shutil.rmtree(self.folder)

    @rule(target=orders)
    def new_order(self):
        self.count += 1
        return entry(self.count, expires=10**6)

    @rule(order=orders)
    def begin(self, order):
        fresh = self.ledger.get(order.order_id) is None
        assert fresh or order.order_id in self.begun | set(self.ended)
        if not fresh:
            return
        self.ledger.begin(order)
        assert order.order_id not in self.begun, "an order that was confirmed as begun begins again"
        self.begun.add(order.order_id)

    @rule(order=orders, text=st.text(max_size=40))
    def end(self, order, text):
        known = self.ledger.get(order.order_id)
        if known is not None and known.ended:
            return
        self.ledger.end(order, text, "ab")
        assert order.order_id not in self.ended, "an order has a second end"
        self.ended[order.order_id] = text

    @rule()
    def reopen(self):
        self.ledger.close()
        self.ledger = Ledger(self.folder)

    @rule(order=orders, ends=st.booleans(), share=st.floats(0, 1))
    def crash_while_writing(self, order, ends, share):
        """The write was never confirmed: afterwards it is there wholly or not at all."""
        path = Path(self.ledger.path)
        before = path.stat().st_size
        known = self.ledger.get(order.order_id)
        if ends and (known is None or not known.ended):
            self.ledger.end(order, "cut", "cd")
        elif not ends and known is None:
            self.ledger.begin(order)
        else:
            return
        self.ledger.close()
        after = path.stat().st_size
        os.truncate(path, before + int((after - before) * share))
        self.ledger = Ledger(self.folder)
        kept = self.ledger.get(order.order_id)
        if ends and kept is not None and kept.ended:
            self.ended[order.order_id] = "cut"
        if not ends and kept is not None:
            self.begun.add(order.order_id)

    @precondition(lambda self: self.count > 0)
    @rule()
    def compact(self):
        self.ledger.compact("b", 0, over_bytes=0)

    @invariant()
    def nothing_confirmed_is_lost(self):
        for order_id in self.begun:
            assert self.ledger.get(order_id) is not None
        for order_id, text in self.ended.items():
            known = self.ledger.get(order_id)
            assert known is not None
            assert (known.ended, known.payload) == (True, text)
        assert {e.order_id for e in self.ledger.unfinished()} == self.begun - set(self.ended)


Crashes.TestCase.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
TestCrashes = Crashes.TestCase
