"""Deleting in real folders: what goes, in which order, and what is never touched."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fleetmend_executor.actions import Refused
from fleetmend_executor.clearing import clear, used_percent
from fleetmend_executor.effects import ClearFiles
from fleetmend_executor.run import ActionFailed, Run, Runner

NOW_S = 1_800_000_000
KIB = 1024


def run() -> Run:
    return Run(time.monotonic() + 60)


@pytest.fixture
def tree(tmp_path):
    """cache/: five files of 8 KiB, the n-th n hours old."""
    cache = tmp_path / "cache"
    (cache / "sub").mkdir(parents=True)
    for hours, name in enumerate(["new", "one", "sub/two", "three", "sub/four"]):
        write(cache / name, hours)
    return cache


def write(path: Path, hours: int) -> None:
    path.write_bytes(b"x" * 8 * KIB)
    os.utime(path, (NOW_S - 3600 * hours,) * 2)


def effect(base: Path, **changes) -> ClearFiles:
    values = {"patterns": (f"{base}/**",), "disposable": (f"{base}/**",), "protected": (), "min_age_s": 0}
    return ClearFiles(**{**values, **changes})


def left(base: Path) -> set[str]:
    return {str(p.relative_to(base)) for p in base.rglob("*") if not p.is_dir() or p.is_symlink()}


def test_the_oldest_go_first_until_enough_is_free(tree):
    done = run()
    clear(effect(tree, free_bytes=12 * KIB), done, NOW_S)
    assert left(tree) == {"new", "one", "sub/two"}
    assert done.detail == [f"freed {16 * KIB} bytes in 2 of 5 files"]
    assert str(tree / "sub/four") in done.output[0]


def test_only_what_is_old_enough(tree):
    clear(effect(tree, min_age_s=2 * 3600), run(), NOW_S)
    assert left(tree) == {"new", "one"}


def test_a_file_must_be_wanted_disposable_and_unprotected(tree):
    clear(
        effect(tree, patterns=(f"{tree}/**",), disposable=(f"{tree}/*", f"{tree}/sub/two"), protected=(f"{tree}/three",)),
        run(),
        NOW_S,
    )
    assert left(tree) == {"three", "sub/four"}
    with pytest.raises(ActionFailed, match="cannot free anything"):
        clear(effect(tree, protected=(f"{tree}/sub", f"{tree}/three")), run(), NOW_S)


def test_at_most_so_many_files(tree):
    clear(effect(tree, files_max=1), run(), NOW_S)
    assert len(left(tree)) == 4


def test_a_target_already_met_deletes_nothing(tree):
    clear(effect(tree, until_used_percent=int(used_percent(str(tree))) + 2), run(), NOW_S)
    assert len(left(tree)) == 5


def test_when_all_that_may_go_is_not_enough_it_says_so_at_once(tree):
    done = run()
    with pytest.raises(ActionFailed, match="that is all that may go, and it is not enough") as caught:
        clear(effect(tree, free_bytes=100 * KIB), done, NOW_S)
    assert (caught.value.reason, left(tree)) == ("not_enough", set())
    assert str(tree / "sub/four") in done.output[0]


def test_one_plain_file(tree):
    one = tree / "one"
    clear(effect(tree, patterns=(str(one), f"{one}/**")), run(), NOW_S)
    assert left(tree) == {"new", "three", "sub/two", "sub/four"}


def test_links_are_neither_followed_nor_deleted(tree, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    write(outside / "precious", 100)
    (tree / "link-to-folder").symlink_to(outside)
    (tree / "link-to-file").symlink_to(outside / "precious")
    clear(effect(tree), run(), NOW_S)
    assert left(tree) == {"link-to-folder", "link-to-file"}
    assert left(outside) == {"precious"}


def test_a_folder_reached_through_a_link_is_refused(tree, tmp_path):
    (tmp_path / "alias").symlink_to(tree)
    with pytest.raises(Refused, match="symbolic link") as caught:
        clear(effect(tmp_path / "alias"), run(), NOW_S)
    assert caught.value.reason == "symbolic_link"
    assert len(left(tree)) == 5


def test_what_is_no_regular_file_stays(tree):
    os.mkfifo(tree / "fifo")
    clear(effect(tree), run(), NOW_S)
    assert left(tree) == {"fifo"}


def test_a_file_with_another_name_frees_nothing(tree, tmp_path):
    os.link(tree / "three", tmp_path / "second-name")
    done = run()
    clear(effect(tree, patterns=(f"{tree}/three",)), done, NOW_S)
    assert done.detail == ["freed 0 bytes in 1 of 1 files"]


def test_a_folder_that_is_not_there_is_a_failure_with_a_reason(tmp_path):
    with pytest.raises(ActionFailed, match="cannot free anything"):
        clear(effect(tmp_path / "absent"), run(), NOW_S)


def test_names_that_are_no_text_or_would_move_a_cursor_are_told_harmlessly(tree):
    os.close(os.open(os.fsencode(tree) + b"/\xff\x1b[2J", os.O_CREAT | os.O_WRONLY))
    os.utime(os.fsencode(tree) + b"/\xff\x1b[2J", (1000, 1000))
    result = Runner(print).carry_out(lambda: (effect(tree, patterns=(f"{tree}/*",), files_max=1),), 30)
    assert (result.outcome, left(tree)) == ("done", {"new", "one", "sub/two", "three", "sub/four"})
    assert f"{tree}/??[2J" in result.output
    assert result.output.encode()


def test_a_pattern_from_above_a_mount_still_clears_on_the_mount(tree):
    clear(effect(tree, patterns=(f"{tree.parent}/**",), mount=str(tree), disposable=(f"{tree.parent}/**",)), run(), NOW_S)
    assert left(tree) == set()


IN_NAMESPACE = """
import json, os, subprocess, sys, time
from fleetmend_executor.clearing import clear
from fleetmend_executor.effects import ClearFiles
from fleetmend_executor.run import Run
cache, source = sys.argv[1:3]
subprocess.run(["mount", "-t", "tmpfs", "tmpfs", f"{cache}/other"], check=True)
subprocess.run(["mount", "--bind", source, f"{cache}/bound"], check=True)
for folder in ("other", "bound", "."):
    open(f"{cache}/{folder}/file", "w").write("x" * 100)
everything = (f"{cache}/**",)
clear(ClearFiles(everything, everything, (), 0), Run(time.monotonic() + 60), time.time() + 100)
first = {folder: os.path.exists(f"{cache}/{folder}/file") for folder in ("other", "bound", ".")}
print(json.dumps(first))
"""


def test_no_other_mount_is_entered_not_even_a_bind_of_the_same_filesystem(tmp_path):
    cache, source = tmp_path / "cache", tmp_path / "source"
    for folder in (cache / "other", cache / "bound", source):
        folder.mkdir(parents=True)
    unshare = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--user", "--map-root-user", "--mount"]
    if subprocess.run([*unshare, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this machine grants no mount namespace: mounts cannot be tried here")
    root = Path(__file__).parents[3]
    env = {**os.environ, "PYTHONPATH": f"{root}/agent:{root}/protos"}
    done = subprocess.run(
        [*unshare, sys.executable, "-c", IN_NAMESPACE, str(cache), str(source)],
        env=env,
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout) == {"other": True, "bound": True, ".": False}
