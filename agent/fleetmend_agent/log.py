"""Plain log lines for journald: a priority in angle brackets, then one sentence. Nothing is logged at rest."""

from __future__ import annotations

import logging
import sys

_PRIORITY = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 2}

LOG = logging.getLogger("fleetmend-agent")


class _Journal(logging.Formatter):
    """Prefixes each line of a record with its syslog priority, which journald strips and keeps as a field."""

    def format(self, record: logging.LogRecord) -> str:
        prefix = f"<{_PRIORITY.get(record.levelno, 6)}>"
        return "\n".join(prefix + line for line in super().format(record).splitlines())


def setup(to_journal: bool) -> None:
    """Sends the agent's log to standard error, with priorities if journald reads it."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Journal("%(message)s") if to_journal else logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
