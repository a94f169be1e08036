"""`make demo` itself, as a newcomer sees it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_demo_shows_two_faults_healed_and_leaves_nothing():
    run = subprocess.run(
        [sys.executable, "-m", "deploy.demo.demo"], cwd=ROOT, capture_output=True, text=True, check=False, timeout=110
    )
    assert run.returncode == 0, run.stdout + run.stderr
    moments = re.findall(r"^ +[+-]\d+\.\d{3} s  (fault|seen|decided|acted|proved)", run.stdout, re.MULTILINE)
    assert moments == ["fault", "seen", "decided", "acted", "proved"] * 2
    assert run.stdout.count("$ fleetmend explain inc-") == 2
    assert re.search(r"series for Prometheus at http://127\.0\.0\.1:\d+/metrics", run.stdout)
    directory = Path(re.search(r"everything lives in (\S+)", run.stdout)[1])
    assert not directory.exists()
    assert [p for p in Path("/proc").glob("[0-9]*/cmdline") if str(directory).encode() in read(p)] == []


def read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
