"""What the command line costs: CPU of `fleetmend --help` and of `fleetmend hosts ls` against a running service.

Run: .venv/bin/python -m tests.bench.cli_start
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

from tests.unit.admin.office import Office

RUNS = 15
LIMITS_S = {"--help": 0.25, "hosts ls": 0.5}


def cpu_s(words: str, env: dict[str, str]) -> float:
    """User and system time of one run."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([str(Path(sys.executable).parent / "fleetmend"), *words.split()], env=env, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> int:
    """Print medians beside their limits; exit code 1 if one is over."""
    over = 0
    with tempfile.TemporaryDirectory() as folder:
        office = Office(Path(folder))
        try:
            for number in range(50):
                office.enrol(f"web-{number}", role="web")
            env = {**os.environ, "FLEETMEND_SOCKET": str(office.socket)}
            for words, limit_s in LIMITS_S.items():
                found_s = median(cpu_s(words, env) for _ in range(RUNS))
                over += found_s > limit_s
                print(f"fleetmend {words:<9} {found_s:.3f} s CPU (median of {RUNS}, limit {limit_s} s)")
        finally:
            office.close()
    return 1 if over else 0


if __name__ == "__main__":
    sys.exit(main())
