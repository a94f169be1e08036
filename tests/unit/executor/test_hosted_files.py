"""The hosted verbs that touch files: what they put right, and what they leave alone."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from fleetmend import registry
from fleetmend_executor import hosted
from fleetmend_executor.actions import Refused
from fleetmend_executor.commands import Finished
from fleetmend_executor.hosted import Verb, _evidence
from fleetmend_executor.hosted.restore_file import restore
from fleetmend_executor.hosting import settle
from fleetmend_executor.run import ActionFailed, Run

ROOT = Path(__file__).parents[3]


@pytest.fixture
def world(tmp_path):
    """A golden tree whose one file belongs at a path below the temporary folder."""
    tmp_path.chmod(0o755)
    live = tmp_path / "live/app.conf"
    live.parent.mkdir()
    live.write_text("edited\n")
    golden = tmp_path / "golden"
    copy = Path(f"{golden}{live}")
    copy.parent.mkdir(parents=True)
    copy.write_text("managed\n")
    copy.chmod(0o640)
    for folder in (golden, *copy.parents):
        if golden in (folder, *folder.parents):
            folder.chmod(0o755)
    return str(golden), live, copy


def done(world, same_owner=True) -> list[str]:
    golden, live, _ = world
    return list(restore(golden, str(live), same_owner, evidence=f"{live.parent.parent}/evidence"))


def test_a_drifted_file_is_replaced_at_once_and_the_drifted_copy_is_kept(world):
    _, live, _ = world
    before = live.stat().st_ino
    with live.open() as held:
        said = done(world)
        assert held.read() == "edited\n"
    assert (live.read_text(), stat.S_IMODE(live.stat().st_mode)) == ("managed\n", 0o640)
    assert live.stat().st_ino != before
    (kept,) = Path(f"{live.parent.parent}/evidence").iterdir()
    assert kept.read_text() == "edited\n"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert str(kept) in said[0]
    assert [path.name for path in live.parent.iterdir()] == ["app.conf"]


def test_owner_and_mode_of_the_live_file_stay_where_only_content_is_managed(world):
    _, live, _ = world
    live.chmod(0o604)
    done(world, same_owner=False)
    assert stat.S_IMODE(live.stat().st_mode) == 0o604


def test_a_missing_file_comes_back_with_its_folder(world):
    _, live, copy = world
    live.unlink()
    live.parent.rmdir()
    copy.parent.chmod(0o711)
    done(world)
    assert live.read_text() == "managed\n"
    assert stat.S_IMODE(live.parent.stat().st_mode) == 0o711


def test_a_link_in_place_of_the_file_is_replaced_not_followed(world):
    _, live, _ = world
    other = live.parent / "other"
    other.write_text("precious")
    live.unlink()
    live.symlink_to(other)
    done(world)
    assert (live.is_symlink(), live.read_text(), other.read_text()) == (False, "managed\n", "precious")


def test_a_golden_link_is_put_back_as_a_link(world):
    _, live, copy = world
    copy.unlink()
    copy.symlink_to("../elsewhere")
    done(world)
    assert str(live.readlink()) == "../elsewhere"


def test_a_link_on_the_way_is_refused(world):
    _, live, _ = world
    live.rename(live.with_name("kept"))
    moved = live.parent.rename(live.parent.with_name("moved"))
    live.parent.symlink_to(moved)
    with pytest.raises(Refused) as caught:
        done(world)
    assert caught.value.reason == "symbolic_link"


def test_what_is_masked_stays_masked(world):
    _, live, _ = world
    live.unlink()
    live.symlink_to("/dev/null")
    with pytest.raises(Refused) as caught:
        done(world)
    assert caught.value.reason == "maintenance"


def test_a_folder_in_place_of_the_file_is_left_to_people(world):
    _, live, _ = world
    live.unlink()
    live.mkdir()
    with pytest.raises(Refused) as caught:
        done(world)
    assert caught.value.reason == "not_a_file"


def test_a_golden_tree_that_others_may_write_is_not_trusted(world):
    golden, live, copy = world
    Path(golden).chmod(0o777)
    with pytest.raises(Refused) as caught:
        done(world)
    assert caught.value.reason == "untrusted"
    assert live.read_text() == "edited\n"
    Path(golden).chmod(0o755)
    copy.chmod(0o666)
    with pytest.raises(Refused):
        done(world)


def test_without_a_golden_copy_nothing_happens(world):
    _, _, copy = world
    copy.unlink()
    with pytest.raises(Refused) as caught:
        done(world)
    assert caught.value.reason == "undeclared"


def test_evidence_is_bounded(world, monkeypatch):
    _, live, _ = world
    monkeypatch.setattr(_evidence, "FILES_MAX", 2)
    for text in ("one", "two", "three", "four"):
        live.write_text(text)
        done(world)
    kept = sorted(Path(f"{live.parent.parent}/evidence").iterdir())
    assert [path.read_text() for path in kept] == ["three", "four"]


@pytest.mark.parametrize("name", registry.names(hosted))
def test_every_verb_refuses_what_it_was_not_told(name):
    verb = registry.load_one(hosted, name, "VERB", Verb)
    assert verb.summary.endswith(".")
    for arguments in ((), ("--help",), ("relative", "x", "y", "z"), ("/etc/shadow",) * 4, ("/a/../b",) * 4, ("\0",) * 4):
        with pytest.raises((Refused, ActionFailed), match=r"^cannot "):
            list(verb.run(arguments))


def test_the_program_says_why_in_its_last_line():
    argv = [sys.executable, "-m", "fleetmend_executor.hosted"]
    environment = {"PYTHONPATH": f"{ROOT}/agent:{ROOT}/protos", "PATH": os.environ["PATH"]}
    ended = subprocess.run([*argv, "restore_file"], env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == hosted.EXIT_REFUSED
    assert ended.stdout.startswith("bad_parameter: cannot ")
    assert subprocess.run([*argv, "no-such"], env=environment, capture_output=True, check=False).returncode == 2


@pytest.mark.parametrize(
    ("code", "error", "reason"),
    [
        (hosted.EXIT_REFUSED, Refused, "protected"),
        (hosted.EXIT_FAILED, ActionFailed, "protected"),
        (1, ActionFailed, "exit_status"),
    ],
)
def test_how_a_verb_ended_becomes_the_outcome(code, error, reason):
    with pytest.raises(error) as caught:
        settle("restore_file", Finished(("x",), code, 1, "a line\nprotected: cannot touch it\n"), Run(1e12))
    assert caught.value.reason == reason


def test_what_a_verb_did_is_the_detail():
    run = Run(1e12)
    settle("restore_file", Finished(("x",), 0, 1, "kept\nrestored /etc/x\n"), run)
    assert run.detail == ["restored /etc/x"]
