"""Changes gates and more of the core in many small ways, and tests each change: `python -m tests.tools.mutants [PART...]`.

A mutant that no test notices survives. Survivors are explained in docs/mutants.md, by the same words as printed here; one that
is not fails the run, and so does an explanation whose mutant is caught by now.
"""

from __future__ import annotations

import ast
import copy
import importlib.abc
import importlib.machinery
import importlib.util
import os
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parents[2]
CORE = ROOT / "controller/fleetmend_controller/core"
EXPLAINED = ROOT / "docs/mutants.md"
TIMEOUT_S = 120
# Those that catch most come first: the first failure ends a try.
TESTS = tuple(
    f"tests/unit/core/test_{name}.py"
    for name in (
        *("edges", "lost_edges", "proof", "gates", "safety", "storms", "causes", "credit", "approvals", "people", "heal"),
        *("odd_events", "lost", "alone", "permits"),
    )
)
# Which of them knows a file best; the gates have test_edges.
NEAREST = {
    "proof": "proof",
    "storms": "storms",
    "storm": "storms",
    "permission": "people",
    "standing": "safety",
    "flaps": "safety",
}
# Beside the gates.
ALSO = ("proof", "storms", "standing", "permission", "flaps")

_ORDERINGS: dict[type[ast.cmpop], tuple[type[ast.cmpop], type[ast.cmpop]]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
}
_OPPOSITES: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
_ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Add,
    ast.FloorDiv: ast.Mult,
    ast.Pow: ast.Mult,
    ast.BitOr: ast.BitAnd,
}


@dataclass(frozen=True, slots=True)
class Mutant:
    """One change: `name` is `file: function: before -> after`, which stays the same while other lines move."""

    module: str
    path: Path
    name: str
    source: str


class _Loader(importlib.machinery.SourceFileLoader):
    """Loads a changed text in place of the file, past the cache of compiled files."""

    def __init__(self, mutant: Mutant) -> None:
        super().__init__(mutant.module, str(mutant.path))
        self._text = mutant.source.encode()

    def path_stats(self, path: str) -> dict[str, int]:  # type: ignore[override]
        raise OSError(path)

    def get_data(self, path: str) -> bytes:  # type: ignore[override]
        return self._text


class _Finder(importlib.abc.MetaPathFinder):
    def __init__(self, mutant: Mutant) -> None:
        self._mutant = mutant

    def find_spec(
        self, fullname: str, path: object = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != self._mutant.module:
            return None
        return importlib.util.spec_from_file_location(fullname, self._mutant.path, loader=_Loader(self._mutant))


def mutants_of(path: Path) -> Iterator[Mutant]:
    """Every mutant of a file of the core, one change each."""
    relative = path.relative_to(CORE).with_suffix("")
    module = ".".join(("fleetmend_controller", "core", *relative.parts))
    tree = ast.parse(path.read_text())
    seen: dict[str, int] = {}
    for function in [node for node in tree.body if isinstance(node, ast.FunctionDef)]:
        for node in _nodes(function):
            for changed, text in _changes(node):
                before = ast.unparse(node).splitlines()[0]
                name = f"{relative}.py: {function.name}: {before} -> {text}"
                seen[name] = seen.get(name, 0) + 1
                name += f" ({seen[name]})" if seen[name] > 1 else ""
                yield Mutant(module, path, name, _with(tree, node, changed))


def _nodes(function: ast.FunctionDef) -> Iterator[ast.AST]:
    """What may be changed: not annotations, and not the sentences for people."""
    waiting: list[ast.AST] = list(reversed(function.body))
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)):
            continue
        yield node
        children = [c for name, c in _children(node) if name not in {"annotation", "returns"}]
        waiting.extend(reversed(children))


def _children(node: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    for name, value in ast.iter_fields(node):
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, ast.AST):
                yield name, item


def _changes(node: ast.AST) -> Iterator[tuple[ast.AST, str]]:
    for changed in _variants(node):
        yield changed, ast.unparse(changed).splitlines()[0]


def _variants(node: ast.AST) -> Iterator[ast.AST]:
    match node:
        case ast.Compare(left, [operator], [right]):
            others = _ORDERINGS.get(type(operator)) or (_OPPOSITES[type(operator)],)
            yield from (ast.Compare(left, [other()], [right]) for other in others)
        case ast.BoolOp(operator, values):
            yield ast.BoolOp(ast.Or() if isinstance(operator, ast.And) else ast.And(), values)
        case ast.UnaryOp(ast.Not(), operand):
            yield operand
        case ast.BinOp(left, operator, right) if type(operator) in _ARITHMETIC:
            yield ast.BinOp(left, _ARITHMETIC[type(operator)](), right)
        case ast.Constant(bool(value)):
            yield ast.Constant(not value)
        case ast.Constant(int(value)):
            yield ast.Constant(value + 1)
        case ast.Call(ast.Name("min" | "max" as name), arguments):
            yield ast.Call(ast.Name("max" if name == "min" else "min"), arguments, [])
        case ast.Return(ast.Call(ast.Name("hold" | "refuse"))):
            yield ast.Return(ast.Call(ast.Name("allow"), [ast.Constant("mutant")], []))
        case ast.Return(ast.Call(ast.Name("allow"))):
            why = ast.Attribute(ast.Name("Why"), "PAUSED")
            yield ast.Return(ast.Call(ast.Name("hold"), [why, ast.Constant("mutant")], []))
        case ast.Expr(ast.Call()):
            yield ast.Pass()
        case ast.Assign([ast.Attribute()]):
            yield ast.Pass()
        case ast.Continue():
            yield ast.Pass()
        case ast.IfExp(test, body, orelse):
            yield ast.IfExp(test, orelse, body)
        case _:
            return


def _with(tree: ast.Module, node: ast.AST, changed: ast.AST) -> str:
    # A copy in which this one node is another.
    memo: dict[int, object] = {id(node): changed}
    whole = copy.deepcopy(tree, memo)
    return ast.unparse(ast.fix_missing_locations(whole))


def _tests_for(mutant: Mutant) -> tuple[str, ...]:
    """All tests, those of the changed file first."""
    first = NEAREST.get(mutant.path.stem, "edges")
    return tuple(sorted(TESTS, key=lambda test: f"test_{first}.py" not in test))


def _try(mutant: Mutant) -> int:
    """Starts the tests in a child that has only this mutant; its process id."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        signal.alarm(TIMEOUT_S)
        quiet = os.open(os.devnull, os.O_WRONLY)
        os.dup2(quiet, 1)
        os.dup2(quiet, 2)
        sys.meta_path.insert(0, _Finder(mutant))
        import pytest

        options = ["-c", os.devnull, "--rootdir", str(ROOT), "--import-mode=importlib", "-x", "-q", "-p", "no:cacheprovider"]
        code = int(pytest.main([*options, *_tests_for(mutant)]))
    finally:
        os._exit(code)


def survivors(mutants: list[Mutant], processes: int) -> list[Mutant]:
    """Those against which every test passes."""
    running: dict[int, Mutant] = {}
    alive: list[Mutant] = []
    waiting = list(reversed(mutants))
    while waiting or running:
        while waiting and len(running) < processes:
            mutant = waiting.pop()
            running[_try(mutant)] = mutant
        child, status = os.wait()
        mutant = running.pop(child)
        if status == 0:
            alive.append(mutant)
            print(f"survived: {mutant.name}", flush=True)
    return alive


def explained() -> set[str]:
    """The mutants that docs/mutants.md explains."""
    lines = EXPLAINED.read_text().splitlines() if EXPLAINED.exists() else []
    return {line.removeprefix("- `").partition("`:")[0] for line in lines if line.startswith("- `")}


def main(parts: list[str]) -> int:
    """Try the mutants of all files, or of those whose path has one of the parts."""
    files = [*sorted((CORE / "gates").glob("*.py")), *(CORE / f"{name}.py" for name in ALSO)]
    chosen = [file for file in files if not parts or any(part in str(file.relative_to(CORE)) for part in parts)]
    mutants = [mutant for file in chosen for mutant in mutants_of(file)]
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    import pytest  # noqa: F401 - loaded once, for all children

    print(f"{len(mutants)} mutants of {len(chosen)} files", flush=True)
    alive = {mutant.name for mutant in survivors(mutants, os.cpu_count() or 1)}
    known, tried = explained(), {mutant.name for mutant in mutants}
    for name in sorted(alive - known):
        print(f"cannot accept: no test notices {name}; write one, or explain it in docs/mutants.md")
    stale = {name for name in known - alive if name in tried or not parts}
    for name in sorted(stale):
        print(f"cannot accept: docs/mutants.md explains what is caught or gone: {name}")
    print(f"{len(mutants) - len(alive)} of {len(mutants)} caught, {len(alive)} survived")
    return 1 if alive - known or stale else 0


if __name__ == "__main__":
    os.chdir(ROOT)
    sys.path[:0] = [str(ROOT / folder) for folder in ("agent", "controller", "protos", ".")]
    sys.exit(main(sys.argv[1:]))
