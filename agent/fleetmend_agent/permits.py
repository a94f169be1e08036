"""What this host may do alone, what of it was used and told, and what was tried: in files, so that it outlives this process."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fleetmend import permits as shared
from fleetmend.permits import PermitSet
from fleetmend.v1 import link_pb2 as pb

from . import identity
from .log import LOG

PERMITS_FILE = "permits.json"
STATE_FILE = "alone.json"
FILE_BYTES_MAX = 1 << 20
TARGETS_MAX = 256
REMEMBERED_MAX = 128
FORGET_MS = 3_600_000


@dataclass(slots=True)
class Tries:
    """What was tried on one target: how often, when last, and how often in a row without proof."""

    count: int = 0
    last_clock_ms: int = 0
    unproved: int = 0


@dataclass(slots=True)
class Permits:
    """The set in force, unread by nobody: the executor verifies its seal. `used` and `told` hold ids of permits."""

    folder: Path
    boot_id: str
    held: PermitSet | None = None
    sealed: tuple[bytes, bytes] | None = None
    tries: dict[str, Tries] = field(default_factory=dict)
    used: dict[str, None] = field(default_factory=dict)
    told: dict[str, None] = field(default_factory=dict)

    def load(self) -> None:
        """What an earlier process wrote. What cannot be read is gone: the executor's ledger still knows what was used."""
        self._load_set()
        self._load_state()

    def take(self, sealed: pb.SealedPermits) -> bool:
        """A set from the controller replaces an older one. False if it cannot be used."""
        try:
            text = sealed.payload.decode()
            fresh = shared.parse(json.loads(text))
        except (ValueError, RecursionError) as error:
            LOG.warning("cannot use permits: %s", error)
            return False
        if fresh.boot_id != self.boot_id or (self.held is not None and fresh.age < self.held.age):
            return False
        self.held, self.sealed = fresh, (sealed.payload, sealed.mac)
        self._write(PERMITS_FILE, {"payload": text, "mac": sealed.mac.hex()})
        return True

    def note_try(self, target: str, now_ms: int, *, proved: bool) -> None:
        """A repair of a target is over."""
        for old in [t for t, tries in self.tries.items() if now_ms - tries.last_clock_ms > FORGET_MS]:
            del self.tries[old]
        while len(self.tries) >= TARGETS_MAX:
            del self.tries[next(iter(self.tries))]
        tries = self.tries.setdefault(target, Tries())
        tries.count, tries.last_clock_ms = tries.count + 1, now_ms
        tries.unproved = 0 if proved else tries.unproved + 1
        self.save()

    def save(self) -> None:
        """Write the state down."""
        for kept in (self.used, self.told):
            while len(kept) > REMEMBERED_MAX:
                del kept[next(iter(kept))]
        tries = {target: [each.count, each.last_clock_ms, each.unproved] for target, each in self.tries.items()}
        self._write(STATE_FILE, {"boot": self.boot_id, "tries": tries, "used": list(self.used), "told": list(self.told)})

    def _load_set(self) -> None:
        try:
            envelope = json.loads(self._read(PERMITS_FILE))
            payload, mac = str(envelope["payload"]).encode(), bytes.fromhex(envelope["mac"])
            held = shared.parse(json.loads(payload))
        except (OSError, ValueError, KeyError, TypeError):
            return
        if held.boot_id == self.boot_id:
            self.held, self.sealed = held, (payload, mac)

    def _load_state(self) -> None:
        try:
            document = json.loads(self._read(STATE_FILE))
            tries = document["tries"] if document["boot"] == self.boot_id else {}
            self.tries = {str(target): Tries(*(int(number) for number in each)) for target, each in tries.items()}
            self.used = dict.fromkeys(map(str, document["used"]))
            self.told = dict.fromkeys(map(str, document["told"]))
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return

    def _read(self, name: str) -> bytes:
        with (self.folder / name).open("rb") as stream:
            return stream.read(FILE_BYTES_MAX)

    def _write(self, name: str, document: dict[str, Any]) -> None:
        try:
            identity.write(self.folder / name, json.dumps(document).encode(), 0o600)
        except OSError as error:
            LOG.warning("cannot write %s: %s", name, error)
