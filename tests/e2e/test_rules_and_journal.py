"""Bad input at the edges of the controller: broken rules keep the good ones, a damaged journal is refused by name."""

from __future__ import annotations

import re
import shutil
import sqlite3
from contextlib import closing

import pytest

from deploy.demo import shop
from deploy.demo.process import wait_for
from deploy.demo.world import World
from fleetmend_controller.app import EXIT_SUPERSEDED
from tests.e2e import fleet


@pytest.fixture(scope="module")
def running():
    with fleet.running("shop") as (world, shops):
        yield world, shops[0]


@pytest.fixture
def world_and_shop(running):
    yield running
    for path in (running[0].directory / "rules" / "playbooks").glob("zz-*"):
        path.unlink()


def reloads(world, result):
    found = re.search(rf'^fleetmend_rules_reloads_total{{result="{result}"}} (\S+)', world.metrics(), re.MULTILINE)
    return float(found[1]) if found else 0.0


def test_broken_rules_are_refused_by_line_and_the_good_ones_stay(world_and_shop):
    world, broken = world_and_shop
    before = reloads(world, "refused")
    path = world.write_rule("playbooks", "zz-broken", {**shop.playbook(broken), "playbook": "zz-broken", "trust": "sometimes"})
    world.reload()
    wait_for("the reload to be refused", lambda: reloads(world, "refused") == before + 1, 10, world.controller)
    problem = world.cli("status")["controller"]["rules_problem"]
    assert re.search(rf"{re.escape(path.name)}:\d+:\d+: cannot", problem)
    assert [p["name"] for p in world.cli("playbooks", "ls")["playbooks"]] == [broken.command]
    # They are not only listed, they work.
    watch = fleet.Watch.begin(world, "shop")
    broken.kill()
    watch.until("healed", fleet.healed)
    loaded = reloads(world, "loaded")
    world.write_rule("playbooks", "zz-broken", {**shop.playbook(broken), "playbook": "zz-broken", "trust": "observe"})
    world.reload()
    wait_for("the reload to be taken", lambda: reloads(world, "loaded") == loaded + 1, 10, world.controller)
    assert [p["name"] for p in world.cli("playbooks", "ls")["playbooks"]] == [broken.command, "zz-broken"]
    assert world.cli("status")["controller"]["rules_problem"] == ""


def test_check_config_names_every_error_at_once(world_and_shop, tmp_path):
    world, _ = world_and_shop
    rules = tmp_path / "rules"
    shutil.copytree(world.directory / "rules", rules)
    (rules / "playbooks" / "a.yaml").write_text("playbook: a\nsteps: []\nnonsense: 1\n")
    (rules / "checks" / "b.yaml").write_text("checks:\n  - {name: x, type: no_such_check}\n")
    done = world.run("fleetmend-controller", "check-config", str(rules))
    assert done.returncode == 1
    words = done.stdout + done.stderr
    assert re.search(r"a\.yaml:\d+:\d+: cannot", words)
    assert re.search(r"b\.yaml:2:\d+: cannot", words)
    assert world.run("fleetmend-controller", "check-config", str(world.directory / "rules")).returncode == 0


def test_a_controller_that_was_superseded_ends_and_says_so(tmp_path):
    with World(directory=tmp_path) as world:
        world.init()
        world.start_controller()
        with closing(sqlite3.connect(world.database)) as database, database:
            database.execute("UPDATE lease SET epoch = epoch + 1, holder = 'another'")
        refused = world.run("fleetmend", *world.cli_options(), "pause", "global", "--reason", "who decides?")
        assert refused.returncode != 0
        assert world.controller.wait_end(20) == EXIT_SUPERSEDED
        assert "another controller took over, this one commands nobody" in world.controller.tail()
        # A person who starts it again means it: then it is the active one.
        world.start_controller()
        assert world.cli("status")["controller"]["epoch"] == 3


def test_a_damaged_journal_is_refused_at_the_start_by_row(world_and_shop):
    world, _ = world_and_shop
    world.stop()
    row = damage(world.database)
    world.controller.start()
    assert world.controller.wait_end(20) != 0
    assert re.search(rf"cannot .*\b{row}\b", world.controller.tail())


def damage(database):
    """Change one byte of a journal row in the middle, as a failing disk would; its number."""
    with sqlite3.connect(database) as connection:
        rows = connection.execute("select seq, body from journal order by seq").fetchall()
        seq, body = rows[len(rows) // 2]
        data = bytearray(body if isinstance(body, bytes) else body.encode())
        data[len(data) // 2] ^= 1
        connection.execute(
            "update journal set body = ? where seq = ?", (bytes(data) if isinstance(body, bytes) else data.decode(), seq)
        )
    connection.close()
    return seq
