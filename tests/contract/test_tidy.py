"""The tree keeps the house rules, and the checker of each rule is seen to catch a breach."""

from __future__ import annotations

import subprocess
from functools import cache
from pathlib import Path

import pytest

from tests.tools import tidy

ROOT = Path(__file__).parents[2]
SOURCE_ROOTS = ("agent", "controller", "protos")
# Folders whose files are found by walking: their listing is the feature list.
REGISTRIES = (
    "agent/fleetmend_agent/checks/*",
    "agent/fleetmend_agent/facts/*",
    "agent/fleetmend_executor/actions/*",
    "agent/fleetmend_executor/hosted/*",
    "agent/fleetmend_executor/looks/*",
    "controller/fleetmend_controller/core/gates/*",
    "controller/fleetmend_controller/declarations/sections/*",
    "controller/fleetmend_controller/notify/*",
    "controller/fleetmend_controller/hands/*",
    "controller/fleetmend_controller/store/migrations/*",
    "controller/fleetmend_controller/commands/*",
    "controller/fleetmend_cli/commands/*",
    "deploy/checks/*",
    "deploy/declarations/*",
    "deploy/playbooks/*",
    "deploy/lab/world/etc/systemd/system/*.service.d/*",  # found by systemd itself
    "tests/fixtures/*",
    "protos/buf.yaml",  # found by buf itself
)
# Read from outside: by the simulation, which is a test; run by path, as a child.
OUTSIDE = ("fleetmend_controller.core.invariants", "fleetmend_agent.certificate_probe")
GENERATED = ("_pb2.py", "_pb2.pyi", "_pb2_grpc.py", "_pb2_grpc.pyi")


@cache
def tree() -> dict[str, str]:
    """Every file that git tracks or would track, with its text; binary files have none."""
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        check=True,
        text=True,
    ).stdout
    texts = {}
    for name in filter(None, listing.split("\0")):
        path = ROOT / name
        if path.is_file() and not name.endswith(GENERATED):
            data = path.read_bytes()
            texts[name] = "" if b"\0" in data else data.decode()
    return texts


def report(violations: list[tidy.Violation]) -> None:
    assert not violations, "\n" + "\n".join(map(str, violations))


def test_python_files_keep_the_rules():
    report([v for path, text in tree().items() if path.endswith(".py") for v in tidy.check_python(path, text)])


def test_no_file_has_a_word_that_may_not_appear():
    report([v for path, text in tree().items() for v in tidy.check_words(path, text)])


def test_every_file_is_referred_to():
    scripts = (ROOT / "pyproject.toml").read_text()
    entries = [line.split('"')[1].split(":")[0] for line in scripts.splitlines() if "__main__:main" in line]
    report(tidy.unreferenced(tree(), SOURCE_ROOTS, REGISTRIES, [*entries, *OUTSIDE]))


def test_the_named_places_exist():
    for path in (*tidy.CLOCK_MODULES, *tidy.BROAD_EXCEPT_MODULES):
        assert path in tree(), f"{path} is named in a rule but is not there"


PRODUCT = "controller/fleetmend_controller/decider/loop.py"

BREACHES = {
    "function-size": "def f():\n" + "    x = 1\n" * 61,
    "file-size": "x = 1\n" * 501,
    "nesting": "def f(a):\n if a:\n  with a:\n   for b in a:\n    while b:\n     if c:\n      b()\n",
    "banned-call": "import subprocess\nsubprocess.run('ls', shell=True)\n",
    "clock": "import time\n\ndef f():\n    return time.time()\n",
    "print": "print('hello')\n",
    "banned-import": "import pickle\n",
    "broad-except": "try:\n    f()\nexcept Exception:\n    pass\n",
}


@pytest.mark.parametrize("rule", BREACHES)
def test_a_breach_is_caught(rule):
    assert rule in {v.rule for v in tidy.check_python(PRODUCT, BREACHES[rule])}


@pytest.mark.parametrize(
    "source",
    [
        "eval('1')",
        "exec('x = 1')",
        "import os\nos.system('ls')",
        "from os import system as run\nrun('ls')",
        "import yaml\nyaml.load(f)",
        "import yaml\nyaml.unsafe_load(f)",
        "import subprocess as s\ns.getoutput('ls')",
        "import asyncio\nasyncio.create_subprocess_shell('ls')",
        "import subprocess\nsubprocess.Popen(argv, shell=flag)",
    ],
)
def test_banned_calls_are_caught_under_any_name(source):
    assert "banned-call" in {v.rule for v in tidy.check_python(PRODUCT, source)}


@pytest.mark.parametrize(
    "source",
    [
        "import time as t\nt.time_ns()",
        "from datetime import datetime\ndatetime.now()",
        "import datetime\ndatetime.date.today()",
    ],
)
def test_clocks_are_caught_under_any_name(source):
    assert "clock" in {v.rule for v in tidy.check_python(PRODUCT, source)}


@pytest.mark.parametrize(
    "handler", ["except:", "except BaseException:", "except (ValueError, Exception):", "except Exception as e:"]
)
def test_broad_excepts_are_caught_in_any_form(handler):
    assert "broad-except" in {v.rule for v in tidy.check_python(PRODUCT, f"try:\n    f()\n{handler}\n    log()\n")}


def test_what_is_allowed_passes():
    clean = (
        "import subprocess\n\n"
        "def f(a):\n"
        "    if a == 1:\n        return 1\n    elif a == 2:\n        return 2\n    elif a == 3:\n        return 3\n"
        "    elif a == 4:\n        return 4\n    elif a == 5:\n        return 5\n"
        "    try:\n        subprocess.run(['ls'], shell=False)\n"
        "    except BaseException:\n        undo()\n        raise\n"
        "    try:\n        future.set_result(f())\n"
        "    except BaseException as error:\n        future.set_exception(error)\n"
    )
    assert tidy.check_python(PRODUCT, clean) == []
    assert tidy.check_python(tidy.CLOCK_MODULES[0], BREACHES["clock"]) == []
    assert tidy.check_python(tidy.BROAD_EXCEPT_MODULES[0], BREACHES["broad-except"]) == []
    assert tidy.check_python("controller/fleetmend_cli/status.py", BREACHES["print"]) == []


@pytest.mark.parametrize("word", tidy.WORDS)
def test_a_word_is_caught(word):
    assert tidy.check_words("README.md", f"see {word} there")


def test_a_file_that_nothing_refers_to_is_caught():
    files = {
        "controller/shop/a.py": "from . import b\n",
        "controller/shop/b.py": "",
        "controller/shop/lonely.py": "",
        "controller/shop/only_tested.py": "",
        "tests/test_shop.py": "import shop.only_tested\n",
        "deploy/things/used.yaml": "",
        "deploy/things/unused.yaml": "",
        "README.md": "take used.yaml",
    }
    dead = {v.path for v in tidy.unreferenced(files, ("controller",), (), ["shop.a"])}
    assert dead == {"controller/shop/lonely.py", "controller/shop/only_tested.py", "deploy/things/unused.yaml"}
