"""The rules of tidiness, as functions from source text to violations. tests/contract/test_tidy.py runs them over the tree."""

from __future__ import annotations

import ast
import fnmatch
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

FUNCTION_LINES_MAX = 60
FILE_LINES_MAX = 500
NESTING_MAX = 3

# A clock is an argument; these modules are where it is read.
CLOCK_MODULES = (
    "controller/fleetmend_controller/clock.py",
    "controller/fleetmend_cli/clock.py",
    "agent/fleetmend_agent/host.py",
    "agent/fleetmend_executor/run.py",
)
# Wall time outside the product: terminals, logs of tools.
CLOCK_FREE = ("deploy/*", "tests/*")

# Lists of statements by nature, written once and never changed.
LONG_FUNCTIONS = ("controller/fleetmend_controller/store/migrations/versions/*",)

# One place around a check, one around an action, one around a call's handler: each counts what it catches.
BROAD_EXCEPT_MODULES = (
    "agent/fleetmend_agent/runner.py",
    "agent/fleetmend_executor/run.py",
    "controller/fleetmend_controller/gateway/authz.py",
)

PRINTING = (
    "*/__main__.py",
    "controller/fleetmend_cli/*",
    "controller/fleetmend_controller/commands/*",
    "agent/fleetmend_agent/doctor.py",
    "agent/fleetmend_agent/enroll.py",
    "agent/fleetmend_agent/once.py",
    "deploy/*",
    "tests/*",
)

BANNED_CALLS = {
    "eval": "evaluates text as code",
    "exec": "runs text as code",
    "compile": "makes code of text",
    "__import__": "hides an import",
    "os.system": "runs a shell",
    "os.popen": "runs a shell",
    "os.spawnl": "runs a program unseen",
    "subprocess.getoutput": "runs a shell",
    "subprocess.getstatusoutput": "runs a shell",
    "asyncio.create_subprocess_shell": "runs a shell",
    "yaml.load": "may build any object; use yaml.SafeLoader through our loader, or yaml.safe_load",
    "yaml.load_all": "may build any object",
    "yaml.unsafe_load": "builds any object",
    "yaml.full_load": "may build objects",
    "pickle.load": "runs what it reads",
    "pickle.loads": "runs what it reads",
    "marshal.loads": "trusts what it reads",
    "tempfile.mktemp": "races with whoever takes the name",
}
CLOCK_CALLS = {
    "time.time",
    "time.time_ns",
    "time.localtime",
    "time.gmtime",
    "datetime.now",
    "datetime.utcnow",
    "datetime.today",
    "date.today",
    "datetime.datetime.now",
    "datetime.datetime.utcnow",
    "datetime.date.today",
}
BANNED_IMPORTS = {"pickle", "marshal", "shelve", "imp", "telnetlib"}

# Assembled, so that this file keeps its own rule.
WORDS = tuple(
    "".join(parts)
    for parts in (
        ("TO", "DO"),
        ("FIX", "ME"),
        ("XX", "X"),
        ("HA", "CK"),
        ("pypi", ".org"),
        ("npmjs", ".org"),
        ("pythonhosted", ".org"),
        ("/tmp/", "team"),
        ("/wo", "rk/main"),
        ("/wo", "rk/shared"),
        ("black", "list"),
        ("white", "list"),
    )
)

# What makes a reader keep one more case in mind; a `with` holds a resource and decides nothing.
_BLOCKS = (ast.If, ast.For, ast.AsyncFor, ast.While, ast.Try, ast.TryStar, ast.Match)
_SCOPES = (ast.With, ast.AsyncWith)
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


@dataclass(frozen=True, slots=True)
class Violation:
    """One rule, broken at one place."""

    path: str
    line: int
    rule: str
    text: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: [{self.rule}] {self.text}"


def check_python(path: str, source: str) -> list[Violation]:
    """Every violation in one Python file."""
    tree = ast.parse(source, path)
    found = [*_file_size(path, source)]
    for rule in (_function_size, _nesting, _banned_calls, _banned_imports, _broad_excepts):
        found += rule(path, tree)
    return found


def check_words(path: str, text: str) -> list[Violation]:
    """Words that may not appear in any file."""
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        found += [Violation(path, number, "word", f"{word!r} may not appear") for word in WORDS if _has_word(line, word)]
    return found


def _has_word(line: str, word: str) -> bool:
    if word.isupper():
        return re.search(rf"\b{word}\b", line) is not None
    return word in line.lower()


def _file_size(path: str, source: str) -> Iterator[Violation]:
    lines = source.count("\n") + 1
    if lines > FILE_LINES_MAX:
        yield Violation(path, 1, "file-size", f"{lines} lines; at most {FILE_LINES_MAX}")


def _function_size(path: str, tree: ast.Module) -> Iterator[Violation]:
    for node in ast.walk(tree):
        if not isinstance(node, _FUNCTIONS):
            continue
        lines = (node.end_lineno or node.lineno) - node.lineno + 1
        if lines > FUNCTION_LINES_MAX and not _matches(path, LONG_FUNCTIONS):
            yield Violation(path, node.lineno, "function-size", f"{node.name} has {lines} lines; at most {FUNCTION_LINES_MAX}")


def _nesting(path: str, tree: ast.Module) -> Iterator[Violation]:
    for node in ast.walk(tree):
        if isinstance(node, _FUNCTIONS):
            depth, line = max(_depths(node.body, 0), default=(0, node.lineno))
            if depth > NESTING_MAX:
                yield Violation(path, line, "nesting", f"{node.name} nests {depth} deep; at most {NESTING_MAX}")


def _depths(body: Iterable[ast.stmt], depth: int) -> Iterator[tuple[int, int]]:
    """(depth, line) of every statement; a nested function starts afresh, `elif` is as deep as its `if`."""
    for node in body:
        if isinstance(node, (*_FUNCTIONS, ast.ClassDef)):
            continue
        yield depth, node.lineno
        if isinstance(node, _SCOPES):
            yield from _depths(node.body, depth)
        if isinstance(node, _BLOCKS):
            for block in _blocks_of(node):
                yield from _depths(block, depth if _is_elif(node, block) else depth + 1)


def _blocks_of(node: ast.stmt) -> Iterator[list[ast.stmt]]:
    for name in ("body", "orelse", "finalbody"):
        yield getattr(node, name, [])
    for part in (*getattr(node, "handlers", ()), *getattr(node, "cases", ())):
        yield part.body


def _is_elif(node: ast.stmt, block: list[ast.stmt]) -> bool:
    if not isinstance(node, ast.If) or block is not node.orelse:
        return False
    return len(block) == 1 and isinstance(block[0], ast.If) and block[0].col_offset == node.col_offset


def _banned_calls(path: str, tree: ast.Module) -> Iterator[Violation]:
    aliases = _aliases(tree)
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = _resolve(_dotted(node.func), aliases)
        if name in BANNED_CALLS:
            yield Violation(path, node.lineno, "banned-call", f"{name} {BANNED_CALLS[name]}")
        # With an argument, gmtime and localtime only convert.
        reads_clock = name in CLOCK_CALLS and not (name in {"time.gmtime", "time.localtime"} and node.args)
        if reads_clock and not _matches(path, (*CLOCK_MODULES, *CLOCK_FREE)):
            yield Violation(path, node.lineno, "clock", f"{name} outside the clock modules; take the time as an argument")
        if name == "print" and not _matches(path, PRINTING):
            yield Violation(path, node.lineno, "print", "print outside the commands; log, or return the text")
        for keyword in node.keywords:
            if keyword.arg == "shell" and not (isinstance(keyword.value, ast.Constant) and keyword.value.value is False):
                yield Violation(path, node.lineno, "banned-call", "shell=True; give an argument vector")


def _banned_imports(path: str, tree: ast.Module) -> Iterator[Violation]:
    for node in ast.walk(tree):
        names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names = [node.module]
        for name in names:
            if name.split(".")[0] in BANNED_IMPORTS:
                yield Violation(path, node.lineno, "banned-import", f"{name} may not be used")


def _broad_excepts(path: str, tree: ast.Module) -> Iterator[Violation]:
    for node in ast.walk(tree):
        if not isinstance(node, ast.ExceptHandler):
            continue
        kinds = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
        broad = any(kind is None or _dotted(kind) in {"Exception", "BaseException"} for kind in kinds)
        if broad and not _matches(path, BROAD_EXCEPT_MODULES) and not (_only_cleans_up(node) or _hands_on(node)):
            yield Violation(
                path, node.lineno, "broad-except", "catch what you handle; the broad ones live in three named places"
            )


def _only_cleans_up(handler: ast.ExceptHandler) -> bool:
    """A handler whose last act is a bare `raise` hides nothing: the way to undo half a step."""
    last = handler.body[-1]
    return isinstance(last, ast.Raise) and last.exc is None


def _hands_on(handler: ast.ExceptHandler) -> bool:
    """A handler that gives the very exception to whoever waits for the result hides nothing either."""
    calls = [node for node in ast.walk(handler) if isinstance(node, ast.Call) and _dotted(node.func).endswith(".set_exception")]
    return any(_dotted(argument) == handler.name for call in calls for argument in call.args)


def _aliases(tree: ast.Module) -> dict[str, str]:
    """What imported names stand for: `from time import time as t` gives {"t": "time.time"}."""
    found: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found.update({a.asname: a.name for a in node.names if a.asname})
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found.update({a.asname or a.name: f"{node.module}.{a.name}" for a in node.names})
    return found


def _dotted(node: ast.expr | None) -> str:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value)}.{node.attr}"
    return "?"


def _resolve(name: str, aliases: dict[str, str]) -> str:
    head, dot, rest = name.partition(".")
    return aliases.get(head, head) + dot + rest


def _matches(path: str, patterns: Iterable[str]) -> bool:
    return any(fnmatch.fnmatch(path, pattern) for pattern in patterns)


def imported_modules(path: str, source: str, package: str) -> set[str]:
    """Absolute names of all that a file imports; `package` is the dotted package the file lives in."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source, path)):
        if isinstance(node, ast.Import):
            found.update(a.name for a in node.names)
        if isinstance(node, ast.ImportFrom):
            base = _base(node, package)
            found.add(base)
            found.update(f"{base}.{a.name}" for a in node.names)
    return found


def _base(node: ast.ImportFrom, package: str) -> str:
    if node.level == 0:
        return node.module or ""
    parts = package.split(".")
    kept = parts[: len(parts) - node.level + 1]
    return ".".join([*kept, node.module] if node.module else kept)


def unreferenced(
    files: dict[str, str], roots: tuple[str, ...], registries: Iterable[str], entries: Iterable[str]
) -> list[Violation]:
    """Product modules that no product file imports, and other files that no file names.

    `files` maps every path to its text (empty for binary ones), `roots` are the source folders, `registries` folders whose
    files are found by walking them, `entries` dotted names that are started from outside (console scripts, service files).
    """
    registries, entries = tuple(registries), frozenset(entries)
    imported: set[str] = set()
    for path, text in files.items():
        if path.endswith(".py") and not path.startswith("tests/"):
            imported |= imported_modules(path, text, _package(path, roots))
    found = []
    for path in sorted(files):
        if path.endswith((".py", ".pyi")):
            dead = _is_product(path, roots) and not _module_used(path, roots, imported, registries, entries)
        else:
            dead = not _named_somewhere(path, files, registries)
        if dead:
            found.append(Violation(path, 1, "unreferenced", "nothing refers to this file"))
    return found


def _is_product(path: str, roots: tuple[str, ...]) -> bool:
    return path.startswith(tuple(f"{root}/" for root in roots))


def _module(path: str, roots: tuple[str, ...]) -> str:
    for root in roots:
        if path.startswith(f"{root}/"):
            path = path[len(root) + 1 :]
    name = path.rsplit(".", 1)[0].replace("/", ".")
    return name.removesuffix(".__init__")


def _package(path: str, roots: tuple[str, ...]) -> str:
    module = _module(path, roots)
    return module if path.endswith("__init__.py") else module.rpartition(".")[0]


def _module_used(
    path: str, roots: tuple[str, ...], imported: set[str], registries: tuple[str, ...], entries: frozenset[str]
) -> bool:
    module, name = _module(path, roots), PurePosixPath(path).name
    if name in {"__init__.py", "__main__.py"} or name.endswith((".pyi", "_pb2.py", "_pb2_grpc.py")):
        return True
    return module in imported or module in entries or _matches(path, registries)


def _named_somewhere(path: str, files: dict[str, str], registries: tuple[str, ...]) -> bool:
    pure = PurePosixPath(path)
    if len(pure.parts) == 1 or path.startswith(".") or _matches(path, registries):
        return True  # the root's own files are conventions; dot folders belong to tools
    names = [pure.name, f"{pure.parent.name}/"] if len(pure.parts) > 2 else [pure.name]
    if pure.suffix:
        names.append(f"{pure.parent.name}/{pure.stem}")
    return any(name in text for other, text in files.items() if other != path for name in names)
