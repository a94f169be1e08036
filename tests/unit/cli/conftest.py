"""CLI tests run against the office of the admin tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.admin.office import Office

from .shell import Shell


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    """A running admin side."""
    running = Office(tmp_path)
    yield running
    running.close()


@pytest.fixture
def fleetmend(office: Office, tmp_path: Path) -> Shell:
    """The command line, pointed at the office."""
    return Shell(office.socket, tmp_path)
