"""What several parts of the controller's tests begin with."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """An empty database of this version."""
    # Not for all: the tests of the core begin without a database, hundreds of times when mutants are tried.
    from fleetmend_controller.store.migrate import upgrade

    path = tmp_path / "fleetmend.db"
    upgrade(f"sqlite:///{path}")
    return path
