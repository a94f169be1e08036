"""The ledger under crashes at every byte: no order begins twice, each has one end, nothing confirmed is forgotten."""

from __future__ import annotations

import contextlib
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


class Died(BaseException):
    """The process ended here: nothing after it runs."""


@contextlib.contextmanager
def interrupted(at: str, error: BaseException):
    """The first write, sync, rename or sync of the folder fails, or half of the first write is done before it does."""

    def fail(*_: object) -> None:
        raise error

    def half(fd: int, data: bytes) -> None:
        os.write(fd, data[: len(data) // 2])
        raise error

    real = os.fsync
    calls = iter((fail,))

    def fsync(fd: int) -> None:
        # What cleans up after the first failure works again.
        next(calls, real)(fd)

    with pytest.MonkeyPatch.context() as patch:
        if at == "fsync":
            patch.setattr("fleetmend_executor.ledger.os.fsync", fsync)
        elif at == "replace":
            patch.setattr("fleetmend_executor.ledger.os.replace", fail)
        else:
            name = "write_all" if at == "half" else at
            patch.setattr(f"fleetmend_executor.ledger.{name}", half if at == "half" else fail)
        yield


def test_a_compacted_file_whose_name_may_be_lost_takes_nothing_more(folder):
    """After the rename the old file has no name: an order noted there would run again after a restart."""
    ledger = Ledger(folder)
    fill(ledger, 3)
    with pytest.raises(LedgerUnavailable, match="cannot compact"), interrupted("sync_folder", OSError(5, "Input/output error")):
        ledger.compact("b", 0, over_bytes=0)
    with pytest.raises(LedgerUnavailable, match="restart after repair"):
        ledger.begin(entry(7))
    ledger.close()
    again = Ledger(folder)
    assert again.get("ord-2-1") is not None
    again.begin(entry(7))
    again.close()


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

    @rule(order=orders, ends=st.booleans(), at=st.sampled_from(["write_all", "half", "fsync"]))
    def die_inside_a_write(self, order, ends, at):
        if not self._may(order, ends):
            return
        with pytest.raises(Died), interrupted(at, Died()):
            self._do(order, ends)
        self._come_back()
        kept = self.ledger.get(order.order_id)
        if ends and kept is not None and kept.ended:
            self.ended[order.order_id] = "cut"
        if not ends and kept is not None:
            self.begun.add(order.order_id)
        assert at == "fsync" or kept is None or order.order_id in self.begun | set(self.ended)

    @rule(order=orders, ends=st.booleans(), at=st.sampled_from(["write_all", "half", "fsync"]))
    def the_disk_refuses(self, order, ends, at):
        """Refused means not done, now and after a reopening."""
        if not self._may(order, ends):
            return
        before = dict(self.ledger.entries)
        with pytest.raises(LedgerUnavailable, match="cannot write"), interrupted(at, OSError(28, "No space left on device")):
            self._do(order, ends)
        assert self.ledger.entries == before
        self._come_back()
        assert self.ledger.entries == before

    @precondition(lambda self: bool(self.begun or self.ended))
    @rule(at=st.sampled_from(["write_all", "half", "fsync", "replace", "sync_folder"]), dies=st.booleans())
    def compaction_is_interrupted(self, at, dies):
        error = Died() if dies else OSError(28, "No space left on device")
        with pytest.raises(Died if dies else LedgerUnavailable), interrupted(at, error):
            self.ledger.compact("b", 0, over_bytes=0)
        if dies:
            self._come_back()
        elif at == "sync_folder":
            # Which of the two files the folder will name after a power cut is open: nothing more is taken on before a restart.
            with pytest.raises(LedgerUnavailable, match="restart"):
                self.ledger.begin(entry(10**6))
            self._come_back()

    def _may(self, order, ends):
        known = self.ledger.get(order.order_id)
        return (known is None or not known.ended) if ends else known is None

    def _do(self, order, ends):
        if ends:
            self.ledger.end(order, "cut", "cd")
        else:
            self.ledger.begin(order)

    def _come_back(self):
        self.ledger.close()
        self.ledger = Ledger(self.folder)

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
