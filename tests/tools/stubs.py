"""Makes the Python stubs of the protocol: `python -m tests.tools.stubs DIRECTORY`. The stubs are kept in git."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

ROOT = Path(__file__).parents[2]
PROTOS = ROOT / "protos"


def generate(target: Path) -> list[Path]:
    """Write all stubs below `target` and return them, relative to it."""
    sources = sorted(str(p.relative_to(PROTOS)) for p in PROTOS.glob("fleetmend/**/*.proto"))
    outputs = [f"--{kind}_out={target}" for kind in ("python", "grpc_python", "mypy", "mypy_grpc")]
    include = [f"-I{PROTOS}", f"-I{files('grpc_tools') / '_proto'}"]
    # The mypy plug-ins live beside this interpreter, whether or not its environment is activated.
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"}
    argv = [sys.executable, "-m", "grpc_tools.protoc", *include, *outputs, *sources]
    subprocess.run(argv, check=True, env=environment, cwd=ROOT)
    stems = [Path(source).with_suffix("") for source in sources]
    wanted = [
        stem.with_name(stem.name + suffix)
        for stem in stems
        for suffix in ("_pb2.py", "_pb2.pyi", "_pb2_grpc.py", "_pb2_grpc.pyi")
    ]
    return [path for path in wanted if (target / path).exists()]


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m tests.tools.stubs DIRECTORY")
    generate(Path(sys.argv[1]))
