"""How many results in a row it takes before a status changes."""

from __future__ import annotations

import pytest

from fleetmend_agent.checks import Status
from fleetmend_agent.confirm import Confirmed

LETTERS = {"o": Status.OK, "w": Status.WARN, "c": Status.CRIT, "u": Status.UNKNOWN, ".": None}


def told(results: str, bad: int, good: int) -> str:
    """The status after each result, `.` while there is none."""
    subject = Confirmed()
    words = {status: letter for letter, status in LETTERS.items()}
    said = ""
    for letter in results:
        before = subject.status
        changed = subject.settle(LETTERS[letter], bad, good)
        assert changed == (subject.status is not before)
        said += words[subject.status]
    return said


@pytest.mark.parametrize(
    ("bad", "good", "results", "statuses"),
    [
        (1, 1, "ocoo", "ocoo"),
        (1, 1, "c", "c"),
        (2, 2, "occoo", "oocco"),
        (3, 1, "occocccoc", "ooooooc" + "oo"),
        (2, 1, "c", "."),
        (2, 1, "cc", ".c"),
        (2, 1, "cocc", ".ooc"),
        (2, 2, "ouco", "oocc"),
        (2, 2, "occww", "ooccw"),
        (2, 2, "occwocw", "ooccccc"),
        (2, 2, "uu", ".u"),
        (1, 3, "cooco", "ccccc"),
        (1, 3, "cooo", "ccco"),
    ],
)
def test_a_status_changes_after_its_count_in_a_row(bad, good, results, statuses):
    assert told(results, bad, good) == statuses


def test_somebody_who_asks_gets_the_bare_truth():
    subject = Confirmed()
    subject.settle(Status.CRIT, 1, 3)
    assert subject.adopt(Status.OK)
    assert subject.status is Status.OK
    assert not subject.adopt(Status.OK)
    assert subject.settle(Status.WARN, 1, 1)
