"""Admin tests share the office."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from .office import Office


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    """A running admin side."""
    running = Office(tmp_path)
    yield running
    running.close()
