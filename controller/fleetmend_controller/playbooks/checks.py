"""From the files in checks/ to checks that hosts run."""

from __future__ import annotations

from dataclasses import dataclass

from ..rules import CheckSpec, SelectedCheck
from .book import Book, selector
from .judge import try_validate, validate
from .params import read_params, with_defaults
from .schema import CheckModel, ChecksFile
from .text import Document, Path, did_you_mean, shown


@dataclass(frozen=True, slots=True)
class BuiltCheck:
    """One check with where it came from."""

    document: Document
    path: Path
    selected: SelectedCheck


def build_checks(book: Book, document: Document) -> list[BuiltCheck]:
    """The checks of one file. Those that are understood stand even if a neighbour is not: every problem is found at once."""
    whole = validate(document, (), ChecksFile, book.problems)
    if whole is None:
        book.complete = False
    listed = document.node(("checks",))
    built = []
    for index in range(len(listed.items) if listed else 0):
        model = try_validate(document, ("checks", index), CheckModel)
        check = None if model is None else _build(book, document, ("checks", index), model)
        if check is not None:
            built.append(check)
    return built


def _build(book: Book, document: Document, path: Path, model: CheckModel) -> BuiltCheck | None:
    fresh = book.claim("check", model.name, document, (*path, "name"))
    spec = book.catalogue.checks.get(model.type)
    if model.name in book.catalogue.checks and model.name != model.type:
        text = f"cannot name a check {model.name}: that is a check type, and this check is of type {shown(model.type)}"
        book.problems.append(document.problem((*path, "name"), text))
    if spec is None:
        book.complete = False
        text = f"cannot find the check type {shown(model.type)}: {did_you_mean(model.type, book.catalogue.checks)}"
        book.problems.append(document.problem((*path, "type"), text))
        return None
    if spec.told_by:
        book.complete = False
        text = f"cannot run a check of type {spec.name} on hosts: {spec.told_by} tells of it; playbooks may answer it without"
        book.problems.append(document.problem((*path, "type"), text))
        return None
    params = read_params(document, path, spec, book.problems)
    check = CheckSpec(
        name=model.name,
        type=model.type,
        params=with_defaults(spec, params),
        every_ms=round(spec.every_s * 1000) if model.every is None else model.every,
        timeout_ms=round(spec.timeout_s * 1000) if model.timeout is None else model.timeout,
        confirm_bad=model.confirm.bad,
        confirm_good=model.confirm.good,
    )
    if fresh:
        book.check_types[model.name] = model.type
    return BuiltCheck(document, path, SelectedCheck(selector(model.on), check))
