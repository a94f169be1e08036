"""What other hosts say about one that fell silent, and what their words make of it. Data, and one judgement without a fleet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum, unique

# So many witnesses who do not depend on each other must miss a host before it counts as dead.
INDEPENDENT_MIN = 2
# The controller looks too. Its word helps to tell a dead agent from a cut line; it never counts towards `dead`.
CONTROLLER = ""


@unique
class Judgement(Enum):
    """What became of a lost host. UNCLEAR is an answer: nothing may be done on it."""

    DEAD = "dead"
    AGENT_DEAD = "agent_dead"
    CUT_OFF = "cut_off"
    CONTROLLER_CUT_OFF = "controller_cut_off"
    UNCLEAR = "unclear"


@unique
class Reach(Enum):
    """What one witness found. UNABLE: it could not look, or reaches nobody else either, so that its word proves nothing."""

    REACHED = "reached"
    NOT_REACHED = "not_reached"
    UNABLE = "unable"


@unique
class Stream(Enum):
    """How the host's stream stood when it counted as silent: still open without a word, ended by its side, or nobody knows."""

    QUIET = "quiet"
    ENDED = "ended"
    UNKNOWN = "unknown"


@dataclass(slots=True)
class Word:
    """One witness. `control` is the live host that it must reach for its word to count; `reach` is None until it spoke."""

    host: str
    name: str
    rack: str
    control: str = ""
    reach: Reach | None = None
    said_ms: int = 0
    text: str = ""


@dataclass(slots=True)
class Inquiry:
    """One round of questions about a lost host. `round` 0: nobody was asked yet, because its silence was expected."""

    round: int
    until_ms: int
    stream: Stream = Stream.UNKNOWN
    words: list[Word] = field(default_factory=list)
    verdict: Judgement | None = None

    def of(self, witness: str) -> Word | None:
        """What a witness was asked, or said."""
        return next((word for word in self.words if word.host == witness), None)

    @property
    def all_said(self) -> bool:
        """Whether nobody is left to answer."""
        return all(word.reach is not None for word in self.words)


def judge(inquiry: Inquiry, by_rack: bool) -> tuple[Judgement, str]:
    """The verdict and its reason. `by_rack`: the fleet has several racks, so witnesses of one rack are one."""
    others = [word for word in inquiry.words if word.host != CONTROLLER]
    here = inquiry.of(CONTROLLER)
    reached = [word for word in others if word.reach is Reach.REACHED]
    missed = [word for word in others if word.reach is Reach.NOT_REACHED]
    if reached or (here is not None and here.reach is Reach.REACHED):
        return _alive(inquiry.stream, reached, here)
    if not others:
        return Judgement.UNCLEAR, "no other host is connected that could look"
    if all(word.reach is None for word in others):
        if len(others) >= INDEPENDENT_MIN:
            text = f"none of {len(others)} witnesses answered the controller either"
            return Judgement.CONTROLLER_CUT_OFF, text
        return Judgement.UNCLEAR, "the only witness did not answer"
    if independent(missed, by_rack) >= INDEPENDENT_MIN:
        text = f"{_names(missed)} reach other hosts and do not reach it by any port or ping"
        return Judgement.DEAD, text
    if missed:
        alone = "in one rack" if by_rack and len(missed) >= INDEPENDENT_MIN else "alone"
        return Judgement.UNCLEAR, f"{_names(missed)} {alone} cannot reach it: one more independent witness is missing"
    return Judgement.UNCLEAR, "no witness was able to look"


def independent(words: Sequence[Word], by_rack: bool) -> int:
    """How many of them do not depend on each other: racks where there are several, else hosts."""
    return len({word.rack if by_rack else word.host for word in words})


def evidence_ms(inquiry: Inquiry) -> int | None:
    """The age of the verdict is that of the oldest word that it stands on."""
    stands_on = Reach.NOT_REACHED if inquiry.verdict is Judgement.DEAD else Reach.REACHED
    return min((word.said_ms for word in inquiry.words if word.reach is stands_on and word.host != CONTROLLER), default=None)


def _alive(stream: Stream, reached: Sequence[Word], here: Word | None) -> tuple[Judgement, str]:
    seen = _names(reached) or "the controller"
    verb = "reaches" if len(reached) <= 1 else "reach"
    if here is not None and here.reach is Reach.REACHED:
        return Judgement.AGENT_DEAD, f"{seen} {verb} it, and so does the controller: the host is up, its agent says nothing"
    if stream is Stream.ENDED:
        return Judgement.AGENT_DEAD, f"{seen} {verb} it, and its side ended the connection: the host is up, its agent is gone"
    if stream is Stream.QUIET or (here is not None and here.reach is Reach.NOT_REACHED):
        text = f"{seen} {verb} it, the controller does not: the way between is cut, or its agent hangs"
        return Judgement.CUT_OFF, text
    return Judgement.UNCLEAR, f"{seen} {verb} it; nobody saw how its connection ended"


def _names(words: Sequence[Word]) -> str:
    return ", ".join(f"{word.name} (rack {word.rack})" if word.rack else word.name for word in words)
