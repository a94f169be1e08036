"""How long an order takes from cold (the process starts for it) and warm.

Run: .venv/bin/python -m tests.bench.executor_cold [--runs N]
"""

from __future__ import annotations

import argparse
import statistics
import time

from tests.unit.executor.world import POLICY, ExecutorHost, opened


def main() -> None:
    """The bench by itself."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=20, help="repeats of each (default 20)")
    measure(parser.parse_args().runs)


def measure(runs: int) -> None:
    """Print median and 95th percentile of both, for an order whose own work is one `true`."""
    host = ExecutorHost()
    host.policy.write_text(POLICY + "  nothing: {argv: [/bin/true]}\n")
    try:
        cold = [timed(host, f"ord-{number}-1", cold=True) for number in range(runs)]
        warm = [timed(host, f"ord-{number}-2", cold=False) for number in range(runs)]
    finally:
        host.close()
    for name, times in (("cold", cold), ("warm", warm)):
        p95 = sorted(times)[int(len(times) * 0.95)]
        print(f"executor order round trip, {name}: median {statistics.median(times):.1f} ms, p95 {p95:.1f} ms (n={len(times)})")


def timed(host: ExecutorHost, order_id: str, *, cold: bool) -> float:
    """Milliseconds until the sealed outcome is here; from cold with the start of the process."""
    if cold and host.process is not None:
        host.stop()
    begun = time.perf_counter()
    if cold:
        host.start()
    answers = host.order(order_id, "nothing")
    spent_ms = (time.perf_counter() - begun) * 1000
    assert opened(answers)["outcome"] == "done"
    return spent_ms


if __name__ == "__main__":
    main()
