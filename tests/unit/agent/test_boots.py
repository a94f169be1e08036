"""Which boots ended in order: what the agent notes, and what it thinks of the boot before."""

from __future__ import annotations

import os

import pytest

from fleetmend_agent import boots
from fleetmend_agent.boots import Boot
from fleetmend_agent.host import Host, Roots

FIRST, SECOND = "11111111-aaaa", "22222222-bbbb"


@pytest.fixture
def folder(tmp_path):
    return str(tmp_path)


def test_a_first_boot_has_none_before_it(folder):
    assert boots.begin(Host(), folder, FIRST) == Boot(FIRST)


def test_a_boot_after_an_orderly_end_is_expected(folder):
    boots.end(Host(), folder, boots.begin(Host(), folder, FIRST))
    assert boots.begin(Host(), folder, SECOND) == Boot(SECOND, previous=FIRST)


def test_a_boot_after_no_word_is_not_however_often_the_agent_restarts_in_it(folder):
    boots.begin(Host(), folder, FIRST)
    unexpected = boots.begin(Host(), folder, SECOND)
    assert unexpected == Boot(SECOND, unexpected=True, previous=FIRST)
    boots.end(Host(), folder, unexpected)
    assert boots.begin(Host(), folder, SECOND) == unexpected


def test_an_agent_that_died_in_the_same_boot_is_no_reboot(folder):
    boots.begin(Host(), folder, FIRST)
    assert boots.begin(Host(), folder, FIRST) == Boot(FIRST)


@pytest.mark.parametrize("text", [FIRST, "rebooted by somebody"])
def test_an_announced_boot_is_expected_once(folder, tmp_path, text):
    boots.begin(Host(), folder, FIRST)
    (tmp_path / boots.PLANNED).write_text(text)
    assert boots.begin(Host(), folder, SECOND) == Boot(SECOND, previous=FIRST)
    assert not (tmp_path / boots.PLANNED).exists()
    assert boots.begin(Host(), folder, "33333333-cccc").unexpected


def test_an_old_announcement_is_not_for_this_boot(folder, tmp_path):
    (tmp_path / boots.PLANNED).write_text("00000000-before")
    os.utime(tmp_path / boots.PLANNED, (5, 5))
    boots.begin(Host(), folder, FIRST)
    assert boots.begin(Host(), folder, SECOND).unexpected


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"boot_id": 1}', "\x00" * 9000])
def test_a_note_that_cannot_be_read_is_none(folder, tmp_path, text):
    (tmp_path / boots.FILE).write_text(text)
    assert boots.begin(Host(), folder, FIRST) == Boot(FIRST)


def test_a_folder_that_cannot_be_written_stops_nobody():
    assert boots.begin(Host(), "/nonexistent/folder", FIRST) == Boot(FIRST)


def test_a_container_boots_without_its_kernel(tmp_path):
    (tmp_path / "proc/1").mkdir(parents=True)
    (tmp_path / "proc/sys/kernel/random").mkdir(parents=True)
    (tmp_path / "proc/sys/kernel/random/boot_id").write_text(FIRST)
    seen = []
    for start in (
        "1 (a) b) S 0 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 4711 0",
        "1 (init) S 0 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 9000",
        "?",
    ):
        (tmp_path / "proc/1/stat").write_text(start)
        seen.append(boots.current(Host(Roots.under(str(tmp_path)))))
    assert seen == [f"{FIRST} 4711", f"{FIRST} 9000", f"{FIRST} 0"]
