"""What was begun and how it ended, on disk before anything starts: each order id has at most one effect and exactly one end.

One JSON object a line, `{"record": {...}, "sum": "<crc32>"}`. Records: `begin` (an effect may follow) and `end` (the sealed
outcome). An end without a begin is a refusal. The crash of anything at any byte leaves either a whole line or a torn last one.
"""

from __future__ import annotations

import fcntl
import json
import os
import threading
import zlib
from typing import NamedTuple

from .store import sync_folder, write_all

FILE_NAME = "ledger.jsonl"
ENDS_KEPT = 1000
# A permit keeps its id over many sets: what was used is remembered for as long as it may be offered again.
PERMITS_KEPT = 128
COMPACT_BYTES = 4 * 1024 * 1024
# What is kept of orders that can no longer run; those that still could are kept whatever they take.
KEPT_BYTES_MAX = 2 * 1024 * 1024
_FILE_BYTES_MAX = 256 * 1024 * 1024


class LedgerUnavailable(RuntimeError):
    """The ledger cannot be trusted or written, so nothing may run; the text says why and what to do."""


class Entry(NamedTuple):
    """One order as the ledger knows it. `payload` and `mac` (hex) are its sealed outcome, empty while it has none.

    `permit` says what a used permit was used for, as canonical JSON; empty for an order.
    """

    order_id: str
    boot_id: str
    epoch: int
    expires_clock_ms: int
    action: str = ""
    began: bool = False
    started_clock_ms: int = 0
    payload: str = ""
    mac: str = ""
    permit: str = ""

    @property
    def ended(self) -> bool:
        """Whether the order has its one end."""
        return bool(self.mac)


class Ledger:
    """The open ledger. What writes returns after fsync, or raises LedgerUnavailable with nothing half written."""

    def __init__(self, folder: str) -> None:
        self.path = os.path.join(folder, FILE_NAME)
        self._lock = threading.Lock()
        self._broken = ""
        self.entries: dict[str, Entry] = {}
        self._folder_fd = _lock_folder(folder)
        try:
            self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            os.close(self._folder_fd)
            raise LedgerUnavailable(f"cannot open {self.path}: {error.strerror}") from error
        try:
            self._size = self._load()
            os.fsync(self._folder_fd)
        except (OSError, LedgerUnavailable) as error:
            self.close()
            raise LedgerUnavailable(
                f"cannot read {self.path}: {error}" if isinstance(error, OSError) else str(error)
            ) from error

    def close(self) -> None:
        """Give the files back; what was written stays."""
        os.close(self._fd)
        os.close(self._folder_fd)

    @property
    def epoch(self) -> int:
        """The highest epoch of any order seen."""
        return max((entry.epoch for entry in self.entries.values()), default=0)

    def get(self, order_id: str) -> Entry | None:
        """What is known of an order."""
        return self.entries.get(order_id)

    def unfinished(self) -> list[Entry]:
        """Orders that were begun and have no end: their effect is unknown, they must never run again."""
        return [entry for entry in self.entries.values() if not entry.ended]

    def permits(self) -> list[Entry]:
        """The permits that were used, or refused for good, oldest first."""
        return [entry for entry in list(self.entries.values()) if entry.permit]

    def begin(self, entry: Entry) -> None:
        """Note that the order starts. Durable on return."""
        with self._lock:
            if entry.order_id in self.entries:
                raise LedgerUnavailable(f"cannot begin {entry.order_id}: it was begun before")
            began = entry._replace(began=True)
            self._append(_begin_record(began))
            self.entries[entry.order_id] = began

    def end(self, entry: Entry, payload: str, mac: str) -> None:
        """Note the one end of an order, begun or refused. Durable on return."""
        with self._lock:
            known = self.entries.get(entry.order_id)
            if known is not None and known.ended:
                raise LedgerUnavailable(f"cannot end {entry.order_id}: it has ended before")
            ended = (known or entry)._replace(payload=payload, mac=mac)
            self._append(_end_record(ended))
            self.entries[entry.order_id] = ended

    def compact(self, boot_id: str, clock_ms: int, *, over_bytes: int = COMPACT_BYTES) -> bool:
        """Once the file is large, keep what may still be asked for: orders not expired, and the last 1000 within a size."""
        with self._lock:
            if self._size <= over_bytes:
                return False
            kept = self._kept(boot_id, clock_ms)
            lines = b"".join(_line(record) for entry in kept for record in _records(entry))
            lines += _line({"kind": "epoch", "epoch": self.epoch})
            try:
                self._replace(lines)
            except OSError as error:
                raise LedgerUnavailable(f"cannot compact {self.path}: {error.strerror}") from error
            self.entries = {entry.order_id: entry for entry in kept} | self._epoch_entry(self.epoch)
            return True

    def _kept(self, boot_id: str, clock_ms: int) -> list[Entry]:
        """In the order of the file. Newest first while the size lasts; what could still run is kept in any case."""
        kept, spent, permits = [], 0, 0
        for rank, entry in enumerate(reversed([e for e in self.entries.values() if e.order_id])):
            spent += len(entry.payload)
            alive = not entry.ended or (entry.boot_id == boot_id and entry.expires_clock_ms > clock_ms)
            permits += bool(entry.permit)
            alive = alive or (bool(entry.permit) and permits <= PERMITS_KEPT)
            if alive or (rank < ENDS_KEPT and spent <= KEPT_BYTES_MAX):
                kept.append(entry)
        return kept[::-1]

    def _replace(self, lines: bytes) -> None:
        fresh = f"{self.path}.new"
        fd = os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            write_all(fd, lines)
            os.fsync(fd)
            os.replace(fresh, self.path)
        except OSError:
            os.close(fd)
            raise
        # From here on the old file has no name: what would be written to it would be lost.
        os.close(self._fd)
        self._fd, self._size = fd, len(lines)
        try:
            sync_folder(os.path.dirname(self.path))
        except OSError as error:
            self._broken = f"cannot write {self.path}: its folder cannot be synced: {error.strerror}; restart after repair"
            raise

    def _append(self, record: dict[str, object]) -> None:
        if self._broken:
            raise LedgerUnavailable(self._broken)
        line = _line(record)
        try:
            write_all(self._fd, line)
            os.fsync(self._fd)
        except OSError as error:
            self._take_back()
            raise LedgerUnavailable(f"cannot write {self.path}: {error.strerror}; free space on its filesystem") from error
        self._size += len(line)

    def _take_back(self) -> None:
        """Remove half a line. If even that fails, nothing more is written before a restart: a line after it would be lost."""
        try:
            os.ftruncate(self._fd, self._size)
            os.fsync(self._fd)
        except OSError as error:
            self._broken = f"cannot write {self.path}: half a line cannot be removed: {error.strerror}; restart after repair"

    def _load(self) -> int:
        size = os.fstat(self._fd).st_size
        if size > _FILE_BYTES_MAX:
            raise LedgerUnavailable(
                f"cannot read {self.path}: larger than {_FILE_BYTES_MAX} bytes; move it away and enrol again"
            )
        data = b""
        while len(data) < size and (piece := os.pread(self._fd, size - len(data), len(data))):
            data += piece
        whole = data.rfind(b"\n") + 1
        for number, line in enumerate(data[:whole].split(b"\n")[:-1], 1):
            self._take(line, number)
        if whole < len(data):  # torn: the write was never confirmed, so nothing was started on its word
            os.ftruncate(self._fd, whole)
            os.fsync(self._fd)
        return whole

    def _take(self, line: bytes, number: int) -> None:
        try:
            fits = self._apply(_verified(line))
        except (KeyError, ValueError):
            fits = False  # whole, but not of a form that this version writes
        if not fits:
            raise LedgerUnavailable(
                f"cannot trust {self.path}: line {number} is damaged; orders are refused until a person has looked: "
                f"compare it with the controller's audit, then move the file away"
            )

    def _apply(self, record: dict[str, object] | None) -> bool:
        """Take one record in; False if it does not fit what came before it."""
        kind, order_id = (record.get("kind"), str(record.get("order_id", ""))) if record else ("", "")
        known = self.entries.get(order_id)
        if record and kind == "begin" and known is None:
            self.entries[order_id] = _entry(record, began=True)
            return True
        if record and kind == "end" and (known is None or not known.ended):
            begun = known or _entry(record)
            self.entries[order_id] = begun._replace(payload=str(record["payload"]), mac=str(record["mac"]))
            return True
        if record and kind == "epoch":
            self.entries.update(self._epoch_entry(int(str(record["epoch"]))))
            return True
        return False

    @staticmethod
    def _epoch_entry(epoch: int) -> dict[str, Entry]:
        """The highest epoch of forgotten orders, under the one id that no order can have."""
        return {"": Entry("", "", epoch, 0, payload="-", mac="-")}


def _lock_folder(folder: str) -> int:
    """One executor at a time: two would each believe that they alone write."""
    try:
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise LedgerUnavailable(f"cannot open {folder}: {error.strerror}; it is made at installation") from error
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(fd)
        raise LedgerUnavailable(f"cannot lock {folder}: another executor uses it") from error
    return fd


def _line(record: dict[str, object]) -> bytes:
    text = json.dumps(record, separators=(",", ":"), sort_keys=True).encode()
    return b'{"record":%b,"sum":"%08x"}\n' % (text, zlib.crc32(text))


def _verified(line: bytes) -> dict[str, object] | None:
    """The record of a line, None if the line is not one that was written here."""
    text, sum_text = line[len(b'{"record":') : -len(b',"sum":"00000000"}')], line[-10:-2]
    if b'{"record":%b,"sum":"%b"}' % (text, sum_text) != line or sum_text != b"%08x" % zlib.crc32(text):
        return None
    record = json.loads(text)
    return record if isinstance(record, dict) else None


def _records(entry: Entry) -> list[dict[str, object]]:
    begun = [_begin_record(entry)] if entry.began else []
    return begun + ([_end_record(entry)] if entry.ended else [])


def _begin_record(entry: Entry) -> dict[str, object]:
    return {"kind": "begin", **_common(entry)}


def _end_record(entry: Entry) -> dict[str, object]:
    return {"kind": "end", **_common(entry), "payload": entry.payload, "mac": entry.mac}


def _common(entry: Entry) -> dict[str, object]:
    return {
        **({"permit": entry.permit} if entry.permit else {}),
        "order_id": entry.order_id,
        "boot_id": entry.boot_id,
        "epoch": entry.epoch,
        "expires_clock_ms": entry.expires_clock_ms,
        "action": entry.action,
        "started_clock_ms": entry.started_clock_ms,
    }


def _entry(record: dict[str, object], *, began: bool = False) -> Entry:
    return Entry(
        order_id=str(record["order_id"]),
        boot_id=str(record["boot_id"]),
        epoch=int(str(record["epoch"])),
        expires_clock_ms=int(str(record["expires_clock_ms"])),
        action=str(record["action"]),
        began=began,
        started_clock_ms=int(str(record["started_clock_ms"])),
        permit=str(record.get("permit", "")),
    )
