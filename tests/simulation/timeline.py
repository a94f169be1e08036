"""What happened in one seed, line by line: for whoever must understand why it failed."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import fields

from fleetmend_controller.core.effects import (
    ActionEnded,
    ApprovalWanted,
    AskWitness,
    Closed,
    DrainHost,
    Effect,
    Escalated,
    PhaseChanged,
    Reason,
    SendOrder,
    Step,
    UndrainHost,
    Verdict,
)
from fleetmend_controller.core.events import Event, EvidenceConfirmed

from .clockwork import BEGIN_MS

Sink = Callable[[str], None]


class Timeline:
    """Lines of a run. `sink` gets each at once; the newest are kept to be shown after a failure."""

    def __init__(self, sink: Sink | None = None, lines_max: int = 400) -> None:
        self.lines: deque[str] = deque(maxlen=lines_max)
        self.count = 0
        self._sink = sink

    def say(self, now_ms: int, text: str) -> None:
        """One line."""
        line = f"{clock(now_ms)} {text}"
        self.lines.append(line)
        self.count += 1
        if self._sink is not None:
            self._sink(line)

    def event(self, now_ms: int, event: Event, step: Step) -> None:
        """An event and what it led to. Confirmed evidence that leads to nothing is left out."""
        if isinstance(event, EvidenceConfirmed) and not step.reasons and not step.effects:
            return
        self.say(now_ms, described(event))
        for text in (*_reasons(step.reasons), *_effects(step.effects)):
            self.say(now_ms, f"    {text}")

    def shown(self) -> str:
        """The newest lines, for a failure's text."""
        left_out = self.count - len(self.lines)
        head = [f"({left_out} earlier lines left out)"] if left_out else []
        return "\n".join([*head, *self.lines])


def clock(now_ms: int) -> str:
    """Virtual time since the world began."""
    s, ms = divmod(now_ms - BEGIN_MS, 1000)
    return f"{s // 3600:03d}:{s // 60 % 60:02d}:{s % 60:02d}.{ms:03d}"


def described(event: Event) -> str:
    """The event's name and what it carries, without what is empty."""
    values = ((f.name, getattr(event, f.name)) for f in fields(event) if f.name not in ("at_ms", "check_type", "summary"))
    said = (f"{name}={getattr(value, 'value', value)}" for name, value in values if value not in ("", (), {}, None))
    return f"{type(event).__name__} {' '.join(said)}"


def _reasons(reasons: tuple[Reason, ...]) -> Iterator[str]:
    allowed: dict[str, int] = {}
    for reason in reasons:
        if reason.verdict is Verdict.ALLOW:
            allowed[reason.incident] = allowed.get(reason.incident, 0) + 1
            continue
        gate = f" [{reason.gate}]" if reason.gate else ""
        yield f"{reason.incident or 'fleet'} {reason.why.value}{gate}: {reason.text}"
    for incident, count in allowed.items():
        yield f"{incident} allowed by {count} gates"


def _effects(effects: tuple[Effect, ...]) -> Iterator[str]:
    for effect in effects:
        match effect:
            case SendOrder(order):
                params = " ".join(f"{name}={value}" for name, value in order.params)
                until = f"{order.expires_clock_ms} of {order.boot}"
                yield f"order {order.id} to {order.host}: {order.action} {params}, until {until}"
            case AskWitness():
                yield f"{effect.witness or 'the controller'} is asked about {effect.host}, round {effect.round}"
            case DrainHost(order):
                yield f"{order.host} is to be drained for {order.id}"
            case UndrainHost(host):
                yield f"{host} is to be given back"
            case PhaseChanged():
                yield f"{effect.incident} {effect.subject.host}/{effect.subject.key} is {effect.after.value}"
            case Escalated():
                yield f"{effect.severity} to {effect.to}: {effect.why.value}: {effect.text}"
            case ApprovalWanted():
                yield f"people are asked for {effect.order} ({effect.what}), {effect.people} until {clock(effect.until_ms)}"
            case Closed():
                yield f"{effect.incident} closed: {effect.why.value}"
            case ActionEnded():
                yield f"{effect.order} ended: {effect.outcome}"
