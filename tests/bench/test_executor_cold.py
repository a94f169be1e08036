"""Prints what an order costs on the host, from cold and warm; each ends done."""

from __future__ import annotations

from tests.bench import executor_cold


def test_executor_round_trip():
    executor_cold.measure(20)
