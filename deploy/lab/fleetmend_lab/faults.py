"""Faults to put into a host, as data: shell snippets `inject`, `check` (true when well) and `cleanup` that run inside it."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .hosts import execute
from .machine import LabError

if TYPE_CHECKING:
    from .state import Host

LAB_DIRECTORY = Path(__file__).resolve().parent.parent
REPOSITORY = LAB_DIRECTORY.parent.parent
CATALOGUE = LAB_DIRECTORY / "faults.yaml"
FAULT_TIMEOUT_S = 120.0
PHASES = ("inject", "check", "cleanup")


@dataclass(frozen=True)
class Fault:
    """One entry of a catalogue."""

    id: str
    name: str
    inject: str
    check: str
    cleanup: str


@dataclass(frozen=True)
class Catalogue:
    """All faults of one file, and the shell functions their snippets may use."""

    prelude: str
    faults: dict[str, Fault]

    def fault(self, fault_id: str) -> Fault:
        """The fault of that id; LabError with the ids there are."""
        if fault_id not in self.faults:
            raise LabError(f"cannot find fault {fault_id}: the catalogue has {', '.join(self.faults)}")
        return self.faults[fault_id]


def load(path: Path = CATALOGUE) -> Catalogue:
    """Reads a catalogue file (YAML: `prelude`, and `faults` with id, name, inject, check, cleanup)."""
    document = _read_yaml(path)
    faults = {}
    for entry in document.get("faults", []):
        if not entry.get("inject"):
            continue
        texts = {phase: str(entry.get(phase, "")) for phase in PHASES}
        faults[str(entry["id"])] = Fault(id=str(entry["id"]), name=str(entry["name"]), **texts)
    if not faults:
        raise LabError(f"cannot use {path}: it holds no fault with an inject snippet")
    return Catalogue(str(document.get("prelude", "")), faults)


def play(host: Host, catalogue: Catalogue, fault_id: str, phase: str) -> subprocess.CompletedProcess[str]:
    """Runs one phase of a fault inside the host."""
    fault = catalogue.fault(fault_id)
    snippet = {"inject": fault.inject, "check": fault.check, "cleanup": fault.cleanup}[phase]
    if not snippet.strip():
        raise LabError(f"cannot {phase} {fault_id}: the catalogue has no {phase} snippet for it")
    return execute(host, ["bash", "-s"], text_in=f"{catalogue.prelude}\n{snippet}\n", timeout_s=FAULT_TIMEOUT_S)


def _read_yaml(path: Path) -> dict[str, Any]:
    """Reads YAML with whichever Python here has a YAML library: this one, or the project's environment."""
    if not path.is_file():
        raise LabError(f"cannot read {path}: no such file")
    program = "import json,sys,yaml; json.dump(yaml.safe_load(open(sys.argv[1])), sys.stdout, default=str)"
    for python in ("/usr/bin/python3", str(REPOSITORY / ".venv/bin/python")):
        try:
            done = subprocess.run([python, "-c", program, str(path)], capture_output=True, text=True, timeout=30, check=False)
        except FileNotFoundError:
            continue
        if done.returncode == 0:
            return dict(json.loads(done.stdout))
        if "No module named" not in done.stderr:
            raise LabError(f"cannot read {path}: {done.stderr.strip().splitlines()[-1]}")
    raise LabError(f"cannot read {path}: no YAML library here; run: make setup (or: apt-get install python3-yaml)")
