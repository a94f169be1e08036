"""Verbs for kernel settings and the time zone, and the files of sysctl.d that they and the check read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fleetmend import sysctls
from fleetmend_executor.actions import Refused
from fleetmend_executor.hosted import apply_sysctl
from fleetmend_executor.hosted.set_timezone import set_zone

TEXT = """
# comment
; comment
net.core.somaxconn=16
 net.core.somaxconn = 1024
-net/ipv4/tcp_keepalive_time = 600
net.ipv4.ip_local_port_range = 20000\t 60999
net/ipv4/conf/eth0.5/rp_filter = 1
net.ipv4.conf.*.rp_filter = 2
../../etc/shadow = 1
net.core.. = 1
kernel = 1
novalue
kernel.core_pattern =
"""


def test_a_file_of_settings_is_read_as_systemd_reads_it():
    assert sysctls.parse(TEXT) == {
        "net.core.somaxconn": "1024",
        "net.ipv4.tcp_keepalive_time": "600",
        "net.ipv4.ip_local_port_range": "20000 60999",
        "kernel.core_pattern": "",
    }
    assert sysctls.path_of("net.core.somaxconn") == "/proc/sys/net/core/somaxconn"


@pytest.mark.parametrize("name", ["", "net", "/etc/shadow", "..", "net.../x", "net.core.a b", "net.core.x\n", "net.ipv4.*.x"])
def test_what_is_no_setting_leads_nowhere(name):
    assert not sysctls.is_setting(name)


@pytest.mark.parametrize(
    "arguments",
    [(), ("/etc/a.conf",), ("etc/a.conf", "net.core.somaxconn"), ("/etc/a.conf", "../x"), ("/a", "net.core.x", "y")],
)
def test_the_verb_judges_its_arguments_again(arguments):
    with pytest.raises(Refused) as caught:
        list(apply_sysctl._run(arguments))
    assert caught.value.reason == "bad_parameter"


def test_a_setting_that_the_file_does_not_name_is_refused(tmp_path, monkeypatch):
    file = tmp_path / "90-shop.conf"
    file.write_text("net.core.somaxconn = 1024\n")
    monkeypatch.setattr(os, "fstat", lambda descriptor, real=os.fstat: _as_root(real(descriptor)))
    with pytest.raises(Refused, match="does not name it") as caught:
        list(apply_sysctl._run((str(file), "kernel.panic")))
    assert caught.value.reason == "undeclared"
    assert apply_sysctl._wanted(str(file)) == {"net.core.somaxconn": "1024"}


def _as_root(status: os.stat_result) -> os.stat_result:
    return os.stat_result((*status[:4], 0, 0, *status[6:10]))


def test_a_file_that_others_may_write_is_not_trusted(tmp_path):
    file, link = tmp_path / "90-shop.conf", tmp_path / "link.conf"
    file.write_text("kernel.panic = 1\n")
    file.chmod(0o666)
    link.symlink_to(file)
    with pytest.raises(Refused) as caught:
        apply_sysctl._wanted(str(file))
    assert caught.value.reason == "not_trusted"
    with pytest.raises(OSError, match="symbolic"):
        apply_sysctl._wanted(str(link))


def test_a_time_zone_is_set_at_once_and_its_name_where_there_is_such_a_file(tmp_path):
    zones, link, name = tmp_path / "zoneinfo", tmp_path / "localtime", tmp_path / "timezone"
    (zones / "Etc").mkdir(parents=True)
    (zones / "Etc/UTC").write_text("TZif")
    link.symlink_to("/nowhere")
    told = list(set_zone("Etc/UTC", str(link), str(zones), str(name)))
    assert (len(told), link.readlink(), name.exists()) == (1, zones / "Etc/UTC", False)
    name.write_text("Asia/Tokyo\n")
    assert len(list(set_zone("Etc/UTC", str(link), str(zones), str(name)))) == 2
    assert name.read_text() == "Etc/UTC\n"
    assert sorted(each.name for each in tmp_path.iterdir()) == ["localtime", "timezone", "zoneinfo"]


@pytest.mark.parametrize("zone", ["Etc", "Etc/Nowhere"])
def test_a_zone_that_is_not_installed_is_refused(zone, tmp_path):
    (tmp_path / "Etc").mkdir()
    with pytest.raises(Refused) as caught:
        list(set_zone(zone, str(tmp_path / "localtime"), str(tmp_path), str(tmp_path / "timezone")))
    assert caught.value.reason == "not_there"
    assert not Path(tmp_path / "localtime").is_symlink()
