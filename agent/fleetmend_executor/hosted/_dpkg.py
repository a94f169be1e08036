"""dpkg and apt, asked and told without questions back, and only while nobody else works with them."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import time
from dataclasses import dataclass

from ..actions import Refused
from ..commands import ENVIRONMENT
from ..run import ActionFailed

LOCKS = ("/var/lib/dpkg/lock-frontend", "/var/lib/dpkg/lock")
LOCK_TRIES = 5
TIMEOUT_S = 540.0
OUTPUT_CHARS_MAX = 8000
QUIET = {"DEBIAN_FRONTEND": "noninteractive", "APT_LISTCHANGES_FRONTEND": "none", "NEEDRESTART_SUSPEND": "1"}
OPTIONS = ("--force-confdef", "--force-confold")


@dataclass(frozen=True, slots=True)
class Done:
    """How a tool ended."""

    exit: int
    output: str


def run(*argv: str) -> Done:
    """One tool of the package manager, without a terminal. Raises ActionFailed when it does not end."""
    try:
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, env=ENVIRONMENT | QUIET, timeout=TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise ActionFailed("timeout", f"cannot finish {argv[0]} within {TIMEOUT_S:.0f} s") from error
    except OSError as error:
        raise ActionFailed("cannot_start", f"cannot start {argv[0]}: {error.strerror}") from error
    text = (done.stdout + done.stderr).decode("utf-8", "replace")
    return Done(done.returncode, text[-OUTPUT_CHARS_MAX:])


def require_free() -> None:
    """Refused while a package manager holds one of dpkg's locks. Nothing is ever taken away from it."""
    for path in LOCKS:
        for attempt in range(LOCK_TRIES):
            if _is_free(path):
                break
            if attempt + 1 == LOCK_TRIES:
                raise Refused("package_manager_busy", f"cannot touch packages: somebody holds {path}")
            time.sleep(0.5)


def _is_free(path: str) -> bool:
    try:
        fd = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    try:
        fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in {errno.EACCES, errno.EAGAIN}:
            return False
        raise
    finally:
        os.close(fd)
    return True


def installed(name: str) -> tuple[str, str]:
    """What is wanted of a package (install, hold) and its version, if it is installed. Refused otherwise."""
    found = look_up(name)
    if found is None:
        raise Refused("not_installed", f"cannot change {name}: it is not installed")
    return found


def look_up(name: str) -> tuple[str, str] | None:
    """As `installed`; None for a package that was removed or never there."""
    done = run("dpkg-query", "--show", "--showformat=${db:Status-Want} ${db:Status-Status} ${Version}\n", "--", name)
    words = done.output.split()
    if done.exit or len(words) != 3:
        return None
    wanted, status, version = words
    return None if status in {"config-files", "not-installed"} else (wanted, version)
