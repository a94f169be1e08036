from __future__ import annotations

import pytest

from tests.unit.executor.world import ExecutorHost


@pytest.fixture
def host():
    made = ExecutorHost()
    yield made
    made.close()
