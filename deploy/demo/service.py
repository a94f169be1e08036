#!/usr/bin/env python3
"""The small HTTP service that the demo breaks: `run` serves, `restart` replaces a running one and waits for its answer.

SIGUSR1 makes it hang: it goes on living and accepting connections, and never answers again.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

STOP_TIMEOUT_S = 0.5
START_TIMEOUT_S = 10.0

_hung = threading.Event()


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if _hung.is_set():
            threading.Event().wait()
        body = b"ok\n"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the base class names it so
        """Say nothing: a check asks every second."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True


def run(port: int, pid_file: Path) -> None:
    """Serve until killed."""
    signal.signal(signal.SIGUSR1, lambda *_: _hung.set())
    server = _Server(("127.0.0.1", port), _Handler)
    pid_file.write_text(str(os.getpid()))
    server.serve_forever()


def running(pid_file: Path) -> int | None:
    """The process of a running service, or None. A number that was reused by another program is not it."""
    try:
        pid = int(pid_file.read_text())
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, ValueError):
        return None
    return pid if os.fsencode(pid_file) in words and state != "Z" else None


def stop(pid_file: Path) -> None:
    """End a running service, by force when it does not listen."""
    pid = running(pid_file)
    if pid is None:
        return
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
        if _gone(pid_file, STOP_TIMEOUT_S):
            return


def _gone(pid_file: Path, timeout_s: float) -> bool:
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        if running(pid_file) is None:
            return True
        time.sleep(0.01)
    return False


def start(port: int, pid_file: Path) -> int:
    """Start a service of its own session and wait until it answers; its process. TimeoutError when it does not."""
    argv = [sys.executable, str(Path(__file__).resolve()), "run", "--port", str(port), "--pid-file", str(pid_file)]
    null = subprocess.DEVNULL
    subprocess.Popen(argv, stdin=null, stdout=null, stderr=null, start_new_session=True)
    end = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < end:
        pid = running(pid_file)
        if pid is not None and answers(port):
            return pid
        time.sleep(0.02)
    raise TimeoutError(f"cannot start the service: no answer on port {port} within {START_TIMEOUT_S:.0f} s")


def answers(port: int, timeout_s: float = 1.0) -> bool:
    """Whether the service says ok."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=timeout_s) as answer:
            return bool(answer.read() == b"ok\n")
    except OSError:
        return False


def main(arguments: Sequence[str]) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("verb", choices=["run", "restart"])
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--pid-file", type=Path, required=True)
    parser.add_argument("--delay-s", type=float, default=0.0, help="restart: wait so long first")
    given = parser.parse_args(arguments)
    if given.verb == "run":
        run(given.port, given.pid_file)
        return 0
    time.sleep(given.delay_s)
    stop(given.pid_file)
    print(f"the service runs as process {start(given.port, given.pid_file)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
