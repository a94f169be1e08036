"""Sections of declarations: what they derive, what they tell hosts, and what happens where two declarations meet."""

from __future__ import annotations

import pytest

from fleetmend_controller.declarations import merge
from fleetmend_controller.declarations.schema import DeclarationFile
from fleetmend_controller.declarations.section import sections, told_to_hosts, whole_file


def test_every_section_has_a_default_that_derives_and_tells_nothing():
    declaration = whole_file().model_validate({"declare": "bare", "owner": "nobody"})
    assert isinstance(declaration, DeclarationFile)
    assert [check for name, s in sections().items() for check in s.derive(getattr(declaration, name), declaration)] == []
    assert told_to_hosts(declaration) == {}


@pytest.mark.parametrize("name", sorted(sections()))
def test_every_section_says_what_it_is_for(name):
    assert sections()[name].doc.endswith(".")
    assert name not in DeclarationFile.model_fields


def test_what_several_declarations_tell_is_united():
    parts = [{"files": {"/a": 1}, "users": ["x"], "zone": "UTC"}, {"files": {"/b": 2}, "users": ["x", "y"], "zone": "UTC"}]
    assert merge.merged(parts) == {"files": {"/a": 1, "/b": 2}, "users": ["x", "y"], "zone": "UTC"}


def test_where_they_disagree_is_named():
    mine = {"files": {"/a": 1, "/b": 2}, "users": ["x"], "zone": "UTC", "only": 1}
    theirs = {"files": {"/a": 1, "/b": 3}, "users": ["y"], "zone": "CET"}
    assert merge.disagreements(mine, theirs) == [("files", "/b"), ("zone",)]
