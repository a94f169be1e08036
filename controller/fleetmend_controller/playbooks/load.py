"""From directories to documents, from documents to rules. Reading touches the disk; compiling is pure."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from fleetmend.catalogue import Catalogue, load_catalogue
from fleetmend.registry import load as load_folder

from ..calendar import window_end
from ..core import gates
from ..core.gates import Gate
from ..core.policy import Policy
from ..declarations.build import build_declaration, find_conflicts
from ..rules import Problem, RulesError, RuleSet
from .book import Book
from .build import BuiltPlaybook, build_playbook
from .checks import build_checks
from .hazards import lint_hazards, lint_permitted
from .lint import lint_checks, lint_declarations, lint_playbooks
from .text import FILE_BYTES_MAX, Document, parse

FOLDERS = ("declarations", "checks", "playbooks")
TOTAL_BYTES_MAX = 10 * 1024 * 1024
FILES_MAX = 5_000
FOLDER_DEPTH_MAX = 4
PROBLEMS_MAX = 1_000
SUFFIX = ".yaml"

T = TypeVar("T")


def read_documents(directories: Sequence[Path]) -> dict[str, str]:
    """The rule files of the directories: relative path, such as `checks/base.yaml`, to text.

    Only regular files that end with .yaml, at most 1 MiB each and 10 MiB in all; hidden files are left out. Raises RulesError.
    """
    documents: dict[str, str] = {}
    problems: list[Problem] = []
    total_bytes = 0
    for directory in directories:
        if not directory.is_dir():
            problems.append(_at_top(str(directory), "cannot read rules: there is no such directory"))
            continue
        for relative, path in _rule_files(directory, problems):
            if relative in documents:
                problems.append(_at_top(relative, f"cannot read {path}: another directory has one of that name; rename it"))
                continue
            text = _read(path, relative, problems)
            total_bytes += len(text)
            documents[relative] = text
            if total_bytes > TOTAL_BYTES_MAX or len(documents) > FILES_MAX:
                limit = f"more than {TOTAL_BYTES_MAX} bytes or {FILES_MAX} files in all"
                raise RulesError((*problems, _at_top(relative, f"cannot read rules: {limit}")))
    if problems:
        raise RulesError(tuple(sorted(problems)))
    return documents


def compile_rules(
    documents: Mapping[str, str], catalogue: Catalogue | None = None, host_policies: Mapping[str, Collection[str]] | None = None
) -> RuleSet:
    """The rules that the documents state. Pure. Raises RulesError with every problem of every document.

    With `host_policies` (file to the actions that it lists) steps that none of them allows are warned about.
    """
    book = Book(catalogue if catalogue is not None else load_catalogue())
    parsed = {folder: _parse_folder(book, documents, folder) for folder in FOLDERS}
    for file in sorted(documents):
        if file.split("/")[0] not in FOLDERS:
            book.problems.append(_at_top(file, f"cannot place this file: rules are in {', '.join(FOLDERS)}"))

    declared = _present(build_declaration(book, document) for document in parsed["declarations"])
    find_conflicts(book, declared)
    checks = [built for document in parsed["checks"] for built in build_checks(book, document)]
    declarations = tuple(built.rule for built in declared)
    playbooks = _present(build_playbook(book, document, declarations) for document in parsed["playbooks"])
    if book.problems:
        raise RulesError(_bounded(sorted(set(book.problems))))

    policy = _policy(digest_of(documents), playbooks)
    lint_declarations(book, declared)
    lint_checks(book, checks, declarations)
    lint_playbooks(book, playbooks)
    derived = [spec for declaration in declarations for spec in declaration.checks]
    lint_hazards(book, playbooks, [*(built.selected.spec for built in checks), *derived])
    if host_policies:
        lint_permitted(book, playbooks, host_policies)
    return RuleSet(
        digest=policy.digest,
        documents=dict(documents),
        policy=policy,
        checks=tuple(built.selected for built in checks),
        declarations=declarations,
        check_types=dict(sorted(book.check_types.items())),
        warnings=tuple(sorted(book.warnings)),
    )


def digest_of(documents: Mapping[str, str]) -> str:
    """The name of the documents by content: SHA-256, in hex, of their canonical JSON."""
    canonical = json.dumps(dict(documents), sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).hexdigest()


def all_gates() -> tuple[Gate, ...]:
    """Every gate, in the order in which people see their answers."""
    return tuple(sorted(load_folder(gates, "GATE", Gate).values(), key=lambda gate: (gate.order, gate.name)))


def _bounded(problems: list[Problem]) -> tuple[Problem, ...]:
    if len(problems) <= PROBLEMS_MAX:
        return tuple(problems)
    last, more = problems[PROBLEMS_MAX - 1], len(problems) - PROBLEMS_MAX
    return (
        *problems[:PROBLEMS_MAX],
        Problem(last.file, last.line, last.column, f"cannot show {more} further problems: mend these first"),
    )


def _present(things: Iterable[T | None]) -> list[T]:
    return [thing for thing in things if thing is not None]


def _policy(digest: str, playbooks: Sequence[BuiltPlaybook]) -> Policy:
    return Policy(
        digest=digest,
        playbooks=tuple(built.playbook for built in playbooks),
        conditions={built.playbook.name: built.condition for built in playbooks if built.condition is not None},
        gates=all_gates(),
        window_end=window_end,
    )


def _parse_folder(book: Book, documents: Mapping[str, str], folder: str) -> list[Document]:
    parsed = []
    for file in sorted(documents):
        if not file.startswith(f"{folder}/"):
            continue
        document, problems = parse(file, documents[file])
        book.problems += problems
        if problems and folder != "playbooks":
            book.complete = False
        if document.root is not None:
            parsed.append(document)
        elif not problems:
            book.warnings.append(_at_top(file, "cannot use an empty file: it says nothing"))
    return parsed


def _rule_files(directory: Path, problems: list[Problem]) -> Iterator[tuple[str, Path]]:
    for folder in FOLDERS:
        if os.path.lexists(directory / folder):
            yield from _rule_files_below(directory / folder, directory, problems)


def _rule_files_below(top: Path, directory: Path, problems: list[Problem]) -> Iterator[tuple[str, Path]]:
    for root, folders, names in os.walk(top, onerror=lambda error: problems.append(_unreadable(error))):
        here = Path(root)
        depth = len(here.relative_to(directory).parts)
        folders[:] = sorted(f for f in folders if not f.startswith(".")) if depth < FOLDER_DEPTH_MAX else []
        for name in sorted(n for n in names if not n.startswith(".") and not n.endswith("~")):
            relative = (here / name).relative_to(directory).as_posix()
            if name.endswith(".yml"):
                problems.append(_at_top(relative, f"cannot use this file: its name must end with {SUFFIX}"))
            if name.endswith(SUFFIX):
                yield relative, here / name


def _read(path: Path, relative: str, problems: list[Problem]) -> str:
    """The text of one regular file; empty, with the reason among the problems, if it cannot be had."""
    try:
        # A link could lead anywhere, and a pipe would never end.
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(handle, "rb") as file:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                problems.append(_at_top(relative, "cannot read this file: it is not a regular file"))
                return ""
            raw = file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        problems.append(_at_top(relative, f"cannot read this file: {error.strerror}"))
        return ""
    if len(raw) > FILE_BYTES_MAX:
        problems.append(_at_top(relative, f"cannot read this file: it has more than {FILE_BYTES_MAX} bytes"))
        return ""
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        before = raw[: error.start]
        line = before.count(b"\n") + 1
        column = len(before) - (before.rfind(b"\n") + 1) + 1
        problems.append(Problem(relative, line, column, "cannot read this file: it is not UTF-8 text"))
        return ""


def _unreadable(error: OSError) -> Problem:
    return _at_top(str(error.filename), f"cannot read this directory: {error.strerror}")


def _at_top(file: str, text: str) -> Problem:
    return Problem(file, 1, 1, text)
