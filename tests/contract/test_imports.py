"""Who may import whom: read from the syntax tree, and from a fresh process that imports a whole package."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tools import tidy

ROOT = Path(__file__).parents[2]
CORE = ROOT / "controller/fleetmend_controller/core"
CORE_ALLOWED = {
    "__future__",
    "collections",
    "dataclasses",
    "enum",
    "functools",
    "hashlib",
    "itertools",
    "math",
    "re",
    "typing",
}


def imports(path: Path, package: str) -> set[str]:
    return tidy.imported_modules(str(path), path.read_text(), package)


def outside_core(path: Path, package: str = "fleetmend_controller.core") -> list[str]:
    inside = "fleetmend_controller.core"
    names = {name for name in imports(path, package) if name != inside and not name.startswith(f"{inside}.")}
    return sorted(name for name in names if name.split(".")[0] not in CORE_ALLOWED)


def package_of(path: Path) -> str:
    relative = path.relative_to(CORE.parents[1]).with_suffix("")
    return ".".join(relative.parts if path.name == "__init__.py" else relative.parts[:-1]).removesuffix(".__init__")


@pytest.mark.parametrize("path", sorted(CORE.rglob("*.py")), ids=lambda p: str(p.relative_to(CORE)))
def test_the_core_imports_only_itself_and_the_allowed(path):
    assert outside_core(path, package_of(path)) == []


@pytest.mark.parametrize(
    "source",
    [
        "import time",
        "from datetime import datetime",
        "import random",
        "from ..clock import now_ms",
        "from fleetmend import seal",
    ],
)
def test_a_forbidden_import_in_the_core_is_caught(source, tmp_path):
    path = tmp_path / "flow.py"
    path.write_text(source)
    assert outside_core(path)


def model_names(path: Path) -> set[str]:
    """What a file takes from the core's model by name."""
    nodes = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)]
    return {alias.name for node in nodes if (node.module or "").endswith("core.model") for alias in node.names}


@pytest.mark.parametrize("folder", ["gateway", "pki"])
def test_gateway_and_pki_hold_nothing_of_the_fleet(folder):
    """They may run apart from the decider one day: what they exchange with it are values, never its memory."""
    taken = set().union(*(model_names(path) for path in (CORE.parent / folder).rglob("*.py")))
    assert taken <= {"ALERT_PREFIX", "ActionStep", "Order", "Outcome", "Scalar", "Status", "Subject"}


def set_loops(tree: ast.Module) -> Iterator[int]:
    """Lines where a loop runs over a set: its order differs between processes when it holds text."""
    for node in ast.walk(tree):
        loops = node.iter if isinstance(node, (ast.For, ast.comprehension)) else None
        literal = isinstance(loops, (ast.Set, ast.SetComp))
        call = isinstance(loops, ast.Call) and isinstance(loops.func, ast.Name) and loops.func.id in {"set", "frozenset"}
        if literal or call:
            yield loops.lineno


@pytest.mark.parametrize("path", sorted(CORE.rglob("*.py")), ids=lambda p: str(p.relative_to(CORE)))
def test_the_core_never_loops_over_a_set(path):
    assert list(set_loops(ast.parse(path.read_text()))) == []


def test_a_loop_over_a_set_is_caught():
    assert list(set_loops(ast.parse("for x in {'a', 'b'}:\n    pass\ny = [x for x in set(z)]"))) == [1, 3]


def loaded_by(package: str) -> set[str]:
    """Names in sys.modules of a fresh process that imported every module of a package."""
    script = (
        "import importlib, json, pkgutil, sys\n"
        f"import {package} as package\n"
        "for module in pkgutil.walk_packages(package.__path__, package.__name__ + '.'):\n"
        "    importlib.import_module(module.name)\n"
        "print(json.dumps(sorted(sys.modules)))\n"
    )
    path = [str(ROOT / folder) for folder in ("agent", "controller", "protos")]
    run = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:0] = {path!r}\n{script}"],
        capture_output=True,
        check=True,
        text=True,
        cwd=ROOT,
    )
    return set(json.loads(run.stdout))


def test_the_executor_loads_neither_network_nor_agent_nor_controller():
    loaded = loaded_by("fleetmend_executor")
    banned = {
        "grpc",
        "ssl",
        "http",
        "urllib.request",
        "asyncio",
        "ftplib",
        "smtplib",
        "google",
        "fleetmend.v1",
        "fleetmend_agent",
        "fleetmend_controller",
    }
    assert loaded & banned == set()


def test_the_agent_loads_neither_executor_nor_controller():
    assert {name.split(".")[0] for name in loaded_by("fleetmend_agent")} & {
        "fleetmend_executor",
        "fleetmend_controller",
        "fleetmend_cli",
    } == set()


def test_the_cli_loads_nothing_of_the_controller():
    banned = {"fleetmend_controller", "fleetmend_agent", "fleetmend_executor", "sqlalchemy", "pydantic"}
    assert {name.split(".")[0] for name in loaded_by("fleetmend_cli")} & banned == set()
