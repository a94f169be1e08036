"""From recorded history to inputs that stay true whatever is decided: faults as the hosts told them, members, people's acts.

One episode is one fault of one repair target, from its first bad result to the last subject's OK. It carries what was done
about it then. Results that the core would not have believed (an earlier boot, a record seen twice) are left out here already.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from ..core.effects import PROVED, ActionEnded, Closed, Escalated, PermitSpent, SendOrder
from ..core.events import AlertSaid, Event, HostConnected, HostRemoved, Observed
from ..core.model import ALERT_TYPE, Outcome, Scalar, Status, Subject
from .history import KEPT, Decided, History

Target = tuple[str, ...]


@dataclass(slots=True)
class Act:
    """One order of then: how long it took, how it ended, and how long after it the fault was gone if it was proved."""

    action: str
    ordered_ms: int
    ended_ms: int | None = None
    outcome: Outcome | None = None
    healed: bool = False


@dataclass(slots=True, eq=False)
class Episode:
    """One fault of one target. `to_ms` is its recorded end, None if it outlasts the record. `over`: ended in the replay."""

    target: Target
    from_ms: int
    to_ms: int | None = None
    acts: list[Act] = field(default_factory=list)
    escalated: bool = False
    bad: dict[Subject, None] = field(default_factory=dict)
    over: bool = False
    tried: dict[str, int] = field(default_factory=dict)
    repaired: bool = False

    @property
    def healer(self) -> Act | None:
        """The recorded repair that ended it, if one did."""
        return next((act for act in self.acts if act.healed), None)


@dataclass(frozen=True, slots=True)
class Input:
    """One thing that happens in the replay too."""

    at_ms: int
    event: Event
    episode: Episode | None = None


def target_of(host: str, check: str, key: str, finding: dict[str, Scalar]) -> Target:
    """What a repair would touch: the unit when the finding names one, else the subject."""
    unit = finding.get("unit")
    return (host, unit) if isinstance(unit, str) and unit else (host, check, key)


@dataclass(slots=True)
class _Pass:
    """The one walk over history."""

    inputs: list[Input] = field(default_factory=list)
    episodes: list[Episode] = field(default_factory=list)
    open: dict[Target, Episode] = field(default_factory=dict)
    status: dict[Subject, Status] = field(default_factory=dict)
    targets: dict[Subject, Target] = field(default_factory=dict)
    boots: dict[str, str] = field(default_factory=dict)
    boxes: dict[str, tuple[str, int]] = field(default_factory=dict)
    acts: dict[str, Act] = field(default_factory=dict)
    of_incident: dict[str, list[Act]] = field(default_factory=dict)


def read(history: History) -> tuple[list[Input], list[Episode]]:
    """The inputs of the window in order, and its faults."""
    walk = _Pass()
    for event in history.before:
        if isinstance(event, HostConnected):
            walk.boots[event.host] = event.boot
    for item in _merged(history):
        if isinstance(item, Decided):
            _decided(walk, item)
        elif isinstance(item, Observed):
            _observed(walk, item)
        elif isinstance(item, AlertSaid):
            _observed(walk, _as_result(walk, item))
        elif isinstance(item, KEPT):
            _kept(walk, item)
    for episode in walk.episodes:
        # From here on it says what is bad in the replay.
        episode.bad.clear()
    return walk.inputs, walk.episodes


def _merged(history: History) -> Iterator[Event | Decided]:
    """Events and decisions by time; what an event led to comes after it."""
    decided = iter(history.decided)
    waiting = next(decided, None)
    for event in history.events:
        while waiting is not None and waiting.at_ms < event.at_ms:
            yield waiting
            waiting = next(decided, None)
        yield event
    while waiting is not None:
        yield waiting
        waiting = next(decided, None)


def _kept(walk: _Pass, event: Event) -> None:
    walk.inputs.append(Input(event.at_ms, event))
    if isinstance(event, HostConnected):
        walk.boots[event.host] = event.boot
    elif isinstance(event, HostRemoved):
        for target in [t for t in walk.open if t[0] == event.host]:
            walk.open.pop(target).to_ms = event.at_ms


def _as_result(walk: _Pass, event: AlertSaid) -> Observed:
    """What Alertmanager said, as a result of the host's boot: in the replay it is told like any other."""
    boot, at_ms = walk.boots.get(event.host, ""), event.at_ms
    return Observed(
        at_ms, event.host, event.check, ALERT_TYPE, event.key, event.status, event.finding, event.summary, boot, at_ms, at_ms
    )


def _observed(walk: _Pass, event: Observed) -> None:
    if not _believed(walk, event):
        return
    subject = Subject(event.host, event.check, event.key)
    before = walk.status.get(subject, Status.OK)
    walk.status[subject] = event.status
    if event.status is before:
        return
    if event.status is Status.CRIT:
        target = walk.targets[subject] = target_of(event.host, event.check, event.key, event.finding)
        episode = walk.open.get(target)
        if episode is None:
            episode = walk.open[target] = Episode(target, event.at_ms)
            walk.episodes.append(episode)
        episode.bad[subject] = None
        walk.inputs.append(Input(event.at_ms, event, episode))
        return
    episode = walk.open.get(walk.targets.get(subject, ()))
    if episode is None or subject not in episode.bad:
        return
    walk.inputs.append(Input(event.at_ms, event, episode))
    if event.status is Status.OK:
        del episode.bad[subject]
        if not episode.bad:
            episode.to_ms = event.at_ms
            del walk.open[episode.target]


def _believed(walk: _Pass, event: Observed) -> bool:
    if event.outbox:
        box, seq = walk.boxes.get(event.host, ("", 0))
        if box == event.outbox and event.seq <= seq:
            return False
        walk.boxes[event.host] = (event.outbox, event.seq)
    return walk.boots.setdefault(event.host, event.boot) == event.boot


def _decided(walk: _Pass, item: Decided) -> None:
    effect = item.effect
    if isinstance(effect, SendOrder | PermitSpent):
        order = effect.order
        episode = walk.open.get(walk.targets.get(Subject(order.host, order.check, order.key), ()))
        if order.id not in walk.acts and episode is not None and order.check:
            act = walk.acts[order.id] = Act(order.action, item.at_ms)
            episode.acts.append(act)
            walk.of_incident.setdefault(order.incident, []).append(act)
    elif isinstance(effect, ActionEnded):
        act_ended = walk.acts.get(effect.order)
        if act_ended is not None:
            act_ended.ended_ms, act_ended.outcome = item.at_ms, Outcome(effect.outcome)
    elif isinstance(effect, Closed) and effect.why in PROVED:
        acts = walk.of_incident.get(effect.incident)
        if acts:
            acts[-1].healed = True
    elif isinstance(effect, Escalated):
        episode = walk.open.get(walk.targets.get(effect.subject, ()))
        if episode is not None:
            episode.escalated = True
