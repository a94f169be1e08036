"""Files laid over the machine: what is there is seen in place of the machine's own, the rest stays as it is."""

from __future__ import annotations

import stat

import pytest

from fleetmend_agent.host import Host, Roots


@pytest.fixture
def host(tmp_path):
    for name in ("proc/net", "sys/class/net/eth0", "etc", "root/run", "tools"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "proc/meminfo").write_text("own\n")
    (tmp_path / "proc/loadavg").write_text("own\n")
    laid = tmp_path / "laid"
    for name in ("proc", "sys/class/net/eth1", "run", "bin"):
        (laid / name).mkdir(parents=True)
    (laid / "proc/meminfo").write_text("laid\n")
    return Host(Roots(*(f"{tmp_path}/{name}" for name in ("proc", "sys", "etc", "root", "tools", "kmsg")), overlay=str(laid)))


def test_what_is_laid_over_wins_and_the_rest_is_the_machines(host):
    assert host.read_text("/proc/meminfo") == "laid\n"
    assert host.read_text("/proc/loadavg") == "own\n"


def test_a_folder_shows_both(host):
    assert sorted(host.listdir("/sys/class/net")) == ["eth0", "eth1"]
    assert sorted(host.listdir("/proc")) == ["loadavg", "meminfo", "net"]


def test_a_tool_that_is_laid_over_runs_in_place_of_the_machines(host, tmp_path):
    for folder, word in (("tools", "own"), ("laid/bin", "laid")):
        tool = tmp_path / folder / "smartctl"
        tool.write_text(f"#!/bin/sh\necho {word}\n")
        tool.chmod(0o755)
    assert host.run(("smartctl",), 10.0).stdout == "laid\n"
    (tmp_path / "laid/bin/smartctl").unlink()
    assert host.run(("smartctl",), 10.0).stdout == "own\n"


def test_a_folder_is_scanned_for_modes_without_links_laid_over_or_not(host, tmp_path):
    own = tmp_path / "root/opt"
    own.mkdir()
    for name, mode in (("tool", 0o4755), ("text", 0o644)):
        (own / name).write_text("own")
        (own / name).chmod(mode)
    (own / "link").symlink_to("tool")
    (own / "deep").mkdir()
    plain = Host(Roots(root=str(tmp_path / "root")))
    for each in (plain, host):
        found = each.scan("/opt", stat.S_ISUID, 10)
        assert (found.files, found.folders, found.names) == (["/opt/tool"], ["/opt/deep"], 4)
        assert each.scan("/opt", stat.S_ISUID, 0).names == 0
        with pytest.raises(FileNotFoundError):
            each.scan("/nothing", stat.S_ISUID, 10)
