"""What this lab consists of, on disk before it exists: `down` must find everything after a kill at any instant.

Every name (namespace, mount point, container directory) is derived from the state directory, so that `down` finds what
it started even when the record was never written, and can never touch the things of another lab.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING

from .machine import LabError, Process

if TYPE_CHECKING:
    from collections.abc import Iterator

STATE_DIRECTORY = Path("/var/lib/fleetmend-lab")
CACHE_DIRECTORY = Path("/var/cache/fleetmend-lab")
CONTROLLER = "ctl"
NETWORK = "198.18.0"
HOSTS_MAX = 50
LOCK_EVERY_S = 0.5


@dataclass
class Host:
    """One system of the lab. `leader` is its PID 1 as seen from outside."""

    name: str
    address: str
    role: str
    layers: list[str] = field(default_factory=list)
    nspawn: Process | None = None
    leader: Process | None = None
    partitioned: bool = False

    def running(self) -> bool:
        """Whether its PID 1 lives."""
        return self.leader is not None and self.leader.alive()


@dataclass
class Lab:
    """All hosts of one state directory."""

    directory: Path
    product: str = ""
    hosts: dict[str, Host] = field(default_factory=dict)

    @property
    def tag(self) -> str:
        """Short name of this lab, unique to its state directory."""
        return "fml" + hashlib.sha256(str(self.directory).encode()).hexdigest()[:6]

    def host_directory(self, name: str) -> Path:
        """Where the host's overlay lies."""
        return self.directory / "hosts" / name

    def root_of(self, name: str) -> Path:
        """The host's root as mounted outside."""
        return self.host_directory(name) / "root"

    def namespace_of(self, name: str) -> str:
        """The host's network namespace."""
        return f"{self.tag}-{name}"

    def host(self, name: str) -> Host:
        """The host of that name; LabError with the names there are."""
        if name not in self.hosts:
            known = ", ".join(sorted(self.hosts)) or "none, run: lab up"
            raise LabError(f"cannot find host {name}: the lab has {known}")
        return self.hosts[name]

    def save(self) -> None:
        """Writes the record in one step."""
        self.directory.mkdir(parents=True, exist_ok=True)
        record = {"product": self.product, "hosts": [asdict(host) for host in self.hosts.values()]}
        fresh = self.directory / "lab.json.new"
        fresh.write_text(json.dumps(record, indent=1))
        fresh.replace(self.directory / "lab.json")


def load(directory: Path) -> Lab:
    """The lab of a state directory; an empty one if nothing is recorded."""
    try:
        record = json.loads((directory / "lab.json").read_text())
    except FileNotFoundError:
        return Lab(directory)
    except json.JSONDecodeError as error:
        raise LabError(f"cannot read {directory}/lab.json: {error}; take the lab down with: lab down") from error
    lab = Lab(directory, product=record["product"])
    for entry in record["hosts"]:
        for part in ("nspawn", "leader"):
            entry[part] = Process(**entry[part]) if entry[part] else None
        lab.hosts[entry["name"]] = Host(**entry)
    return lab


@contextlib.contextmanager
def locked(directory: Path, wait_s: float = 0.0) -> Iterator[None]:
    """Holds a directory of the lab for one command at a time; waits so long for another command to let go of it."""
    directory.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + wait_s
    with (directory / "lock").open("w") as handle:
        while not _taken(handle):
            if time.monotonic() >= deadline:
                raise LabError(f"cannot change {directory}: another lab command is at work on it; wait for it")
            time.sleep(LOCK_EVERY_S)
        yield


def _taken(handle: IO[str]) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
