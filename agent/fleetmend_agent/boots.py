"""Which boot the agent saw last, and whether that boot ended in order: what unexpected_reboot knows of the time before it.

`boot.json` in the agent's folder says which boot runs. An agent that is stopped notes it there: an orderly end of the machine
stops it too. Whoever reboots on purpose by harder means leaves `planned-reboot` beside it. What is judged once stays judged for
that boot, however often the agent is restarted in it.
"""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from .log import LOG

if TYPE_CHECKING:
    from .host import Host

FOLDER, FOLDER_DEFAULT = "state_dir", "/var/lib/fleetmend-agent"
FILE = "boot.json"
PLANNED = "planned-reboot"
_FILE_BYTES_MAX = 4096
# Of /proc/PID/stat, behind the name.
_START_FIELD = 19


@dataclass(frozen=True, slots=True)
class Boot:
    """One boot as `current` names it.

    `stopped`: the agent was stopped in it. `unexpected`: the boot before it, `previous`, ended without a word.
    """

    boot_id: str
    stopped: bool = False
    unexpected: bool = False
    previous: str = ""


def current(host: Host) -> str:
    """Which boot runs: the kernel's id and when process 1 began, since a container boots without its kernel. Raises OSError."""
    return f"{host.boot_id()} {first_process_ticks(host)}"


def first_process_ticks(host: Host) -> int:
    """When process 1 began, in clock ticks of the kernel's uptime; 0 if it may not be seen."""
    try:
        words = host.read_text("/proc/1/stat", _FILE_BYTES_MAX).rpartition(")")[2].split()
        return int(words[_START_FIELD])
    except (OSError, ValueError, IndexError):
        return 0


def read(host: Host, folder: str) -> Boot | None:
    """What was noted last; None if nothing was, or nothing that can be used."""
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError, RecursionError):
        values = json.loads(host.read_text(f"{folder}/{FILE}", _FILE_BYTES_MAX))
        return Boot(
            str(values["boot_id"]), values["stopped"] is True, values["unexpected"] is True, str(values.get("previous", ""))
        )
    return None


def is_planned(host: Host, folder: str, boot_id: str) -> bool:
    """Whether somebody announced the end of that boot: the mark names it, or was set after the agent noted that boot."""
    try:
        text = host.read_text(f"{folder}/{PLANNED}", _FILE_BYTES_MAX)
        return (
            boot_id.partition(" ")[0] in text
            or host.stat(f"{folder}/{PLANNED}").st_mtime >= host.stat(f"{folder}/{FILE}").st_mtime
        )
    except OSError:
        return False


def begin(host: Host, folder: str, boot_id: str) -> Boot:
    """Notes that this boot runs, and what is to be thought of the end of the one before. A first boot has none before it."""
    host.kept[FOLDER] = folder
    last = read(host, folder)
    if last is None:
        now = Boot(boot_id)
    elif last.boot_id == boot_id:
        now = Boot(boot_id, unexpected=last.unexpected, previous=last.previous)
    else:
        unexpected = not last.stopped and not is_planned(host, folder, last.boot_id)
        now = Boot(boot_id, unexpected=unexpected, previous=last.boot_id)
        with contextlib.suppress(OSError):
            os.unlink(host.path(f"{folder}/{PLANNED}"))
    _write(host, folder, now)
    return now


def end(host: Host, folder: str, boot: Boot) -> None:
    """Notes that the agent was stopped in order."""
    _write(host, folder, Boot(boot.boot_id, stopped=True, unexpected=boot.unexpected, previous=boot.previous))


def _write(host: Host, folder: str, boot: Boot) -> None:
    path = host.path(f"{folder}/{FILE}")
    try:
        with open(f"{path}.new", "w", encoding="utf-8") as file:
            json.dump(asdict(boot), file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(f"{path}.new", path)
    except OSError as error:
        LOG.warning("cannot note which boot runs: %s; an unexpected reboot may be missed", error)
