"""The catalogue in git says what the code of agent and executor says now, and hangs together."""

from __future__ import annotations

import json

import pytest

from fleetmend.catalogue import PARAM_KINDS, CatalogueError, load_catalogue, parse_catalogue
from tests.tools import catalogue as generator

CATALOGUE = load_catalogue()
THINGS = [*CATALOGUE.checks.values(), *CATALOGUE.actions.values()]


def test_the_catalogue_is_that_of_the_registries():
    assert generator.FILE.read_text("utf-8") == generator.render(), "catalogue.json differs from the code; run make protos"


def test_the_page_for_people_is_that_of_the_catalogue():
    page = generator.PAGE.read_text("utf-8")
    assert page == generator.page(CATALOGUE), "docs/catalogue.md differs from the code; run make protos"
    assert all(f"### {thing.name}\n" in page for thing in THINGS)


def test_there_is_something_to_check_and_to_do():
    assert {"unit_failed", "http_endpoint", "filesystem_space"} <= set(CATALOGUE.checks)
    assert {"restart_unit", "clear_directory", "collect_evidence"} <= set(CATALOGUE.actions)


@pytest.mark.parametrize("thing", THINGS, ids=lambda thing: thing.name)
def test_every_parameter_has_a_known_kind_a_text_and_a_default_or_is_required(thing):
    for param in thing.params:
        assert param.kind in PARAM_KINDS, param
        assert param.doc, param
        assert param.required or param.default is not None, param


@pytest.mark.parametrize("action", CATALOGUE.actions.values(), ids=lambda action: action.name)
def test_an_action_names_checks_that_exist_and_a_known_cost(action):
    assert set(action.proved_by) <= set(CATALOGUE.checks)
    assert action.cost in {"harmless", "disruptive", "destructive"}
    assert action.timeout_s > 0


def test_whoever_gives_a_check_nothing_is_told_what_it_needs():
    values, errors = CATALOGUE.validate_params("check", "unit_active", {})
    assert values == {"desired": "running", "grace": 30_000}
    assert len(errors) == 1
    assert errors[0].startswith("cannot do without parameter 'unit'")


def test_a_catalogue_of_another_version_is_refused():
    document = json.loads(generator.render()) | {"version": 2}
    with pytest.raises(CatalogueError, match="cannot read the catalogue: it has version 2"):
        parse_catalogue(json.dumps(document))


@pytest.mark.parametrize("text", ["", "[]", '{"version": 1}', '{"version": 1, "checks": {"x": {}}, "actions": {}}', "\x00"])
def test_a_broken_catalogue_is_refused(text):
    with pytest.raises(CatalogueError, match="cannot read the catalogue"):
        parse_catalogue(text)
