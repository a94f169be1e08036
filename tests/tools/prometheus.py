"""A real Prometheus on loopback, scraping one controller every second, and a client for its query interface."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import yaml

from deploy.demo.ports import free_port
from tests.tools import needs

START_TIMEOUT_S = 20.0
STOP_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class Prometheus:
    """Where it answers."""

    url: str

    def query(self, expr: str) -> list[dict[str, Any]]:
        """An instant query's series; AssertionError with Prometheus' own words when the query is wrong."""
        answer = httpx.get(f"{self.url}/api/v1/query", params={"query": expr}, timeout=10).json()
        assert answer["status"] == "success", f"{expr}: {answer.get('error')}"
        result = answer["data"]["result"]
        return result if answer["data"]["resultType"] == "vector" else [{"metric": {}, "value": result}]

    def range(self, expr: str, seconds: int, step_s: int = 1) -> list[dict[str, Any]]:
        """A query over the last seconds."""
        now = self.query("time()")[0]["value"][1]
        params = {"query": expr, "start": float(now) - seconds, "end": float(now), "step": step_s}
        answer = httpx.get(f"{self.url}/api/v1/query_range", params=params, timeout=10).json()
        assert answer["status"] == "success", f"{expr}: {answer.get('error')}"
        return list(answer["data"]["result"])

    def rules(self) -> list[dict[str, Any]]:
        """Every alert rule with its health."""
        answer = httpx.get(f"{self.url}/api/v1/rules", timeout=10).json()
        return [rule for group in answer["data"]["groups"] for rule in group["rules"]]


@contextmanager
def running(directory: Path, target: str, rules: Path | None = None) -> Iterator[Prometheus]:
    """Prometheus for as long as the block lasts; `target` is the controller's metrics address."""
    program = needs.program("prometheus", "prometheus")
    config: dict[str, Any] = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "scrape_configs": [{"job_name": "fleetmend", "static_configs": [{"targets": [target]}]}],
    }
    if rules is not None:
        config["rule_files"] = [str(rules)]
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "prometheus.yml").write_text(yaml.safe_dump(config))
    address = f"127.0.0.1:{free_port()}"
    argv = [program, f"--config.file={directory}/prometheus.yml", f"--storage.tsdb.path={directory}/data"]
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen([*argv, f"--web.listen-address={address}"], stdout=log, stderr=log, cwd=directory)
    try:
        _wait_ready(process, f"http://{address}", directory / "log")
        yield Prometheus(f"http://{address}")
    finally:
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_ready(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    end = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < end and process.poll() is None:
        try:
            if httpx.get(f"{url}/-/ready", timeout=1).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise AssertionError(f"cannot start Prometheus: {log.read_text()[-2000:]}")
