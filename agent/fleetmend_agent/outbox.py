"""What must reach the journal waits here, on disk, in order, until the controller says that it has it.

A record is written before it is sent, so that it survives the death of this process: the page cache outlives us. It does not
outlive a power cut, so a new boot begins a new outbox (new id, numbers from 1) and carries over what was left: no number is
ever used for two records. Full means that the oldest segment goes, counted. A full disk means bounded memory, and `trouble`;
a process that dies then leaves numbers behind that no file holds, so its successor begins a new outbox, too. How far the
controller has it is written down beside the records, so that few come twice; if that is lost, they do.
"""

from __future__ import annotations

import contextlib
import os
import stat
import struct
import zlib
from array import array
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain, pairwise
from pathlib import Path

SEGMENT_BYTES = 1 << 20
RECORD_BYTES_MAX = 512 * 1024
MEMORY_BYTES_MAX = 1 << 20

_MAGIC = b"FMOB1\n"
# On the folder of an outbox: numbers were given that no file in it holds. A mode changes in place, however full the disk is.
_IN_MEMORY = stat.S_ISVTX
_FRAME = struct.Struct(">II")
_ACKED_FILE = "acked"
_ACKED = struct.Struct(">QI")


@dataclass(slots=True)
class _Segment:
    """One file of consecutive records: where each begins, and where the next would."""

    path: Path
    first_seq: int
    end: int = len(_MAGIC)
    offsets: array[int] = field(default_factory=lambda: array("I"))

    @property
    def next_seq(self) -> int:
        return self.first_seq + len(self.offsets)


class Outbox:
    """A bounded queue of opaque records on disk. Not thread-safe: it belongs to the event loop's thread."""

    def __init__(self, directory: Path, boot_id: str, bytes_max: int, segment_bytes: int = SEGMENT_BYTES) -> None:
        """Opens or begins the outbox in `directory`. A full disk is no error. Raises OSError if what is there is unreadable."""
        self._bytes_max = max(bytes_max, 2 * segment_bytes)
        self._segment_bytes = segment_bytes
        self._segments: deque[_Segment] = deque()
        self._memory: deque[tuple[int, bytes]] = deque()
        self._memory_bytes = 0
        self._fd = -1
        self._next_seq = 1
        self.acked_seq = 0
        self.dropped_total = 0
        self.trouble = ""
        self._directory, self.outbox_id = self._begin(directory, boot_id)

    @property
    def next_seq(self) -> int:
        """The number that the next record will get."""
        return self._next_seq

    @property
    def depth(self) -> int:
        """How many records wait."""
        on_disk = sum(max(0, each.next_seq - max(each.first_seq, self.acked_seq + 1)) for each in self._segments)
        return on_disk + len(self._memory)

    def append(self, record: bytes) -> int:
        """Keeps a record and returns its number. Raises ValueError if it is larger than RECORD_BYTES_MAX."""
        if len(record) > RECORD_BYTES_MAX:
            raise ValueError(f"cannot keep a record of {len(record)} bytes: the limit is {RECORD_BYTES_MAX}")
        seq = self._next_seq
        self._next_seq += 1
        self._memory.append((seq, record))
        self._memory_bytes += len(record)
        self.flush()
        return seq

    def flush(self) -> bool:
        """Moves what waits in memory to disk; False while the disk refuses."""
        try:
            if not self._segments:
                self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
                self._create(self._next_seq - len(self._memory))
            while self._memory:
                self._write(*self._memory[0])
                self._memory_bytes -= len(self._memory.popleft()[1])
            if self._segments[-1].next_seq != self._next_seq:
                # Numbers that were given and acknowledged while the disk was full: only a file's name remembers them.
                self._create(self._next_seq)
        except OSError as error:
            self.trouble = f"cannot write the outbox in {self._directory}: {error.strerror or error}; keeping records in memory"
            self._mark(_IN_MEMORY)
            self._bound_memory()
            return False
        if self.trouble:
            self._mark(0)
        self.trouble = ""
        return True

    def pending(self, after_seq: int, count_max: int, bytes_max: int) -> list[tuple[int, bytes]]:
        """The oldest records with a number above `after_seq`, at least one if any waits, within the two limits."""
        found: list[tuple[int, bytes]] = []
        size = 0
        for seq, record in self._after(max(after_seq, self.acked_seq)):
            size += len(record)
            if found and (size > bytes_max or len(found) >= count_max):
                break
            found.append((seq, record))
        return found

    def ack(self, seq: int) -> None:
        """Forgets every record up to `seq`. A number from the past or the future changes nothing."""
        if not self.acked_seq < seq < self._next_seq:
            return
        self.acked_seq = seq
        self._write_acked()
        while self._memory and self._memory[0][0] <= seq:
            self._memory_bytes -= len(self._memory.popleft()[1])
        while len(self._segments) > 1 and self._segments[1].first_seq <= seq + 1:
            self._drop_oldest()
        if not self._segments:
            return
        segment = self._segments[0]
        if len(self._segments) == 1 and segment.next_seq <= seq + 1 and segment.end > self._segment_bytes // 4:
            self._begin_empty_segment()

    def close(self) -> None:
        """Closes the file; what is on disk stays."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _write_acked(self) -> None:
        """In place: a full disk takes it, too."""
        number = struct.pack(">Q", self.acked_seq)
        with contextlib.suppress(OSError):
            fd = os.open(self._directory / _ACKED_FILE, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.pwrite(fd, number + struct.pack(">I", zlib.crc32(number)), 0)
            finally:
                os.close(fd)

    def _mark(self, mark: int) -> None:
        with contextlib.suppress(OSError):
            self._directory.chmod(0o700 | mark)

    def _begin(self, directory: Path, boot_id: str) -> tuple[Path, str]:
        """Goes on with the outbox of this boot, or begins one and moves into it what others left behind."""
        left = [path for path in directory.iterdir() if path.is_dir()] if directory.is_dir() else []
        earlier = sorted(left, key=lambda path: path.stat().st_mtime_ns)
        if len(earlier) == 1 and _may_go_on(earlier[0], boot_id) and self._resume(earlier[0]):
            return earlier[0], earlier[0].name.partition("@")[0]
        outbox_id = os.urandom(16).hex()
        self._directory = directory / f"{outbox_id}@{boot_id}"
        for record in chain.from_iterable(map(_unacknowledged, earlier)):
            self.append(record)
        if self.flush():
            for path in earlier:
                _remove(path)
        return self._directory, outbox_id

    def _resume(self, directory: Path) -> bool:
        found = _scan(directory)
        if not found:
            return False
        for earlier, later in pairwise(found):
            self.dropped_total += later.first_seq - earlier.next_seq
        self._segments.extend(found)
        self._next_seq = found[-1].next_seq
        self.acked_seq = max(found[0].first_seq - 1, min(_read_acked(directory), self._next_seq - 1))
        self._fd = os.open(found[-1].path, os.O_RDWR | os.O_CLOEXEC)
        os.ftruncate(self._fd, found[-1].end)
        return True

    def _create(self, first_seq: int) -> None:
        path = self._directory / f"{first_seq:020d}.seg"
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            _write_all(fd, _MAGIC, 0)
        except OSError:
            os.close(fd)
            path.unlink(missing_ok=True)
            raise
        self.close()
        self._fd = fd
        self._segments.append(_Segment(path, first_seq))

    def _write(self, seq: int, record: bytes) -> None:
        segment = self._segments[-1]
        full = bool(segment.offsets) and segment.end + len(record) > self._segment_bytes
        if full or seq != segment.next_seq:
            self._create(seq)
            segment = self._segments[-1]
        frame = _FRAME.pack(len(record), zlib.crc32(record)) + record
        _write_all(self._fd, frame, segment.end)
        segment.offsets.append(segment.end)
        segment.end += len(frame)
        while len(self._segments) > 1 and sum(each.end for each in self._segments) > self._bytes_max:
            self._drop_oldest()

    def _begin_empty_segment(self) -> None:
        try:
            self._create(self._next_seq)
        except OSError as error:
            self.trouble = f"cannot begin an outbox segment in {self._directory}: {error.strerror or error}"
            return
        self._drop_oldest()

    def _drop_oldest(self) -> None:
        segment = self._segments.popleft()
        self.dropped_total += max(0, segment.next_seq - max(segment.first_seq, self.acked_seq + 1))
        segment.path.unlink(missing_ok=True)

    def _bound_memory(self) -> None:
        while self._memory_bytes > MEMORY_BYTES_MAX:
            self._memory_bytes -= len(self._memory.popleft()[1])
            self.dropped_total += 1

    def _after(self, seq: int) -> Iterator[tuple[int, bytes]]:
        for segment in self._segments:
            for each in range(max(segment.first_seq, seq + 1), segment.next_seq):
                if (record := _read_record(segment, each, self._fd if segment is self._segments[-1] else -1)) is not None:
                    yield each, record
        for each, record in self._memory:
            if each > seq:
                yield each, record


def _write_all(fd: int, data: bytes, offset: int) -> None:
    written = 0
    while written < len(data):
        written += os.pwrite(fd, data[written:], offset + written)


def _remove(directory: Path) -> None:
    for path in directory.iterdir():
        path.unlink()
    directory.rmdir()


def _may_go_on(directory: Path, boot_id: str) -> bool:
    """Whether an outbox is of this boot, and its files hold every number that was given."""
    return directory.name.partition("@")[2] == boot_id and not directory.stat().st_mode & _IN_MEMORY


def _scan(directory: Path) -> list[_Segment]:
    """The readable segments of an outbox, oldest first. Damage ends a segment where it begins."""
    found: list[_Segment] = []
    for path in sorted(directory.glob("*.seg")):
        segment = _Segment(path, int(path.stem)) if path.stem.isdecimal() else None
        if segment is not None and _index(segment):
            found.append(segment)
    return found


def _index(segment: _Segment) -> bool:
    """Finds the records of a segment, up to the first that is torn or damaged. False if the file is no segment."""
    with segment.path.open("rb") as stream:
        if stream.read(len(_MAGIC)) != _MAGIC:
            return False
        while len(head := stream.read(_FRAME.size)) == _FRAME.size:
            length, crc = _FRAME.unpack(head)
            if length > RECORD_BYTES_MAX:
                break
            record = stream.read(length)
            if len(record) != length or zlib.crc32(record) != crc:
                break
            segment.offsets.append(segment.end)
            segment.end += _FRAME.size + length
    return True


def _records(segment: _Segment) -> Iterator[tuple[int, bytes]]:
    for seq in range(segment.first_seq, segment.next_seq):
        if (record := _read_record(segment, seq)) is not None:
            yield seq, record


def _unacknowledged(directory: Path) -> Iterator[bytes]:
    """What the controller does not have yet of an outbox."""
    acked = _read_acked(directory)
    for segment in _scan(directory):
        yield from (record for seq, record in _records(segment) if seq > acked)


def _read_acked(directory: Path) -> int:
    """Up to which number the controller had the records of an outbox; 0 if that is not known."""
    try:
        data = (directory / _ACKED_FILE).read_bytes()
        seq, crc = _ACKED.unpack(data)
    except (OSError, struct.error):
        return 0
    return int(seq) if crc == zlib.crc32(data[:8]) else 0


def _read_record(segment: _Segment, seq: int, fd: int = -1) -> bytes | None:
    """One record from disk; None if the disk no longer gives what was written.

    `fd` is the segment's file where it is open: what is mounted over the folder later hides the name, not the file, and what
    was written to it must still be sent.
    """
    opened, offset = -1, segment.offsets[seq - segment.first_seq]
    try:
        at = fd if fd >= 0 else (opened := os.open(segment.path, os.O_RDONLY | os.O_CLOEXEC))
        length, crc = _FRAME.unpack(os.pread(at, _FRAME.size, offset))
        record = os.pread(at, length, offset + _FRAME.size)
    except (OSError, struct.error):
        return None
    finally:
        if opened >= 0:
            os.close(opened)
    return record if zlib.crc32(record) == crc else None
