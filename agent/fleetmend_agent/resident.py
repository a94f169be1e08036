"""Starting and ending the resident process, with as little as possible left in memory."""

from __future__ import annotations

import asyncio
import gc
import signal
import sys
from pathlib import Path

from . import config, log
from .identity import IdentityError
from .notify import Notifier

DONE, FAILED = 0, 1


def run(path: Path) -> int:
    """The agent until SIGTERM. 1 if it cannot start or had to give up."""
    log.setup(to_journal=not sys.stderr.isatty())
    try:
        settings = config.load_apart(path)
    except config.ConfigError as error:
        for line in str(error).splitlines():
            log.LOG.error("%s", line)
        return FAILED
    try:
        return asyncio.run(_serve(settings, path))
    except (IdentityError, OSError) as error:
        log.LOG.error("%s", error if isinstance(error, IdentityError) else f"cannot run: {error}")
        return FAILED


async def _serve(settings: config.Settings, path: Path) -> int:
    from .agent import Agent

    agent = Agent(settings, Notifier(), lambda: _renew(path))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, agent.stop)
    # What exists now lives as long as the process: the collector need not look at it again.
    gc.collect()
    gc.freeze()
    await agent.run()
    return FAILED if agent.failed else DONE


async def _renew(path: Path) -> int:
    """A child of its own, so that the cryptography library never becomes resident."""
    child = await asyncio.create_subprocess_exec(sys.executable, "-m", "fleetmend_agent", "renew", "--config", str(path))
    try:
        return await child.wait()
    except asyncio.CancelledError:
        child.kill()
        raise
