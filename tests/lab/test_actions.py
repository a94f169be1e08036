"""Every action under the hardened executor of a real host, ordered by a person: each has the effect that it promises."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.lab.fleet import Fleet, wait

HOST = "web-1"
SHOP = "unit=shop.service"
DESTRUCTIVE = ("kill_process", "clear_journal", "clear_directory")


def ordered(fleet: Fleet, action: str, *params: str) -> dict[str, Any]:
    """What `fleetmend run` says of one host."""
    words = [word for param in params for word in ("-p", param)]
    # What cannot be undone wants another person's word, or an admin's own in so many words.
    words += ["--approve-myself"] if action in DESTRUCTIVE else []
    done = fleet.tries("ctl", "fleetmend", "run", action, "--host", HOST, *words, "--reason", "a test", "--output", "json")
    result: dict[str, Any] = json.loads(done.stdout)["summary"]["results"][0]
    return result


def pid(fleet: Fleet, unit: str = "shop.service") -> str:
    return fleet.run(HOST, "systemctl", "show", "-P", "MainPID", unit).strip()


def journal_bytes(fleet: Fleet) -> int:
    return int(fleet.shell(HOST, "du -sb /var/log/journal | cut -f1"))


def restarted(fleet: Fleet) -> None:
    before = pid(fleet)
    assert ordered(fleet, "restart_unit", SHOP)["state"] == "done"
    assert pid(fleet) not in (before, "0")


def stopped(fleet: Fleet) -> None:
    before = pid(fleet, "kiosk.service")
    assert ordered(fleet, "stop_unit", "unit=kiosk.service")["state"] == "done"
    # It is declared running: what a person stops without a word in advance runs again.
    wait(lambda: pid(fleet, "kiosk.service") not in ("0", before), "the kiosk to be healed", timeout_s=40)


def started(fleet: Fleet) -> None:
    fleet.run(HOST, "systemctl", "stop", "kiosk.service")
    assert ordered(fleet, "start_unit", "unit=kiosk.service")["state"] == "done"
    assert pid(fleet, "kiosk.service") != "0"


def reloaded(fleet: Fleet) -> None:
    before = pid(fleet, "reloader.service")
    assert ordered(fleet, "reload_unit", "unit=reloader.service")["state"] == "done"
    assert fleet.run(HOST, "cat", "/run/reloaded").strip() == "yes"
    assert pid(fleet, "reloader.service") == before


def reset(fleet: Fleet) -> None:
    fleet.tries(HOST, "systemctl", "start", "spare.service")
    assert fleet.tries(HOST, "systemctl", "is-failed", "spare.service").returncode == 0
    assert ordered(fleet, "reset_failed_unit", "unit=spare.service")["state"] == "done"
    assert fleet.tries(HOST, "systemctl", "is-failed", "spare.service").returncode != 0


def killed(fleet: Fleet) -> None:
    before = pid(fleet)
    assert ordered(fleet, "kill_process", SHOP, "grace_ms=1s")["state"] == "done"
    assert pid(fleet) != before


def journal_cleared(fleet: Fleet) -> None:
    fleet.shell(
        HOST, "for i in $(seq 70); do head -c 400000 /dev/urandom | base64 | logger -t filler; done; journalctl --rotate"
    )
    before = journal_bytes(fleet)
    assert ordered(fleet, "clear_journal", "keep_bytes=16M")["state"] == "done"
    assert journal_bytes(fleet) < before


def directory_cleared(fleet: Fleet) -> None:
    fleet.shell(HOST, "mkdir -p /srv/cache/pages/old; touch /srv/cache/pages/old/a /srv/cache/orders/b")
    assert ordered(fleet, "clear_directory", "path=/srv/cache/pages/**")["state"] == "done"
    assert fleet.shell(HOST, "ls /srv/cache/pages/old /srv/cache/orders | tr '\\n' ' '").split().count("a") == 0
    assert fleet.tries(HOST, "test", "-e", "/srv/cache/orders/b").returncode == 0
    fleet.run(HOST, "rm", "/srv/cache/orders/b")


def evidence_collected(fleet: Fleet) -> None:
    result = ordered(fleet, "collect_evidence", SHOP)
    assert result["state"] == "done"
    assert "shop.service" in result["output"]
    assert "cannot" not in result["output"].lower()


def command_run(fleet: Fleet) -> None:
    result = ordered(fleet, "run_command", "command=say-hello")
    assert (result["state"], result["output"].strip()) == ("done", "hello from this host")


ACTIONS: dict[str, Callable[[Fleet], None]] = {
    "restart_unit": restarted,
    "stop_unit": stopped,
    "start_unit": started,
    "reload_unit": reloaded,
    "reset_failed_unit": reset,
    "kill_process": killed,
    "clear_journal": journal_cleared,
    "clear_directory": directory_cleared,
    "collect_evidence": evidence_collected,
    "run_command": command_run,
}


@pytest.mark.parametrize("action", ACTIONS)
def test_an_action_has_its_effect_on_a_real_host(fleet: Fleet, action: str):
    ACTIONS[action](fleet)


@pytest.mark.parametrize(
    ("action", "params", "reason"),
    [
        ("restart_unit", ("unit=cron.service",), "undeclared"),
        ("restart_unit", ("unit=fleetmend-agent.service",), "protected"),
        ("restart_unit", ("unit=vault.service",), "clean-only"),
        ("clear_directory", ("path=/srv/cache/orders/**",), "protected"),
        ("run_command", ("command=rm-rf",), "does not offer"),
    ],
)
def test_what_the_host_does_not_allow_is_refused_there_with_the_reason(
    fleet: Fleet, action: str, params: tuple[str, ...], reason: str
):
    result = ordered(fleet, action, *params)
    assert result["state"] == "refused"
    assert reason in result["text"]
