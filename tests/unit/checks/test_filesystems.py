"""Which filesystems count, how full they are, and when read-only is wrong."""

from __future__ import annotations

import os

import pytest

from fleetmend_agent.checks._filesystems import local
from fleetmend_agent.checks.filesystem_readonly import is_wrongly_read_only
from fleetmend_agent.checks.filesystem_space import usage
from fleetmend_agent.host import Mount, parse_fstab, parse_mountinfo


def mount(point="/srv", device="8:1", root="/", options=("rw",), fstype="ext4", super_options=("rw",)):
    return Mount(device, root, point, options, fstype, "/dev/sda1", super_options)


def test_a_line_of_mountinfo_is_taken_apart_with_its_escapes():
    line = r"36 35 98:0 /mnt1 /mnt\0402 rw,noatime master:1 shared:2 - ext3 /dev/r\134oot rw,errors=continue"
    (found,) = parse_mountinfo(line + "\nnonsense\n1 2 3 - x\n")
    assert found == Mount("98:0", "/mnt1", "/mnt 2", ("rw", "noatime"), "ext3", "/dev/r\\oot", ("rw", "errors=continue"))


def test_fstab_gives_options_by_mount_point():
    text = "# /dev/sdz /no ext4 ro 0 0\nUUID=1 / ext4 errors=remount-ro 0 1\nswap none swap sw\n"
    text += "/dev/b /my\\040data xfs ro,noatime 0 2\nx /short"
    assert parse_fstab(text) == {"/": ("errors=remount-ro",), "/my data": ("ro", "noatime")}


def test_each_local_filesystem_counts_once_where_its_root_is():
    mounts = [
        mount("/"),
        mount("/var/lib/kubelet/pods/x", root="/sub"),
        mount("/data/bound", device="8:2", root="/inner"),
        mount("/data", device="8:2"),
        mount("/etc/hosts", device="8:3", root="/of/the/outer/machine"),
        mount("/vol/deep", device="0:70", root="/@deep", fstype="btrfs"),
        mount("/vol", device="0:70", root="/@vol", fstype="btrfs"),
        mount("/snap/x", device="7:1", fstype="squashfs"),
        mount("/net", device="0:50", fstype="nfs4"),
        mount("/run", device="0:20", fstype="tmpfs"),
        mount("/var/lib/docker/overlay2/x/merged", device="0:60", fstype="overlay"),
    ]
    assert [m.mount_point for m in local(mounts, ())] == ["/", "/data", "/vol"]
    assert [m.mount_point for m in local(mounts, ("/data*", "/vo?"))] == ["/"]


def test_the_root_of_a_container_counts_although_it_is_an_overlay():
    assert [m.mount_point for m in local([mount("/", fstype="overlay", device="0:44")], ())] == ["/"]


def test_what_covers_a_mount_point_is_what_counts():
    assert local([mount("/srv"), mount("/srv", device="0:9", fstype="tmpfs")], ()) == []


def test_use_is_counted_as_df_does():
    numbers = os.statvfs_result((4096, 4096, 1000, 200, 150, 0, 0, 0, 0, 255))
    used = usage(numbers)
    assert used.free == 150 * 4096
    assert used.total == 950 * 4096
    assert used.used_ratio == pytest.approx(800 / 950)


@pytest.mark.parametrize(
    ("options", "super_options", "fstab", "own", "wrong"),
    [
        ("rw", "rw", None, True, False),
        ("rw", "ro", None, True, True),  # the kernel did it
        ("ro", "ro", None, True, False),  # mounted so
        ("ro", "rw", None, True, False),  # a read-only view
        ("rw", "ro", "defaults", True, True),
        ("ro", "ro", "defaults", True, True),  # remounted by somebody
        ("ro", "rw", "defaults", True, True),  # remounted as a bind mount
        ("ro", "rw", "defaults", False, False),  # the agent's own sandbox
        ("ro", "ro", "defaults", False, True),
        ("ro", "ro", "ro", True, False),
        ("rw", "ro", "ro", True, False),
    ],
)
def test_read_only_is_wrong_only_against_a_declaration(options, super_options, fstab, own, wrong):
    declared = {"/srv": tuple(fstab.split(","))} if fstab else {}
    assert is_wrongly_read_only(mount(options=(options,), super_options=(super_options,)), declared, own) is wrong
