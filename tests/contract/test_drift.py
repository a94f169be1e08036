"""What is generated and kept in git equals what its source gives now."""

from __future__ import annotations

import pytest

from fleetmend_controller.core.model import Phase
from fleetmend_controller.core.transitions import TABLE, Row, Trigger
from tests.tools import catalogue, drawing, stubs


def test_the_stubs_are_those_of_the_protocol(tmp_path):
    made = stubs.generate(tmp_path)
    assert made
    for path in made:
        kept = stubs.PROTOS / path
        assert kept.exists(), f"{path} is missing; run make protos"
        assert kept.read_text() == (tmp_path / path).read_text(), f"{path} differs from its source; run make protos"


def test_no_stub_is_left_of_a_protocol_that_is_gone(tmp_path):
    made = {str(path) for path in stubs.generate(tmp_path)}
    kept = {
        str(path.relative_to(stubs.PROTOS))
        for path in stubs.PROTOS.glob("fleetmend/**/*_pb2*.py*")
        if "__pycache__" not in path.parts
    }
    assert kept == made


def test_the_catalogue_is_that_of_checks_and_actions():
    assert catalogue.FILE.read_text() == catalogue.render(), "the catalogue differs from the code; run make protos"


def test_the_drawing_is_that_of_the_transitions():
    page = drawing.PAGE.read_text()
    assert drawing.BEGIN in page, "the drawing is missing; run make fmt"
    assert drawing.replaced(page, drawing.draw(TABLE)) == page, "the drawing differs from the table; run make fmt"


def test_every_phase_is_in_the_drawing():
    text = drawing.draw(TABLE)
    assert all(phase.value in text for phase in Phase)
    assert f"{Phase.RESOLVED.value} --> [*]" in text


def test_a_changed_table_changes_the_drawing():
    changed = (*TABLE, Row((Phase.RESOLVED,), Trigger.HOLD, Phase.OPEN, "Never."))
    assert drawing.draw(changed) != drawing.draw(TABLE)


def test_a_page_that_lost_its_end_marker_is_refused():
    with pytest.raises(ValueError, match="cannot replace"):
        drawing.replaced(f"text\n{drawing.BEGIN}\nrest", "new")
