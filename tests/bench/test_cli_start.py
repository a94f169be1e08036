"""The command line starts within its budget."""

from __future__ import annotations

from tests.bench import cli_start


def test_the_command_line_starts_within_its_budget():
    assert cli_start.main() == 0
