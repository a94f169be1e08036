"""`fleetmend-controller run`: the controller itself, in the foreground."""

from __future__ import annotations

import asyncio
import logging
import sys
from pathlib import Path

import click

from ..app import run_controller
from ._options import config_option, failures, read_config

# journald reads the priority from the angle brackets; a terminal does not need it.
_PRIORITIES = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 2}


class _JournalFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record).replace("\n", "\\n")
        return f"<{_PRIORITIES.get(record.levelno, 6)}>{text}"


def _log_to_stderr(level: str) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s")
        if sys.stderr.isatty()
        else _JournalFormatter("%(message)s")
    )
    logging.basicConfig(level=level.upper(), handlers=[handler])
    for noisy in ("uvicorn.error", "asyncio", "httpx"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


@click.command(
    "run",
    help="Run the controller until it gets SIGTERM. SIGHUP reloads the rules; a broken rule file keeps those in force.",
    epilog="Exit codes: 0 told to stop, 1 failed, 10 another controller took over its database.\n\n"
    "Example: fleetmend-controller run --config /etc/fleetmend/controller.yaml",
)
@config_option
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="info",
    show_default=True,
    help="How much to log.",
)
def COMMAND(config_path: Path, log_level: str) -> None:  # noqa: N802 - the constant that every command file declares
    """Run until the end; the exit code says how it ended."""
    _log_to_stderr(log_level)
    with failures():
        sys.exit(asyncio.run(run_controller(read_config(config_path))))
