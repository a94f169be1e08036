"""A start from cold pays for every module: what an order does not need is not loaded for it."""

from __future__ import annotations

from tests.unit.executor.world import POLICY, opened

# Each takes a tenth of the whole start and more (tests/bench/executor_cold.py). `dataclasses` and `pkgutil` load `inspect`.
COSTLY = ("argparse", "asyncio", "dataclasses", "inspect", "pkgutil", "logging", "pathlib", "yaml")


def test_a_usual_order_loads_no_costly_module(host, monkeypatch):
    host.policy.write_text(POLICY + "  nothing: {argv: [/bin/true]}\n")
    host.start()
    host.order("ord-1", "nothing")  # the policy is remembered from here on
    host.stop()
    monkeypatch.setenv("PYTHONPROFILEIMPORTTIME", "1")
    host.start()
    assert opened(host.order("ord-2", "nothing"))["outcome"] == "done"
    loaded = [line.rpartition("|")[2].strip() for line in host.stop().splitlines() if line.startswith("import time:")]
    assert "fleetmend_executor.run" in loaded
    assert [name for name in loaded if name in COSTLY] == []
