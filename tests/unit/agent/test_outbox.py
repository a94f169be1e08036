"""The outbox loses nothing that it does not count, whatever happens to its files."""

from __future__ import annotations

import contextlib
import resource
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from fleetmend_agent.outbox import MEMORY_BYTES_MAX, RECORD_BYTES_MAX, Outbox

ALL = (10_000, 1 << 30)


OPEN: list[Outbox] = []


def opened(folder: Path, boot: str = "boot-1", bytes_max: int = 1 << 20, segment_bytes: int = 4096) -> Outbox:
    OPEN.append(Outbox(folder, boot, bytes_max, segment_bytes))
    return OPEN[-1]


def close_all() -> None:
    """A crash closes no file in order, but a process has only so many descriptors."""
    while OPEN:
        OPEN.pop().close()


@pytest.fixture(autouse=True)
def closed():
    yield
    close_all()


def held(outbox: Outbox, after: int = 0) -> list[tuple[int, bytes]]:
    return outbox.pending(after, *ALL)


def newest_file(folder: Path) -> Path:
    return max(folder.glob("*/*.seg"))


@contextlib.contextmanager
def files_limited_to(size: int):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_records_are_numbered_from_one_and_forgotten_when_acknowledged(tmp_path):
    outbox = opened(tmp_path)
    assert [outbox.append(b"a"), outbox.append(b"b"), outbox.append(b"c")] == [1, 2, 3]
    assert held(outbox) == [(1, b"a"), (2, b"b"), (3, b"c")]
    outbox.ack(2)
    assert held(outbox) == [(3, b"c")]
    assert outbox.depth == 1
    outbox.ack(1)
    outbox.ack(99)
    assert held(outbox) == [(3, b"c")]


def test_a_batch_keeps_both_limits_but_is_never_empty(tmp_path):
    outbox = opened(tmp_path)
    for size in (900, 10, 10, 10):
        outbox.append(b"x" * size)
    assert [seq for seq, _ in outbox.pending(0, 10, 100)] == [1]
    assert [seq for seq, _ in outbox.pending(1, 2, 100)] == [2, 3]


def test_a_restart_goes_on_where_the_last_process_died(tmp_path):
    first = opened(tmp_path)
    for index in range(300):
        first.append(b"%d" % index * 20)
    again = opened(tmp_path)
    assert again.outbox_id == first.outbox_id
    assert again.next_seq == 301
    assert held(again) == held(first)
    assert again.append(b"next") == 301


def test_numbers_go_on_after_everything_was_acknowledged(tmp_path):
    first = opened(tmp_path)
    for _ in range(200):
        first.append(b"x" * 50)
    first.ack(200)
    assert opened(tmp_path).append(b"y") == 201


@pytest.mark.parametrize("cut", range(1, 57))
def test_a_torn_tail_costs_the_torn_record_only(tmp_path, cut):
    first = opened(tmp_path)
    first.append(b"whole" * 10)
    first.append(b"torn" * 12)
    path = newest_file(tmp_path)
    data = path.read_bytes()
    path.write_bytes(data[:-cut])
    again = opened(tmp_path)
    assert held(again) == [(1, b"whole" * 10)]
    assert again.append(b"new") == 2
    assert held(opened(tmp_path)) == held(again)


def test_a_flipped_bit_ends_what_is_believed_there(tmp_path):
    first = opened(tmp_path)
    for word in (b"one", b"two", b"three"):
        first.append(word)
    path = newest_file(tmp_path)
    data = bytearray(path.read_bytes())
    data[data.index(b"two")] ^= 1
    path.write_bytes(bytes(data))
    assert held(opened(tmp_path)) == [(1, b"one")]


def test_foreign_files_are_not_records(tmp_path):
    first = opened(tmp_path)
    first.append(b"mine")
    newest_file(tmp_path).with_name("readme.seg").write_bytes(b"hello")
    newest_file(tmp_path).parent.joinpath(f"{77:020d}.seg").write_bytes(b"not a segment")
    assert held(opened(tmp_path)) == [(1, b"mine")]


def test_a_full_outbox_drops_the_oldest_and_counts(tmp_path):
    outbox = opened(tmp_path, bytes_max=16_384)
    for index in range(400):
        outbox.append(b"%04d" % index * 25)
    kept = held(outbox)
    assert kept[-1] == (400, b"0399" * 25)
    assert [seq for seq, _ in kept] == list(range(kept[0][0], 401))
    assert outbox.dropped_total == 400 - len(kept) > 0
    assert sum(path.stat().st_size for path in tmp_path.glob("*/*.seg")) <= 16_384


def test_another_boot_begins_another_outbox_and_carries_over_what_was_left(tmp_path):
    first = opened(tmp_path, "boot-1")
    for word in (b"a", b"b", b"c"):
        first.append(word)
    first.ack(1)
    second = opened(tmp_path, "boot-2")
    assert second.outbox_id != first.outbox_id
    assert held(second) == [(1, b"b"), (2, b"c")]
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("damage", [b"", b"x", b"\0" * 12, b"x" * 12])
def test_where_it_is_not_known_what_was_acknowledged_a_record_comes_twice_rather_than_not_at_all(tmp_path, damage):
    first = opened(tmp_path, "boot-1")
    first.append(b"a")
    first.append(b"b")
    first.ack(1)
    (next(tmp_path.iterdir()) / "acked").write_bytes(damage)
    assert [record for _, record in held(opened(tmp_path, "boot-2"))] == [b"a", b"b"]


def test_an_acknowledgement_of_records_that_a_power_cut_took_is_none_of_the_next(tmp_path):
    first = opened(tmp_path, "boot-1")
    for word in (b"a", b"b", b"c"):
        first.append(word)
    first.ack(3)
    with newest_file(tmp_path).open("r+b") as file:
        file.truncate(20)
    second = opened(tmp_path, "boot-1")
    assert held(second) == []
    assert held(second, after=second.append(b"new") - 1) == [(second.next_seq - 1, b"new")]


def test_a_death_while_carrying_over_loses_nothing(tmp_path):
    first = opened(tmp_path, "boot-1")
    first.append(b"a")
    shutil.copytree(next(tmp_path.iterdir()), tmp_path / "f00@boot-2")
    third = opened(tmp_path, "boot-2")
    assert {record for _, record in held(third)} == {b"a"}
    assert len(list(tmp_path.iterdir())) == 1


def test_a_full_disk_keeps_records_in_memory_and_says_so(tmp_path):
    outbox = opened(tmp_path)
    outbox.append(b"on disk")
    with files_limited_to(64):
        assert outbox.append(b"x" * 100) == 2
        assert outbox.append(b"y" * 100) == 3
        assert "cannot write the outbox" in outbox.trouble
        assert [seq for seq, _ in held(outbox)] == [1, 2, 3]
        outbox.ack(2)
        assert [seq for seq, _ in held(outbox)] == [3]
    assert outbox.flush()
    assert outbox.trouble == ""
    assert held(opened(tmp_path)) == [(3, b"y" * 100)]


def test_a_disk_that_is_full_from_the_start_is_no_reason_not_to_start(tmp_path):
    opened(tmp_path, "boot-1").append(b"earlier")
    with files_limited_to(0):
        outbox = opened(tmp_path, "boot-2")
        assert "cannot write the outbox" in outbox.trouble
        assert outbox.append(b"now") == 2
        assert held(outbox) == [(1, b"earlier"), (2, b"now")]
        outbox.ack(1)
        assert (held(outbox), outbox.depth) == ([(2, b"now")], 1)
    assert outbox.append(b"later") == 3
    assert outbox.trouble == ""
    # What was left behind is carried over once more: a record may come twice, never not at all.
    assert [record for _, record in held(opened(tmp_path, "boot-2"))] == [b"earlier", b"now", b"later"]


def test_who_dies_while_the_disk_is_full_leaves_no_number_to_be_used_again(tmp_path):
    """The controller had records 2 and 3 out of memory: a record of the next life under these numbers would seem a double."""
    first = opened(tmp_path)
    first.append(b"on disk")
    with files_limited_to(64):
        assert first.append(b"x" * 100) == 2
        assert first.append(b"y" * 100) == 3
    second = opened(tmp_path)
    assert second.outbox_id != first.outbox_id
    assert held(second) == [(1, b"on disk")]
    assert held(opened(tmp_path)) == [(1, b"on disk")]


def test_numbers_that_only_the_memory_knew_are_not_given_again_when_they_were_acknowledged(tmp_path):
    first = opened(tmp_path)
    first.append(b"on disk")
    with files_limited_to(0):
        first.append(b"x")
        first.append(b"y")
        first.ack(3)
        assert not first.flush(), "nothing waits, but the disk is as full as before"
        assert opened(tmp_path).outbox_id != first.outbox_id
    third = opened(tmp_path / "other")
    third.append(b"on disk")
    with files_limited_to(0):
        third.append(b"x")
        third.ack(2)
    assert third.flush()
    fourth = opened(tmp_path / "other")
    assert (fourth.outbox_id, fourth.next_seq) == (third.outbox_id, 3)


def test_a_disk_that_was_full_for_a_while_is_forgotten(tmp_path):
    first = opened(tmp_path)
    first.append(b"on disk")
    with files_limited_to(64):
        first.append(b"x" * 100)
    first.append(b"y")
    second = opened(tmp_path)
    assert second.outbox_id == first.outbox_id
    assert second.append(b"z") == 4


def test_memory_is_bounded_while_the_disk_is_full(tmp_path):
    outbox = opened(tmp_path)
    record = b"z" * 65_536
    with files_limited_to(64):
        for _ in range(40):
            outbox.append(record)
    assert outbox.depth * len(record) <= MEMORY_BYTES_MAX
    assert outbox.dropped_total == 40 - outbox.depth
    assert held(outbox)[-1][0] == 40
    outbox.flush()
    assert [seq for seq, _ in held(opened(tmp_path))] == [seq for seq, _ in held(outbox)]


def test_a_record_that_no_message_could_carry_is_refused(tmp_path):
    with pytest.raises(ValueError, match="cannot keep a record"):
        opened(tmp_path).append(b"x" * (RECORD_BYTES_MAX + 1))


class OutboxMachine(RuleBasedStateMachine):
    """Any order of appending, acknowledging, dying and booting, against a plain list."""

    def __init__(self):
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.boots = 1
        self.outbox = self.open()
        self.expected: dict[int, bytes] = {}

    def open(self) -> Outbox:
        return opened(self.folder, f"boot-{self.boots}", segment_bytes=512)

    def teardown(self):
        close_all()
        shutil.rmtree(self.folder)

    @rule(record=st.binary(max_size=300))
    def append(self, record):
        self.expected[self.outbox.append(record)] = record

    @precondition(lambda self: self.expected)
    @rule(data=st.data())
    def ack(self, data):
        seq = data.draw(st.sampled_from(sorted(self.expected)))
        self.outbox.ack(seq)
        self.expected = {each: record for each, record in self.expected.items() if each > seq}

    @rule(torn=st.binary(max_size=20))
    def die(self, torn):
        acked = self.outbox.acked_seq
        with newest_file(self.folder).open("ab") as stream:
            stream.write(torn)
        self.outbox = self.open()
        self.outbox.ack(acked)

    @rule()
    def boot(self):
        before = list(self.expected.values())
        self.boots += 1
        self.outbox = self.open()
        carried = held(self.outbox)
        assert [record for _, record in carried][-len(before) :] == before or not before
        self.expected = dict(carried)

    @invariant()
    def nothing_is_lost(self):
        assert dict(held(self.outbox)) == self.expected
        assert self.outbox.depth == len(self.expected)


OutboxMachine.TestCase.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
TestOutboxMachine = OutboxMachine.TestCase


def test_what_is_mounted_over_the_folder_hides_nothing_that_was_written(tmp_path):
    folder = tmp_path / "state"
    outbox = opened(folder)
    outbox.append(b"before")
    # Moved away is what a name leads to under a mount: the open file is still there, its path is not.
    folder.rename(tmp_path / "covered")
    folder.mkdir()
    outbox.append(b"since")
    assert held(outbox) == [(1, b"before"), (2, b"since")]
    outbox.ack(1)
    assert held(outbox) == [(2, b"since")]
    folder.rmdir()
    (tmp_path / "covered").rename(folder)
    assert held(opened(folder)) == [(1, b"before"), (2, b"since")], "how far the controller has them could not be written down"
