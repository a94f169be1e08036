"""The same seed gives the same journal and the same effects, however Python hashes its strings: no set decides anything."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
SEEDS = ("5", "13", "29")
HASH_SEEDS = ("0", "1", "2")


def traces(hash_seed: str) -> str:
    paths = os.pathsep.join(str(ROOT / folder) for folder in ("agent", "controller", "protos"))
    env = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": paths}
    argv = [sys.executable, "-m", "tests.simulation.trace", *SEEDS]
    return subprocess.run(argv, cwd=ROOT, env=env, check=True, capture_output=True, text=True, timeout=100).stdout


def test_same_seed_same_trace_under_different_hash_seeds():
    first, *others = [traces(hash_seed) for hash_seed in HASH_SEEDS]
    assert [line.split()[0] for line in first.splitlines()] == list(SEEDS)
    assert others == [first] * len(others)
