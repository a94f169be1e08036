"""The world of a replay: what the hosts would have told and answered, had the controller decided otherwise.

Its rules, told to people in docs/backtest.md:
1. A fault begins when it was recorded to begin.
2. The same action on the same fault takes as long, ends and helps as it did then.
3. Any other action takes as long as such actions took, and does not help by itself: the fault ends when it was recorded to end.
4. A fault that only our repair ended, and that is not repaired so now, lasts until a person ends it, PERSON_MS later.
5. Nobody answers a question for approval, and heartbeats keep telling of what is bad.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from statistics import median_low

from ..core.events import Event, EvidenceConfirmed, HostRemoved, Observed, OrderEnded, OrderStarted
from ..core.model import Fleet, Order, Outcome, Status, Subject
from .record import Act, Episode, Input, Target, target_of

PERSON_MS = 30 * 60_000
ANSWER_MS = 100
ACTION_MS = 1_000


@dataclass(frozen=True, slots=True)
class Due:
    """Something that the world does later: an event of the core, or the end of an episode."""

    at_ms: int
    event: Event | None = None
    ends: Episode | None = None
    asks: Subject | None = None


@dataclass(slots=True)
class World:
    """What is true. `told` is the newest result of each subject in the replay; `current` the fault of each target."""

    took_ms: dict[str, int]
    told: dict[Subject, Observed] = field(default_factory=dict)
    current: dict[Target, Episode] = field(default_factory=dict)
    sent: dict[str, None] = field(default_factory=dict)
    recorded_outcomes: int = 0
    assumed_outcomes: int = 0
    prolonged: int = 0

    def happens(self, fleet: Fleet, item: Input) -> tuple[list[Event], list[Due]]:
        """One recorded input: what of it happens now too, and what is put off."""
        episode = item.episode
        if episode is None or not isinstance(item.event, Observed):
            if isinstance(item.event, HostRemoved):
                self._forget(item.event.host)
            return [item.event], []
        if episode.over:
            return [], []
        before: list[Event] = []
        standing = self.current.get(episode.target)
        if standing is not None and standing is not episode:
            # The next fault of the same target was recorded: the one before was over by then.
            before = self.ended(fleet, standing, item.at_ms)
        if item.event.status is Status.OK and self._only_by_repair(episode, item.at_ms):
            first = not episode.repaired
            episode.repaired = True
            self.prolonged += first
            return before, [Due(item.at_ms + PERSON_MS, ends=episode)] if first else []
        return [*before, self._tell(fleet, item.event, item.at_ms, episode)], []

    def ended(self, fleet: Fleet, episode: Episode, at_ms: int) -> list[Event]:
        """An episode is over: every subject of it that is not OK tells so."""
        if episode.over:
            return []
        subjects = list(episode.bad)
        episode.over = True
        return [self._tell(fleet, replace(self.told[s], status=Status.OK), at_ms, episode) for s in subjects]

    def ordered(self, fleet: Fleet, order: Order) -> list[Due]:
        """What becomes of an order. One that is sent again changes nothing."""
        if order.id in self.sent:
            return []
        self.sent[order.id] = None
        told = self.told.get(Subject(order.host, order.check, order.key))
        episode = None if told is None else self.episode_of(told)
        begun_ms = order.issued_ms + ANSWER_MS
        if episode is None:
            return [Due(begun_ms, self._end(fleet, order, begun_ms, Outcome.REFUSED, "fault_gone"))]
        act = _next_like(episode, order.action)
        took_ms, outcome = self.took_ms.get(order.action, ACTION_MS), Outcome.DONE
        if act is None or act.ended_ms is None or act.outcome is None:
            self.assumed_outcomes += 1
        else:
            self.recorded_outcomes += 1
            took_ms, outcome = max(ANSWER_MS + 1, act.ended_ms - act.ordered_ms), act.outcome
        ended_ms = order.issued_ms + took_ms
        dues = [
            Due(begun_ms, OrderStarted(begun_ms, order.host, order.id)),
            Due(ended_ms, self._end(fleet, order, ended_ms, outcome, "")),
        ]
        if act is not None and act.healed and act.ended_ms is not None and episode.to_ms is not None:
            episode.repaired = True
            dues.append(Due(ended_ms + max(1, episode.to_ms - act.ended_ms), ends=episode))
        return dues

    def episode_of(self, told: Observed) -> Episode | None:
        """The fault that a result tells of."""
        return self.current.get(target_of(told.host, told.check, told.key, told.finding))

    def asked(self, fleet: Fleet, subject: Subject, at_ms: int) -> Event | None:
        """A fresh result of a subject; None if its host cannot be heard or never told of it."""
        told, host = self.told.get(subject), fleet.hosts.get(subject.host)
        if told is None or host is None or host.lost_since_ms is not None:
            return None
        clock_ms = at_ms + host.clock_offset_ms
        return replace(told, at_ms=at_ms, boot=host.boot, sampled_clock_ms=clock_ms, clock_ms=clock_ms)

    def confirmed(self, fleet: Fleet, subject: Subject, at_ms: int) -> Event | None:
        """A heartbeat's word that a subject is still bad; None if it is not, or nobody hears it."""
        told, host = self.told.get(subject), fleet.hosts.get(subject.host)
        if told is None or told.status is not Status.CRIT or host is None or host.lost_since_ms is not None:
            return None
        clock_ms = at_ms + host.clock_offset_ms
        return EvidenceConfirmed(at_ms, subject.host, subject.check, subject.key, host.boot, clock_ms, clock_ms)

    def _tell(self, fleet: Fleet, event: Observed, at_ms: int, episode: Episode) -> Event:
        subject = Subject(event.host, event.check, event.key)
        host = fleet.hosts.get(event.host)
        clock_ms = at_ms + (host.clock_offset_ms if host is not None else 0)
        boot = host.boot if host is not None else event.boot
        told = replace(event, at_ms=at_ms, boot=boot, sampled_clock_ms=clock_ms, clock_ms=clock_ms, outbox="", seq=0)
        self.told[subject] = told
        if event.status is Status.OK:
            episode.bad.pop(subject, None)
        else:
            episode.bad[subject] = None
            self.current[episode.target] = episode
        if not episode.bad and self.current.get(episode.target) is episode:
            del self.current[episode.target]
        return told

    def _only_by_repair(self, episode: Episode, at_ms: int) -> bool:
        healer = episode.healer
        return healer is not None and healer.ended_ms is not None and at_ms >= healer.ended_ms

    def _end(self, fleet: Fleet, order: Order, at_ms: int, outcome: Outcome, refusal: str) -> OrderEnded:
        host = fleet.hosts[order.host]
        clock_ms = at_ms + host.clock_offset_ms
        return OrderEnded(at_ms, order.host, order.id, outcome, refusal, "", order.boot, clock_ms, clock_ms)

    def _forget(self, host: str) -> None:
        for target in [t for t in self.current if t[0] == host]:
            self.current.pop(target).over = True


def usual_ms(episodes: Sequence[Episode]) -> dict[str, int]:
    """How long each action took in the record, in the middle."""
    times: dict[str, list[int]] = {}
    for act in (act for episode in episodes for act in episode.acts):
        if act.ended_ms is not None:
            times.setdefault(act.action, []).append(max(1, act.ended_ms - act.ordered_ms))
    return {action: median_low(sorted(of)) for action, of in times.items()}


def _next_like(episode: Episode, action: str) -> Act | None:
    """The n-th try is compared with the n-th of then; where there were fewer, with the last."""
    alike = [act for act in episode.acts if act.action == action]
    index = episode.tried.get(action, 0)
    episode.tried[action] = index + 1
    return alike[min(index, len(alike) - 1)] if alike else None
