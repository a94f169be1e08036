"""The shipped systemd units: understood by systemd without a word, hardened as promised, and in step with each other."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

UNITS = Path(__file__).parents[2] / "deploy/systemd"
# The agent must see the whole machine and the controller the whole network; still they stay below this.
EXPOSURE_MAX = {"fleetmend-agent.service": 2.5, "fleetmend-controller.service": 2.5, "fleetmend-executor.service": 2.5}
needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="no systemd-analyze here: apt-get install systemd"
)


def settings(name: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in (UNITS / name).read_text().splitlines():
        key, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found.setdefault(key, []).append(value)
    return found


@needs_systemd
@pytest.mark.parametrize("name", sorted(EXPOSURE_MAX))
def test_exposure_stays_below_the_limit(name):
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", str(UNITS / name)],
        capture_output=True,
        text=True,
        check=False,
    )
    level = re.search(r"Overall exposure level for \S+: ([0-9.]+)", done.stdout)
    assert level, done.stdout + done.stderr
    assert float(level[1]) <= EXPOSURE_MAX[name]


@needs_systemd
def test_systemd_finds_nothing_to_remark(tmp_path):
    for unit in UNITS.iterdir():
        # The programs are not installed here; everything else is as shipped.
        text = re.sub(r"^ExecStart=.*$", "ExecStart=/bin/true", unit.read_text(), flags=re.MULTILINE)
        (tmp_path / unit.name).write_text(text)
    units = sorted(str(path) for path in tmp_path.iterdir())
    done = subprocess.run(["systemd-analyze", "verify", *units], capture_output=True, text=True, check=False)
    remarks = [line for line in done.stderr.splitlines() if "fleetmend" in line]
    assert not remarks, "\n".join(remarks)


def test_agent_and_executor_see_the_same_boot_id():
    """In a container these walls put the machine's boot id before a service; orders are bound to the container's own."""
    for part in ("agent", "executor"):
        unit = settings(f"fleetmend-{part}.service")
        assert not {"ProtectKernelTunables", "ProtectControlGroups", "ProcSubset"} & set(unit)
        assert "/sys" in unit["ReadOnlyPaths"][0].split()


def test_only_the_agents_user_opens_the_executors_door():
    door, hands, eyes = (settings(f"fleetmend-{part}") for part in ("executor.socket", "executor.service", "agent.service"))
    assert (door["SocketUser"], door["SocketMode"]) == (eyes["User"], ["0600"])
    assert f"--allow-uid {eyes['User'][0]}" in hands["ExecStart"][0]
    assert (hands["PrivateNetwork"], hands["RestrictAddressFamilies"]) == (["yes"], ["AF_UNIX"])


def test_eyes_and_brain_come_back_and_have_no_powers():
    for part, powers in (("agent", "CAP_SYS_PTRACE"), ("controller", "")):
        unit = settings(f"fleetmend-{part}.service")
        assert (unit["Restart"], unit["StartLimitIntervalSec"], unit["CapabilityBoundingSet"]) == (["always"], ["0"], [powers])
        assert unit["User"] != ["root"]


def test_the_agent_sees_what_processes_run_and_has_no_way_into_them():
    filters = " ".join(settings("fleetmend-agent.service")["SystemCallFilter"])
    denied = filters.partition("~")[2].split()
    assert {"@debug", "process_vm_readv", "process_vm_writev", "pidfd_getfd"} <= set(denied)
