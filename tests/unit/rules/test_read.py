"""Reading rule files from directories: bounded, regular files only, every problem at once."""

import os

import pytest

from fleetmend_controller.playbooks import load
from fleetmend_controller.playbooks.load import read_documents
from fleetmend_controller.rules import RulesError

from .samples import CHECKS, PLAYBOOK


@pytest.fixture
def rules_dir(tmp_path):
    directory = tmp_path / "rules"
    for folder in ("checks", "playbooks/web"):
        (directory / folder).mkdir(parents=True)
    (directory / "checks" / "base.yaml").write_text(CHECKS)
    (directory / "playbooks" / "web" / "restart.yaml").write_text(PLAYBOOK)
    return directory


def said(*directories) -> list[str]:
    with pytest.raises(RulesError) as caught:
        read_documents(directories)
    return [str(problem) for problem in caught.value.problems]


def test_files_are_named_by_their_relative_path(rules_dir):
    for ignored in ("README.md", "checks/.hidden.yaml", "checks/base.yaml~", "checks/notes.txt", "other/x.yaml"):
        (rules_dir / ignored).parent.mkdir(exist_ok=True)
        (rules_dir / ignored).write_text("no rules: here")
    assert read_documents([rules_dir]) == {"checks/base.yaml": CHECKS, "playbooks/web/restart.yaml": PLAYBOOK}


def test_directories_are_put_together(rules_dir, tmp_path):
    more = tmp_path / "more"
    (more / "checks").mkdir(parents=True)
    (more / "checks" / "more.yaml").write_text("checks: []")
    assert sorted(read_documents([rules_dir, more])) == ["checks/base.yaml", "checks/more.yaml", "playbooks/web/restart.yaml"]


def test_one_path_in_two_directories_is_refused(rules_dir, tmp_path):
    more = tmp_path / "more"
    (more / "checks").mkdir(parents=True)
    (more / "checks" / "base.yaml").write_text(CHECKS)
    assert said(rules_dir, more) == [
        f"checks/base.yaml:1:1: cannot read {more}/checks/base.yaml: another directory has one of that name; rename it"
    ]


def test_what_is_no_regular_file_is_refused_and_never_waited_for(rules_dir):
    os.mkfifo(rules_dir / "checks" / "pipe.yaml")
    (rules_dir / "checks" / "link.yaml").symlink_to("/etc/hostname")
    (rules_dir / "checks" / "folder.yaml").mkdir()
    lines = said(rules_dir)
    assert [line.split(": cannot")[0] for line in lines] == ["checks/link.yaml:1:1", "checks/pipe.yaml:1:1"]
    assert lines[1].endswith("cannot read this file: it is not a regular file")


def test_every_unreadable_file_is_named(rules_dir):
    (rules_dir / "checks" / "latin.yaml").write_bytes(b"checks:\n  - name: caf\xe9\n")
    (rules_dir / "checks" / "short.yml").write_text("")
    (rules_dir / "playbooks" / "large.yaml").write_bytes(b"#" * (1024 * 1024 + 1))
    assert said(rules_dir) == [
        "checks/latin.yaml:2:14: cannot read this file: it is not UTF-8 text",
        "checks/short.yml:1:1: cannot use this file: its name must end with .yaml",
        "playbooks/large.yaml:1:1: cannot read this file: it has more than 1048576 bytes",
    ]


def test_all_files_together_are_bounded(rules_dir, monkeypatch):
    monkeypatch.setattr(load, "TOTAL_BYTES_MAX", 10)
    assert "cannot read rules: more than 10 bytes" in said(rules_dir)[0]


def test_a_directory_that_is_missing_is_told(rules_dir, tmp_path):
    assert said(rules_dir, tmp_path / "absent") == [f"{tmp_path}/absent:1:1: cannot read rules: there is no such directory"]


def test_a_directory_without_rules_is_no_fault(tmp_path):
    assert read_documents([tmp_path]) == {}
