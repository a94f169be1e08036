"""Reboots and Ansible playbooks: the note for the next boot, fixed argument vectors, and nothing that others could change."""

from __future__ import annotations

import json
import os
import shutil
import stat

import pytest

from fleetmend_executor import ansible, rebooting
from fleetmend_executor.actions import Refused, reboot_host, run_ansible, validate
from fleetmend_executor.ansible import RunPlay
from fleetmend_executor.commands import run_argv
from fleetmend_executor.policy import AnsiblePlay, PolicyError, parse
from fleetmend_executor.rebooting import Reboot
from fleetmend_executor.run import ActionFailed, Runner

from .world import rules


def carry_out(effect):
    return Runner(lambda _text: None).carry_out(lambda: (effect,), 20.0)


# Reboot.


def test_the_note_names_the_boot_that_ends(tmp_path):
    (tmp_path / "planned-reboot").write_text("older")
    rebooting.leave_note(str(tmp_path), "b-1")
    note = tmp_path / "planned-reboot"
    assert note.read_text() == "b-1\n"
    assert stat.S_IMODE(note.stat().st_mode) & 0o022 == 0


def test_the_note_follows_no_link(tmp_path):
    target = tmp_path / "precious"
    target.write_text("mine")
    folder = tmp_path / "state"
    folder.mkdir()
    (folder / "planned-reboot").symlink_to(target)
    rebooting.leave_note(str(folder), "b-1")
    assert target.read_text() == "mine"
    linked = tmp_path / "linked"
    linked.symlink_to(folder)
    with pytest.raises(OSError):
        rebooting.leave_note(str(linked), "b-1")


def test_systemd_reboots_a_moment_later_under_one_name(tmp_path, monkeypatch):
    said = tmp_path / "said"
    tool = tmp_path / "systemd-run"
    tool.write_text(f'#!/bin/sh\necho "$@" >> {said}\n')
    tool.chmod(0o755)
    monkeypatch.setattr(rebooting, "NOTE_DIR", str(tmp_path))
    real = rebooting.argv
    monkeypatch.setattr(rebooting, "argv", lambda delay: (str(tool), *real(delay)[1:]))
    result = carry_out(Reboot())
    assert result.outcome == "done", result
    words = said.read_text()
    assert "--unit=fleetmend-reboot" in words
    assert "--on-active=5s" in words
    assert words.rstrip().endswith("-- systemctl --no-ask-password reboot")
    tool.write_text("#!/bin/sh\necho 'Unit fleetmend-reboot.timer was already loaded' >&2\nexit 1\n")
    assert carry_out(Reboot()).outcome == "failed"


def test_without_a_note_there_is_no_reboot_but_without_an_agent_none_is_needed(tmp_path, monkeypatch):
    blocked = tmp_path / "planned-reboot"
    blocked.mkdir()
    monkeypatch.setattr(rebooting, "NOTE_DIR", str(tmp_path))
    result = carry_out(Reboot())
    assert (result.outcome, result.reason, result.commands) == ("failed", "no_note", ())
    monkeypatch.setattr(rebooting, "NOTE_DIR", str(tmp_path / "none"))
    monkeypatch.setattr(rebooting, "argv", lambda _delay: ("true",))
    assert carry_out(Reboot()).outcome == "done"


def test_a_reboot_must_be_listed():
    with pytest.raises(Refused, match="policy file does not list it"):
        reboot_host.ACTION.plan({}, rules("actions: {}"))
    assert reboot_host.ACTION.plan({}, rules("actions: {reboot_host: {}}")) == (Reboot(),)


# Ansible.


def playbook(folder, mode=0o644):
    file = folder / "tidy.yaml"
    file.write_text("- hosts: localhost\n")
    file.chmod(mode)
    return str(file)


def fake(folder, text='echo "$@"'):
    tool = folder / "ansible-playbook"
    tool.write_text(f"#!/bin/sh\n{text}\n")
    tool.chmod(0o755)
    return str(tool)


@pytest.fixture
def unhosted(monkeypatch):
    """Without systemd: the same vector, run at once."""
    monkeypatch.setattr(ansible, "hosted_argv", lambda argv, _timeout_s: argv)


def test_only_what_the_policy_offers_is_planned():
    offered = rules(
        "actions: {run_ansible: {commands: [tidy]}}\nansible: {tidy: {playbook: /srv/tidy.yaml}, other: {playbook: /x}}"
    )
    (effect,) = run_ansible.ACTION.plan(validate(run_ansible.ACTION, {"play": "tidy"}), offered)
    assert effect == RunPlay(AnsiblePlay("/srv/tidy.yaml"))
    for name in ("other", "nothing", "/srv/tidy.yaml", "--help"):
        with pytest.raises(Refused, match="does not offer it"):
            run_ansible.ACTION.plan({"play": name}, offered)


def test_the_argument_vector_is_the_owners(tmp_path, unhosted):
    play = AnsiblePlay(playbook(tmp_path), {"b": [1, 2], "a": "x; reboot"}, program=fake(tmp_path))
    argv = ansible.argv(play.program, play)
    assert argv[1:4] == ("--connection=local", "--inventory=localhost,", "--limit=localhost")
    assert json.loads(argv[5]) == {"b": [1, 2], "a": "x; reboot"}
    assert argv[-2:] == ("--", play.playbook)
    result = carry_out(RunPlay(play))
    assert (result.outcome, "--connection=local" in result.output) == ("done", True)


def test_time_output_and_failure_are_bounded(tmp_path, unhosted):
    file = playbook(tmp_path)
    slow = carry_out(RunPlay(AnsiblePlay(file, timeout_s=0.3, program=fake(tmp_path, "exec sleep 30"))))
    assert (slow.outcome, slow.reason) == ("failed", "timeout")
    loud = carry_out(
        RunPlay(
            AnsiblePlay(file, output_bytes_max=1000, program=fake(tmp_path, "head -c 100000 /dev/zero | tr '\\0' x; exit 2"))
        )
    )
    assert (loud.outcome, loud.reason, len(loud.output) < 2000) == ("failed", "exit_status", True)


def test_what_is_not_installed_says_the_way_out(tmp_path, monkeypatch):
    monkeypatch.setattr(ansible, "SEARCHED", str(tmp_path))
    result = carry_out(RunPlay(AnsiblePlay(playbook(tmp_path))))
    assert (result.outcome, result.reason) == ("failed", "not_installed")
    assert "install the package ansible-core" in result.detail


@pytest.mark.parametrize("mode", [0o666, 0o664, 0o646])
def test_a_playbook_that_others_can_change_does_not_run(tmp_path, mode):
    with pytest.raises(Refused, match="others than root can change it"):
        ansible.check_file(playbook(tmp_path, mode))


def test_links_folders_and_nothing_do_not_run(tmp_path):
    (tmp_path / "link").symlink_to(playbook(tmp_path))
    for name in ("link", "."):
        with pytest.raises(Refused, match="not a plain file"):
            ansible.check_file(str(tmp_path / name))
    with pytest.raises(ActionFailed, match="the policy file names it"):
        ansible.check_file(str(tmp_path / "none"))


@pytest.mark.parametrize(
    "text",
    [
        "ansible: {a: /srv/x.yaml}",
        "ansible: {a: {playbook: x.yaml}}",
        "ansible: {a: {}}",
        "ansible: {a: {playbook: /x, argv: [x]}}",
        "ansible: {a: {playbook: /x, extra_vars: [1]}}",
        "ansible: {a: {playbook: /x, extra_vars: {d: 2020-01-01}}}",
        "ansible: {a: {playbook: /x, timeout: 2d}}",
        "ansible: {a: {playbook: /x, program: ansible-playbook}}",
        "ansible: [a]",
    ],
)
def test_a_policy_that_cannot_be_understood_permits_nothing(text):
    with pytest.raises(PolicyError, match="cannot use"):
        parse(text.encode(), "executor.yaml")


REAL = os.environ.get("ANSIBLE_PLAYBOOK") or shutil.which("ansible-playbook") or ""


@pytest.mark.skipif(
    not REAL and os.environ.get("CI") != "true",
    reason="install ansible-core, or set ANSIBLE_PLAYBOOK to a real ansible-playbook",
)
def test_a_real_playbook_runs(tmp_path, unhosted):
    file = tmp_path / "real.yaml"
    file.write_text(
        "- hosts: localhost\n  gather_facts: false\n  tasks:\n"
        '    - ansible.builtin.copy: {content: "{{ word }}", dest: "' + str(tmp_path / "made") + "\", mode: '0644'}\n"
    )
    result = carry_out(RunPlay(AnsiblePlay(str(file), {"word": "done"}, program=REAL)))
    assert result.outcome == "done", result.output
    assert (tmp_path / "made").read_text() == "done"
    assert run_argv((REAL, "--version"), 20.0, 1000).exit == 0
