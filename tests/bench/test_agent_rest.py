"""The agent at rest keeps to its figures."""

from __future__ import annotations

from tests.bench import agent_rest


def test_the_agent_at_rest_keeps_to_its_figures():
    assert agent_rest.main([]) == 0
