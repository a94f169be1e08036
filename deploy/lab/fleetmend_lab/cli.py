"""The command line of the lab."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import faults, fleet, hosts, product
from .machine import LabError, require_machine
from .state import CACHE_DIRECTORY, CONTROLLER, STATE_DIRECTORY, load

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

DONE, FAILED, USAGE = 0, 1, 2


def main(argv: Sequence[str]) -> int:
    """Runs one command; returns the exit code (0 done, 1 failed, 2 usage; `exec` and `fault`: that of the command)."""
    arguments = _parser().parse_args(argv)
    command: Callable[[argparse.Namespace], int] = arguments.run
    try:
        return command(arguments)
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return FAILED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="lab", description="A fleet of real Debian hosts on this machine, without a way out.")
    state = Path(os.environ.get("FLEETMEND_LAB_STATE", STATE_DIRECTORY))
    cache = Path(os.environ.get("FLEETMEND_LAB_CACHE", CACHE_DIRECTORY))
    parser.add_argument(
        "--state", type=Path, default=state, metavar="DIR", help="where this lab lives (default %(default)s); two labs need two"
    )
    parser.add_argument(
        "--cache", type=Path, default=cache, metavar="DIR", help="roots and wheels kept between labs (default %(default)s)"
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_fleet_commands(commands)
    _add_host_commands(commands)
    return parser


def _add_fleet_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    up = commands.add_parser("up", help="boot the fleet: ctl (controller, Prometheus) and web-1 to web-N (agents)")
    up.add_argument("--hosts", type=int, default=3, metavar="N", help="how many web hosts (default 3)")
    up.add_argument("--no-product", action="store_true", help="bare hosts, without Fleetmend")
    up.add_argument(
        "--rules",
        type=Path,
        default=faults.LAB_DIRECTORY / "rules",
        metavar="DIR",
        help="directory with declarations/, checks/ and playbooks/ for the controller (default %(default)s)",
    )
    up.add_argument("--package", action="append", default=[], metavar="NAME", help="one more Debian package in every host")
    up.set_defaults(run=_up)
    status = commands.add_parser("status", help="show the hosts")
    status.add_argument("--output", choices=("table", "json"), default="table")
    status.set_defaults(run=_status)
    down = commands.add_parser("down", help="end everything this lab started; harmless if nothing is left")
    down.set_defaults(run=_down)


def _add_host_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    execute = commands.add_parser("exec", help="run a command inside a host, as root")
    execute.add_argument("host")
    execute.add_argument("command", nargs=argparse.REMAINDER, metavar="-- CMD")
    execute.set_defaults(run=_exec)
    fault = commands.add_parser("fault", help="put a fault into a host (without ID: list them)")
    fault.add_argument("id", nargs="?")
    fault.add_argument("--host", help="which host")
    fault.add_argument("--phase", choices=faults.PHASES, default="inject", help="what to do (default %(default)s)")
    fault.add_argument("--file", type=Path, default=faults.CATALOGUE, help="catalogue (default %(default)s)")
    fault.set_defaults(run=_fault)
    cuts = (("partition", "cut a host off the network", True), ("heal", "end the partition of a host", False))
    for name, word, partitioned in cuts:
        cut = commands.add_parser(name, help=word)
        cut.add_argument("host")
        cut.set_defaults(run=_cut, partitioned=partitioned)
    logs = commands.add_parser("logs", help="show the journal of a host, running or not")
    logs.add_argument("host")
    logs.add_argument("arguments", nargs=argparse.REMAINDER, metavar="-- JOURNALCTL-ARGS")
    logs.set_defaults(run=_logs)
    stop = commands.add_parser("stop", help="power a host off")
    stop.add_argument("host")
    stop.add_argument("--hard", action="store_true", help="pull the plug instead")
    stop.set_defaults(run=_stop)
    start = commands.add_parser("start", help="boot a host that was stopped")
    start.add_argument("host")
    start.set_defaults(run=_start)
    enrol = commands.add_parser("enrol", help="make a host one of the controller's again, after it was removed")
    enrol.add_argument("host")
    enrol.set_defaults(run=_enrol)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _up(arguments: argparse.Namespace) -> int:
    wish = fleet.Wish(
        hosts=arguments.hosts,
        with_product=not arguments.no_product,
        rules=arguments.rules,
        extra_packages=tuple(arguments.package),
    )
    lab = fleet.up(arguments.state, arguments.cache, wish, _say)
    _say(f"ready: {', '.join(lab.hosts)}")
    return DONE


def _status(arguments: argparse.Namespace) -> int:
    record = fleet.status(arguments.state)
    if arguments.output == "json":
        print(json.dumps(record, indent=1))
        return DONE
    rows = [
        [host["name"], host["address"], host["role"], host["system"], "cut" if host["partitioned"] else "up"]
        for host in record["hosts"]
    ]
    print(
        _table([["HOST", "ADDRESS", "ROLE", "SYSTEM", "NETWORK"], *rows])
        if record["hosts"]
        else "no lab; boot one with: lab up"
    )
    return DONE


def _table(rows: list[list[str]]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)


def _down(arguments: argparse.Namespace) -> int:
    record: dict[str, Any] = fleet.down(arguments.state)
    _say(f"ended {record['containers_ended']} containers, removed {len(record['namespaces_removed'])} network namespaces")
    return DONE


def _exec(arguments: argparse.Namespace) -> int:
    require_machine()
    command = arguments.command[1:] if arguments.command[:1] == ["--"] else arguments.command
    if not command:
        raise LabError("cannot run nothing; say: lab exec HOST -- CMD")
    inside = hosts.enter_argv(load(arguments.state).host(arguments.host), command)
    sys.stdout.flush()
    os.execvp(inside[0], inside)  # noqa: S606 - the command of a person at a terminal, who wants its tty and exit code


def _fault(arguments: argparse.Namespace) -> int:
    catalogue = faults.load(arguments.file)
    if arguments.id is None:
        print(_table([["FAULT", "WHAT HAPPENS"], *([fault.id, fault.name] for fault in catalogue.faults.values())]))
        return DONE
    if arguments.host is None:
        raise LabError("cannot inject a fault nowhere; add: --host H")
    done = faults.play(load(arguments.state).host(arguments.host), catalogue, arguments.id, arguments.phase)
    sys.stdout.write(done.stdout)
    sys.stderr.write(done.stderr)
    return done.returncode


def _cut(arguments: argparse.Namespace) -> int:
    fleet.set_partition(arguments.state, arguments.host, partitioned=arguments.partitioned)
    return DONE


def _logs(arguments: argparse.Namespace) -> int:
    lab = load(arguments.state)
    host = lab.host(arguments.host)
    extra = arguments.arguments[1:] if arguments.arguments[:1] == ["--"] else arguments.arguments
    argv = ["journalctl", "--no-pager", f"--directory={lab.root_of(host.name)}/var/log/journal", *extra]
    sys.stdout.flush()
    os.execvp(argv[0], argv)  # noqa: S606 - journalctl with its own pager and exit code


def _stop(arguments: argparse.Namespace) -> int:
    fleet.stop(arguments.state, arguments.host, hard=arguments.hard)
    return DONE


def _start(arguments: argparse.Namespace) -> int:
    fleet.start(arguments.state, arguments.cache, arguments.host)
    return DONE


def _enrol(arguments: argparse.Namespace) -> int:
    lab = load(arguments.state)
    product.enrol(lab.host(CONTROLLER), lab.host(arguments.host), product.authority(lab))
    return DONE
