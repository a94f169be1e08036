"""What an agent costs at rest: PSS, RSS and CPU with the default checks.

Run: .venv/bin/python -m tests.bench.agent_rest            starts a controller, an executor and an agent of its own
     .venv/bin/python -m tests.bench.agent_rest --pid N    measures an agent that runs already, for example on a lab host

PSS counts a page that k processes share as 1/k of it. On a machine where no other process uses gRPC or Python, all of `file` is
the agent's own; `private` is what no sharing can lower.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from deploy.demo.world import World

REPOSITORY = Path(__file__).parents[2]
PSS_MIB_MAX = 36.0
CPU_S_A_MINUTE_MAX = 0.1
SETTLE_S = 20.0


@dataclass(frozen=True, slots=True)
class Cost:
    """Memory in MiB, CPU in seconds a minute."""

    pss_mib: float
    rss_mib: float
    private_mib: float
    file_pss_mib: float
    threads: int
    cpu_s_a_minute: float
    wakeups_a_second: float
    seconds: float


def measure(pid: int, seconds: float) -> Cost:
    """Watches a process for a while."""
    begin, cpu, switches = time.monotonic(), cpu_s(pid), wakeups(pid)
    time.sleep(seconds)
    lasted = time.monotonic() - begin
    pages = rollup(pid)
    return Cost(
        pss_mib=pages["Pss"] / 1024,
        rss_mib=pages["Rss"] / 1024,
        private_mib=(pages["Private_Clean"] + pages["Private_Dirty"]) / 1024,
        file_pss_mib=pages["Pss_File"] / 1024,
        threads=len(list(Path(f"/proc/{pid}/task").iterdir())),
        cpu_s_a_minute=(cpu_s(pid) - cpu) * 60 / lasted,
        wakeups_a_second=(wakeups(pid) - switches) / lasted,
        seconds=lasted,
    )


def rollup(pid: int) -> dict[str, int]:
    """The sums of smaps, in KiB."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    return {name.rstrip(":"): int(size) for name, size, *_ in map(str.split, lines)}


def cpu_s(pid: int) -> float:
    """User and system time so far, to the tick (10 ms)."""
    after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(after_name[11]) + int(after_name[12])) / os.sysconf("SC_CLK_TCK")


def wakeups(pid: int) -> int:
    """How often its threads gave up the processor by themselves: each time something woke them."""
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        lines = (task / "status").read_text().splitlines()
        total += next(int(line.split()[1]) for line in lines if line.startswith("voluntary_ctxt_switches"))
    return total


def measure_own(seconds: float) -> Cost:
    """An agent of our own, with the checks of deploy/checks, linked and settled."""
    # Compiled files as an installation has them: compiling at start would leave its garbage in memory.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    unit = (REPOSITORY / "deploy" / "systemd" / "fleetmend-agent.service").read_text().splitlines()
    os.environ.update(line.removeprefix("Environment=").split("=", 1) for line in unit if line.startswith("Environment="))
    with World(heartbeat_ms=10_000) as world:
        os.environ["PYTHONPYCACHEPREFIX"] = str(world.directory / "compiled")
        for path in (REPOSITORY / "deploy" / "checks").glob("*.yaml"):
            shutil.copy(path, world.directory / "rules" / "checks")
        world.init()
        world.start_controller()
        host = world.add_host("rest", {}, {"permit": []})
        # The first start compiles; the second is the one that an installation has.
        world.start_hosts()
        host.stop()
        world.start_hosts()
        time.sleep(SETTLE_S)
        host.executor.stop()
        return measure(host.agent.pid, seconds)


def main(argv: list[str] | None = None) -> int:
    """Prints the cost beside its limits; exit code 1 if one is over."""
    parser = argparse.ArgumentParser(description="What an agent costs at rest.")
    parser.add_argument("--pid", type=int, help="measure this process instead of one of our own")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long to watch (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args(argv)
    cost = measure(arguments.pid, arguments.seconds) if arguments.pid else measure_own(arguments.seconds)
    if arguments.json:
        print(json.dumps(asdict(cost)))
    else:
        print(f"agent at rest  PSS {cost.pss_mib:.1f} MiB (limit {PSS_MIB_MAX:g}): {cost.private_mib:.1f} private")
        print(
            f"               RSS {cost.rss_mib:.1f} MiB, {cost.threads} threads, {cost.wakeups_a_second:.1f} wake-ups a second"
        )
        print(
            f"               CPU {cost.cpu_s_a_minute:.3f} s a minute (limit {CPU_S_A_MINUTE_MAX:g}), over {cost.seconds:.0f} s"
        )
    return int(cost.pss_mib > PSS_MIB_MAX or cost.cpu_s_a_minute > CPU_S_A_MINUTE_MAX)


if __name__ == "__main__":
    sys.exit(main())
