"""One lab of three hosts for the whole session. Without root or the tools the tests are skipped, unless the lab is demanded."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.fleet import LAB, Fleet

AGENTS = ("web-1", "web-2", "web-3")
STATE = Path("/var/lib/fleetmend-lab-test")
REQUIRED = os.environ.get("FLEETMEND_LAB_REQUIRED") == "1" or os.environ.get("CI") == "true"
KEEP = os.environ.get("FLEETMEND_LAB_KEEP") == "1"
UP_TIMEOUT_S = 900.0


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.lab)


def unable() -> str:
    """Why this machine cannot hold a lab, or nothing."""
    if os.geteuid() != 0:
        return "the lab needs root"
    missing = [tool for tool in ("mmdebstrap", "systemd-nspawn", "ip") if shutil.which(tool) is None]
    return f"the lab needs {', '.join(missing)}" if missing else ""


@pytest.fixture(scope="session")
def lab_machine() -> None:
    """Skips, or fails where the lab is demanded, on a machine that cannot hold one."""
    reason = unable()
    if not reason:
        return
    if REQUIRED:
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def session_fleet(lab_machine: None) -> Iterator[Fleet]:
    """The lab with the product, up for the session. FLEETMEND_LAB_KEEP=1 leaves it for a look, and takes one that was left."""
    fleet = Fleet(STATE, AGENTS)
    if KEEP and "web-1" in fleet.must("status"):
        yield fleet
        return
    fleet.must("down")
    argv = [sys.executable, str(LAB), "--state", str(STATE), "up", "--hosts", str(len(AGENTS)), "--package", "libfaketime"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=UP_TIMEOUT_S, check=False)
    try:
        if done.returncode != 0:
            pytest.fail(f"lab up: {done.stderr[-4000:]}")
        yield fleet
    finally:
        if not KEEP:
            fleet.must("down")


@pytest.fixture
def fleet(session_fleet: Fleet) -> Fleet:
    """The lab, calm: every agent connected, nothing open from the test before."""
    if not session_fleet.calm():
        session_fleet.repair()
    session_fleet.rest(90, "before the test")
    return session_fleet
