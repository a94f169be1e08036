"""docs/json.md says what the protocol says."""

from __future__ import annotations

from tests.tools import json_reference


def test_the_reference_is_up_to_date():
    assert json_reference.TARGET.read_text("utf-8") == json_reference.reference(), (
        "run python -m tests.tools.json_reference --write"
    )


def test_every_field_that_a_command_prints_has_a_meaning():
    rows = [line for line in json_reference.reference().splitlines() if line.startswith("| `")]
    assert [row for row in rows if row.endswith("|  |")] == []
    assert len(rows) > 150
