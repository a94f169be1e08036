"""The command `fleetmend-agent`. Exit codes: 0 done, 1 failed, 2 usage, 3 cannot reach the controller."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from . import config

if TYPE_CHECKING:
    import argparse

DONE, FAILED, USAGE, UNREACHABLE = 0, 1, 2, 3

_EXAMPLES = """\
examples:
  fleetmend-agent enroll --controller fleet.example.org --ca ca.crt --token-file token
  fleetmend-agent doctor
  fleetmend-agent check filesystem_space --with mount=/ --with crit_percent=95
  fleetmend-agent run

exit codes: 0 done, 1 failed, 2 usage, 3 cannot reach the controller
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words[:1] == ["run"] and (path := _run_words(words[1:])) is not None:
        # The resident process does without the argument parser and all that it imports.
        from .resident import run

        return run(path)
    return _dispatch(words)


def _run_words(words: list[str]) -> Path | None:
    """The settings file of a plain `run`; None if the words need the full parser."""
    if not words:
        return config.DEFAULT_PATH
    if len(words) == 2 and words[0] == "--config":
        return Path(words[1])
    return None


def _dispatch(words: list[str]) -> int:
    arguments = _parser().parse_args(words)
    match arguments.command:
        case "run":
            from .resident import run

            return run(arguments.config)
        case "enroll":
            from .enroll import enroll

            return enroll(arguments)
        case "renew":
            from .enroll import renew

            return renew(arguments)
        case "doctor":
            from .doctor import doctor

            return doctor(arguments)
        case _:
            from .once import check

            return check(arguments)


def _parser() -> argparse.ArgumentParser:
    import argparse

    def command(name: str, text: str, epilog: str = "") -> argparse.ArgumentParser:
        return commands.add_parser(
            name, help=text, description=text, epilog=epilog, formatter_class=argparse.RawDescriptionHelpFormatter
        )

    parser = argparse.ArgumentParser(
        prog="fleetmend-agent",
        description="Fleetmend's agent: sees faults on this server, reports them, and hands orders to the executor.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    run = command("run", "run the agent (systemd does this)")
    renew = command("renew", "renew the certificate now; a running agent does it by itself at half-life")
    doctor = command("doctor", "say what this agent needs and whether it has it; exit code 1 if something is broken")
    once = command("check", "run one check once and print what it finds; exit code 1 if it cannot judge", _CHECK_EXAMPLES)
    for each in (run, renew, doctor, once):
        each.add_argument(
            "--config", type=Path, default=config.DEFAULT_PATH, metavar="FILE", help="settings (default: %(default)s)"
        )
    for each in (doctor, once):
        each.add_argument("--output", choices=("table", "json"), default="table", help="default: %(default)s")
    once.add_argument("name", metavar="NAME", help="a check type, or the name of a check that the controller configured")
    once.add_argument("--with", dest="given", action="append", default=[], metavar="K=V", help="a parameter; may be repeated")
    _add_enroll(command("enroll", "make this server a host of a fleet", _ENROLL_EXAMPLES))
    return parser


def _add_enroll(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--controller", required=True, metavar="ADDR", help="host or host:port of enrolment (port 7444)")
    parser.add_argument(
        "--ca", required=True, type=Path, metavar="FILE", help="the controller's CA certificate, PEM; it is pinned"
    )
    parser.add_argument("--token-file", required=True, type=Path, metavar="F", help="file with the join token; - reads stdin")
    parser.add_argument("--hostname", default="", metavar="N", help="display name of this host (default: its hostname)")
    parser.add_argument(
        "--state-dir", type=Path, default=Path("/var/lib/fleetmend-agent"), metavar="D", help="default: %(default)s"
    )
    parser.add_argument(
        "--executor-state-dir", type=Path, default=Path("/var/lib/fleetmend-executor"), metavar="D", help="default: %(default)s"
    )
    parser.add_argument(
        "--user", default="fleetmend-agent", metavar="U", help="owner of the state when root enrols (default: %(default)s)"
    )


_CHECK_EXAMPLES = """\
examples:
  fleetmend-agent check unit_failed
  fleetmend-agent check http_endpoint --with url=http://127.0.0.1:8080/healthz --output json
"""

_ENROLL_EXAMPLES = """\
example:
  fleetmend-agent enroll --controller fleet.example.org:7444 --ca ca.crt --token-file token

The CA file must come to this server on a way you trust, for example with its image: the first connection is not taken on trust.
A server that is enrolled already stays as it is.
"""


if __name__ == "__main__":
    sys.exit(main())
