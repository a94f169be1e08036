"""The product as a directory of wheels, built once outside: hosts have no way to a package index."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

from .faults import REPOSITORY
from .machine import LabError, remove_tree, run

BUILD_TIMEOUT_S = 900.0
KEPT = 2
EXTRAS = "agent,controller,cli"
SOURCES = ("pyproject.toml", "agent", "controller", "protos", "deploy")


def source_files() -> list[Path]:
    """Every file that makes the product, in a fixed order."""
    found: list[Path] = []
    for name in SOURCES:
        top = REPOSITORY / name
        paths = [top] if top.is_file() else sorted(path for path in top.rglob("*") if path.is_file())
        found.extend(path for path in paths if not _ignored(path.relative_to(REPOSITORY)))
    return found


def _ignored(path: Path) -> bool:
    return "__pycache__" in path.parts or path.parts[:2] == ("deploy", "lab") or path.suffix in (".pyc", ".swp")


def source_key() -> str:
    """Digest of the product's source."""
    digest = hashlib.sha256()
    for path in source_files():
        digest.update(str(path.relative_to(REPOSITORY)).encode() + b"\0")
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:12]


def build(cache: Path, target: Path) -> None:
    """Fills `target` with the product's wheel and those of everything it depends on."""
    dependencies = _dependencies(cache)
    target.mkdir(parents=True)
    _pip("wheel", "--no-deps", "--wheel-dir", str(target), str(REPOSITORY))
    for wheel in dependencies.glob("*.whl"):
        if not (target / wheel.name).exists() and not wheel.name.startswith("fleetmend-"):
            shutil.copy2(wheel, target / wheel.name)


def _dependencies(cache: Path) -> Path:
    """Wheels of the dependencies, kept as long as pyproject.toml does not change."""
    key = hashlib.sha256((REPOSITORY / "pyproject.toml").read_bytes()).hexdigest()[:12]
    kept = cache / f"wheels-{key}"
    if kept.is_dir():
        return kept
    building = cache / f"building-wheels-{key}"
    remove_tree(building)
    _pip("wheel", "--prefer-binary", "--wheel-dir", str(building), f"{REPOSITORY}[{EXTRAS}]")
    building.rename(kept)
    for old in sorted(cache.glob("wheels-*"), key=lambda path: path.stat().st_mtime, reverse=True)[KEPT:]:
        remove_tree(old)
    return kept


def _pip(*arguments: str) -> None:
    """Runs pip of the first Python 3.11 here that has it: wheels with compiled parts must fit the hosts' Python."""
    for python in (str(REPOSITORY / ".venv/bin/python"), sys.executable, "/usr/bin/python3"):
        probe = "import pip, sys; sys.exit(sys.version_info[:2] != (3, 11))"
        try:
            done = subprocess.run([python, "-c", probe], capture_output=True, check=False, timeout=30)
        except FileNotFoundError:
            continue
        if done.returncode == 0:
            run(["setpriv", "--pdeathsig", "KILL", python, "-m", "pip", "--quiet", *arguments], timeout_s=BUILD_TIMEOUT_S)
            return
    raise LabError("cannot build wheels: no Python 3.11 with pip here; run: make setup")
