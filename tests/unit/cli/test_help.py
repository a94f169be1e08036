"""Help: every command has a sentence, examples that it accepts, and says what its JSON is."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys

import click
import pytest

from fleetmend.v1 import admin_pb2 as pb
from fleetmend_cli.__main__ import root

from .shell import Shell, all_commands


@pytest.fixture
def fleetmend(tmp_path) -> Shell:
    return Shell(tmp_path / "absent.sock", tmp_path)


def find(words: tuple[str, ...]) -> click.Command:
    command: click.Command = root()
    for word in words:
        command = command.get_command(click.Context(command), word)
    return command


@pytest.mark.parametrize("words", all_commands(), ids=" ".join)
def test_every_command_has_examples_that_parse(fleetmend, words):
    out = fleetmend(*words, "--help").out
    assert "Examples:" in out
    assert "--output" in out
    examples = re.findall(r"^ +(?:\(umask 077; )?fleetmend (.*)$", find(words).epilog, re.MULTILINE)
    assert examples
    for example in examples:
        line = re.split(r" [|>] ", example)[0]
        arguments = shlex.split(line)
        assert tuple(arguments[: len(words)]) == words
        find(words).make_context("x", arguments[len(words) :])


@pytest.mark.parametrize("words", all_commands(), ids=" ".join)
def test_the_json_that_help_names_is_a_message_of_the_protocol(words):
    named = re.search(r"JSON: (.*)", find(words).epilog)[1]
    messages = re.findall(r"\b[A-Z]\w+", named.replace("RunPlan", "RunPlan"))
    assert messages or "{" in named
    assert all(hasattr(pb, message) for message in messages)


def test_groups_and_the_root_show_what_is_below_them(fleetmend):
    out = fleetmend("--help").out
    assert "Exit codes: 0 done, 1 failed, 2 wrong usage, 3 the controller cannot be reached." in out
    for group in ("hosts", "incidents", "token", "playbooks", "actions", "audit"):
        assert re.search(rf"^  {group} +\w", out, re.MULTILINE)
        below = fleetmend(group, "--help")
        assert below.code == 0
        assert re.search(r"^  ls +\w|^  create +\w", below.out, re.MULTILINE)


@pytest.mark.parametrize(
    "words", [("nonsense",), ("hosts", "nonsense"), ("hosts", "ls", "--nonsense"), ("explain",), ("status", "-o", "xml")]
)
def test_wrong_usage_is_exit_code_two(fleetmend, words):
    assert fleetmend(*words).code == 2


def test_help_needs_neither_grpc_nor_rich():
    probe = (
        "import sys; from fleetmend_cli.__main__ import root\n"
        "try: root().main(['--help'], prog_name='fleetmend')\n"
        "except SystemExit: pass\n"
        "print(sorted({'grpc', 'rich', 'google', 'yaml', 'asyncio'} & set(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True).stdout
    assert out.splitlines()[-1] == "[]"
