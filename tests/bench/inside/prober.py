"""Breaks services inside a host and measures, from inside as well, how long each takes to answer again.

Usage: prober.py kill|hang COUNT PAUSE_S COLD UNIT:PORT...; prints one JSON list of seconds. COLD 1 ends the executor first.
"""

import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time

REQUEST = b"GET /healthz HTTP/1.0\r\n\r\n"
EVERY_S = 0.002
GIVE_UP_S = 60.0
# A healthy answer takes about 2 ms; a probe of a deaf service must not hold the measurement up for longer than this.
PROBE_TIMEOUT_S = 0.05
# Faults come at any time between two polls of a second; a fixed pause would lock them to one, and measure only that one.
SPREAD_S = 1.0


def answers(port: int) -> bool:
    """Whether the service answers 200 now."""
    try:
        with socket.create_connection(("127.0.0.1", port), PROBE_TIMEOUT_S) as connection:
            connection.settimeout(PROBE_TIMEOUT_S)
            connection.sendall(REQUEST)
            return b" 200 " in connection.recv(64)
    except OSError:
        return False


def until(port: int, wanted: bool, since: float) -> float:
    """Seconds from `since` until the service does, or does not, answer."""
    while answers(port) is not wanted:
        if time.monotonic() - since > GIVE_UP_S:
            return float("inf")
        time.sleep(EVERY_S)
    return time.monotonic() - since


def main_pid(unit: str) -> int:
    """The unit's main process. Never 0, which would mean everybody: a unit between two states is waited for."""
    deadline = time.monotonic() + GIVE_UP_S
    while time.monotonic() < deadline:
        shown = subprocess.run(["systemctl", "show", "-P", "MainPID", unit], capture_output=True, text=True, check=True).stdout
        if int(shown) > 1:
            return int(shown)
        time.sleep(0.1)
    raise SystemExit(f"cannot break {unit}: it does not run")


def broken(unit: str, port: int, number: int, results: list[float]) -> None:
    """Breaks one service and waits for its return; the first probe that fails proves that it was broken."""
    pid = main_pid(unit)
    until(port, True, time.monotonic())
    since = time.monotonic()
    os.kill(pid, number)
    until(port, False, since)
    results.append(until(port, True, since))


def main() -> None:
    """Runs the whole series."""
    number = {"kill": signal.SIGKILL, "hang": signal.SIGUSR1}[sys.argv[1]]
    count, pause_s, cold = int(sys.argv[2]), float(sys.argv[3]), sys.argv[4] == "1"
    services = [(word.rpartition(":")[0], int(word.rpartition(":")[2])) for word in sys.argv[5:]]
    results: list[float] = []
    for _ in range(count):
        if cold:
            subprocess.run(["systemctl", "stop", "fleetmend-executor.service"], check=True)
        threads = [threading.Thread(target=broken, args=(unit, port, number, results)) for unit, port in services]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        time.sleep(pause_s + random.uniform(0, SPREAD_S))
    print(json.dumps(results))


main()
