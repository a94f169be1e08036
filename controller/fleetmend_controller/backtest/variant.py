"""The rules that were in force, with one playbook changed or added."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from ..core.model import Playbook
from ..core.policy import Policy
from ..playbooks.load import compile_rules
from ..rules import Problem, RulesError


class VariantError(ValueError):
    """A playbook or a limit that cannot be tried; the text says why and where."""


@dataclass(frozen=True, slots=True)
class Variant:
    """The playbook to try: its file name, its text, and limits (`fleet.percent` to `5`) that replace those in the text."""

    file: str
    text: str
    limits: tuple[tuple[str, str], ...] = ()

    @property
    def name(self) -> str:
        """What the playbook calls itself; VariantError if it has no name."""
        name = _loaded(self.text).get("playbook")
        if not isinstance(name, str):
            raise VariantError(f"cannot try {self.file}: it has no line `playbook: NAME`")
        return name


def put_in(documents: Mapping[str, str], variant: Variant) -> dict[str, str]:
    """The documents with the playbook in them: in the place of the one of the same name, else as a further file."""
    name = variant.name
    replaced = [path for path, text in documents.items() if path.startswith("playbooks/") and _name_of(text) == name]
    place = replaced[0] if replaced else _free_place(documents, variant.file)
    return {**documents, place: _limited(variant)}


def compile_with(documents: Mapping[str, str], variant: Variant) -> tuple[Policy, Playbook]:
    """The policy and the playbook in it. VariantError with every problem when they cannot be used together."""
    try:
        policy = compile_rules(put_in(documents, variant)).policy
    except RulesError as error:
        hint = "" if not variant.limits else " (with the limits given; they are judged like those in the file)"
        raise VariantError(f"cannot try {variant.file}{hint}:\n{_shown(error.problems)}") from error
    return policy, next(playbook for playbook in policy.playbooks if playbook.name == variant.name)


def parse_limits(given: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """From `fleet.percent=5` to names and values."""
    pairs = []
    for text in given:
        name, mark, value = text.partition("=")
        if not mark or not name or not value:
            raise VariantError(f"cannot read the limit {text!r}: write it like fleet.percent=5 or attempts.backoff=30s")
        pairs.append((name, value))
    return tuple(pairs)


def _limited(variant: Variant) -> str:
    if not variant.limits:
        return variant.text
    model = _loaded(variant.text)
    limits = model.setdefault("limits", {})
    for path, value in variant.limits:
        *parents, last = path.split(".")
        place = limits
        for parent in parents:
            place = place.setdefault(parent, {})
            if not isinstance(place, dict):
                raise VariantError(f"cannot set the limit {path}: {parent} has no parts")
        place[last] = int(value) if value.isascii() and value.isdigit() else value
    return yaml.safe_dump(model, sort_keys=False, allow_unicode=True, width=10_000)


def _loaded(text: str) -> dict[str, Any]:
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise VariantError(f"cannot read the playbook: {error}") from error
    return value if isinstance(value, dict) else {}


def _name_of(text: str) -> object:
    try:
        return _loaded(text).get("playbook")
    except VariantError:
        return None


def _free_place(documents: Mapping[str, str], file: str) -> str:
    base = file.rpartition("/")[2].removesuffix(".yaml") or "playbook"
    place = f"playbooks/{base}.yaml"
    while place in documents:
        place = place.removesuffix(".yaml") + "-tried.yaml"
    return place


def _shown(problems: Sequence[Problem]) -> str:
    return "\n".join(str(problem) for problem in problems[:20])
