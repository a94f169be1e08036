"""Runs a verb of `hosted/` outside the sandbox, and turns how it ended into the outcome's reason."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import ClassVar

from .actions import Refused
from .commands import Finished
from .hosted import EXIT_FAILED, EXIT_REFUSED
from .run import ActionFailed, Run, failure, hosted_argv

OUTPUT_BYTES_MAX = 16 * 1024
SHOWN_CHARS_MAX = 400


@dataclass(frozen=True, slots=True)
class Hosted:
    """One verb of the hosted helper with its arguments."""

    verb: str
    arguments: tuple[str, ...]
    performer: ClassVar[str] = "hosting"


def perform(effect: Hosted, run: Run) -> None:
    """The verb's lines go to the output, its last one to the detail."""
    argv = (sys.executable, "-I", "-m", "fleetmend_executor.hosted", effect.verb, *effect.arguments)
    finished = run.argv(*hosted_argv(argv, run.left_s()), output_bytes_max=OUTPUT_BYTES_MAX)
    settle(effect.verb, finished, run)


def settle(verb: str, finished: Finished, run: Run) -> None:
    """Refused or ActionFailed with the verb's own reason."""
    run.output.append(f"== {verb}\n{finished.output}")
    last = finished.output.strip().rpartition("\n")[2]
    reason, _, text = last.partition(": ")
    if finished.exit == EXIT_REFUSED:
        raise Refused(reason, text)
    if finished.exit == EXIT_FAILED:
        raise ActionFailed(reason, text)
    if finished.exit:
        raise failure(finished)
    if last:
        run.detail.append(last[:SHOWN_CHARS_MAX])
