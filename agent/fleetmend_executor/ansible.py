"""Runs one of the owner's Ansible playbooks on this host alone, with root's powers, as a transient unit of systemd."""

from __future__ import annotations

import json
import os
import shutil
import stat
from dataclasses import dataclass
from typing import ClassVar

from .actions import Refused
from .commands import ENVIRONMENT
from .policy import AnsiblePlay
from .run import ActionFailed, Run, failure, hosted_argv

PROGRAM = "ansible-playbook"
# Where distributions and people put it.
SEARCHED = f"/usr/local/bin:{ENVIRONMENT['PATH']}:/opt/ansible/bin"


@dataclass(frozen=True, slots=True)
class RunPlay:
    """One playbook of the policy file. Nothing of an order gets into its argument vector."""

    play: AnsiblePlay
    performer: ClassVar[str] = "ansible"


def perform(effect: RunPlay, run: Run) -> None:
    """Look at the file once more before it runs as root: whoever could change it could do anything."""
    play = effect.play
    check_file(play.playbook)
    program = play.program or shutil.which(PROGRAM, path=SEARCHED)
    if program is None or not os.access(program, os.X_OK):
        where = play.program or "this host"
        text = f"cannot run {PROGRAM}: it is not on {where}; install the package ansible-core, or name it by program:"
        raise ActionFailed("not_installed", text)
    limit_s = min(play.timeout_s, run.left_s())
    finished = run.argv(*hosted_argv(argv(program, play), limit_s), timeout_s=limit_s, output_bytes_max=play.output_bytes_max)
    run.output.append(f"== {PROGRAM} {play.playbook}\n{finished.output}")
    if finished.exit:
        raise failure(finished)


def argv(program: str, play: AnsiblePlay) -> tuple[str, ...]:
    """The owner's words alone: the playbook, its variables, and this host as the whole inventory."""
    variables = ("--extra-vars", json.dumps(play.extra_vars, sort_keys=True)) if play.extra_vars else ()
    fixed = ("--connection=local", "--inventory=localhost,", "--limit=localhost")
    return (program, *fixed, *variables, "--", play.playbook)


def check_file(path: str) -> None:
    """Refused unless it is a plain file that only its owner, root, can change."""
    try:
        found = os.lstat(path)
    except OSError as error:
        raise ActionFailed("no_playbook", f"cannot run {path}: {error.strerror}; the policy file names it") from error
    if not stat.S_ISREG(found.st_mode):
        raise Refused("unsafe_playbook", f"cannot run {path}: it is not a plain file")
    if found.st_uid not in (0, os.geteuid()) or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise Refused("unsafe_playbook", f"cannot run {path}: others than root can change it; chown root, chmod go-w")
