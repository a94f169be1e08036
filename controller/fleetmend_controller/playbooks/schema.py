"""What the files in checks/ and playbooks/ may say. Meanings that need the catalogue or other files are judged in load.py."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag, WithJsonSchema

from .values import Duration, Name, On, Percent, Person, PositiveDuration, RateText, Sentence

STEPS_MAX = 20
CHECKS_MAX = 1000

Params = dict[str, Any]
LABEL_CHARS_MAX = 63
Label = Annotated[str, Field(min_length=1, max_length=LABEL_CHARS_MAX)]
LABELS_MAX = 5

_NAMES_SCHEMA = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}]}


def _names(value: object) -> list[str]:
    given = value if isinstance(value, list) else [value]
    names = [name for name in given if isinstance(name, str) and name]
    if not given:
        raise ValueError("an empty list answers nothing")
    if len(names) != len(given) or len(names) > 16:
        raise ValueError("it must be the name or type of a check, or a list of up to 16")
    if len(set(names)) != len(names):
        raise ValueError("a check stands in the list twice")
    return names


def _labels(value: object) -> list[str]:
    given = value if isinstance(value, list) else [value]
    labels = [label for label in given if isinstance(label, str) and 0 < len(label) <= LABEL_CHARS_MAX]
    if len(labels) != len(given) or not 0 < len(labels) <= LABELS_MAX or len(set(labels)) != len(labels):
        raise ValueError(f"it must be a label, or a list of up to {LABELS_MAX} different ones")
    return labels


class Model(BaseModel):
    """Nothing unknown, nothing converted."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, populate_by_name=False, use_attribute_docstrings=True)


class ConfirmModel(Model):
    """How many results in a row it takes before the status changes."""

    bad: Annotated[int, Field(ge=1, le=100)] = 1
    """Bad results in a row before the check is bad."""
    good: Annotated[int, Field(ge=1, le=100)] = 1
    """Good results in a row before it is good again."""


class CheckModel(Model):
    """One check."""

    name: Name
    """Unique in all files; playbooks may name it."""
    type: Name
    """One of the check types; docs/catalogue.md explains them."""
    with_: Annotated[Params, Field(alias="with")] = Field(default_factory=dict, alias="with")
    """Parameters of the check type."""
    on: On | None = None
    """Labels of the hosts that run it; left away: every host."""
    every: PositiveDuration | None = None
    """How often; left away: as the check type says."""
    timeout: PositiveDuration | None = None
    """How long one run may take; left away: as the check type says."""
    confirm: ConfirmModel = ConfirmModel()


class ChecksFile(Model):
    """A file in checks/."""

    checks: Annotated[list[CheckModel], Field(min_length=1, max_length=CHECKS_MAX)]


class WhenModel(Model):
    """Which incidents the playbook answers."""

    check: Annotated[list[str], BeforeValidator(_names), WithJsonSchema(_NAMES_SCHEMA)]
    """Name or type of a check, or a list of them."""
    where: Annotated[str, Field(min_length=1)] | None = None
    """A condition in CEL over finding.*, host.name, host.labels.*, check.name, check.type, status, summary, and declared.*."""
    for_: Annotated[Duration, Field(alias="for")] = Field(default=0, alias="for")
    """How long the fault must have lasted."""


class AnsweredModel(Model):
    """The part of `when` that names checks, to judge it although its neighbours are not understood."""

    model_config = ConfigDict(extra="ignore")

    check: Annotated[list[str], BeforeValidator(_names)]


class ProveModel(Model):
    """The check that raised the fault must say OK after the action, and stay so."""

    within: PositiveDuration = 30_000
    """Time from the action's end to the first OK."""
    stay_ok: Duration = 10_000
    """Time for which it must stay OK."""


class ActionModel(Model):
    """One action on the host."""

    action: Name
    """One of the actions; docs/catalogue.md explains them."""
    with_: Annotated[Params, Field(alias="with")] = Field(default_factory=dict, alias="with")
    """Parameters of the action; `{finding.x}` stands for a whole value of the finding."""
    prove: ProveModel | None = None
    """How it is proved; left away, whatever disturbs or destroys is proved within 30s, staying OK for 10s."""
    timeout: PositiveDuration | None = None
    """How long it may take; left away: as the action says."""
    drain: bool = False
    """Take the host out of service before it, by the controller's drain hook, and give it back when the incident is over."""


class WaitModel(Model):
    """Let time pass, then judge afresh."""

    wait: PositiveDuration


def _step_kind(value: object) -> str:
    return "<wait>" if isinstance(value, dict) and "wait" in value and "action" not in value else "<action>"


StepModel = Annotated[
    Annotated[ActionModel, Tag("<action>")] | Annotated[WaitModel, Tag("<wait>")],
    Discriminator(_step_kind),
]


class FleetModel(Model):
    """How many hosts of a group may be healed at once: max(1, percent of the group), never more than at_most."""

    by: Annotated[list[str], BeforeValidator(_labels), WithJsonSchema(_NAMES_SCHEMA)] = Field(default=["role"])
    """The label whose value makes the group; or several, and then groups of each are bounded: `[role, rack]`."""
    percent: Percent = 10
    at_most: Annotated[int, Field(ge=1, le=10_000)] = 20


class StormModel(Model):
    """The same fault on so many hosts of a group within so short a time is one cause: people are told, nothing is healed."""

    by: Label = "role"
    percent: Percent
    within: PositiveDuration
    hosts: Annotated[int, Field(ge=2, le=10_000)] = 3
    """The fewest hosts that can be a storm, for small groups: of a group of three, all three."""


class AttemptsModel(Model):
    """Tries on one subject; the n-th waits backoff * factor^(n-1) after the one before."""

    max: Annotated[int, Field(ge=1, le=100)] = 5
    within: PositiveDuration = 3_600_000
    backoff: Duration = 5_000
    factor: Annotated[int, Field(ge=1, le=10)] = 2


class FloorModel(Model):
    """So many hosts of a group must be healthy while one is disturbed."""

    by: Label = "role"
    percent: Percent


class FlappingModel(Model):
    """A subject that turns bad `count` times within `within` flaps, until it was quiet for `quiet`."""

    count: Annotated[int, Field(ge=2, le=100)]
    within: PositiveDuration = 600_000
    quiet: PositiveDuration = 600_000


class ApprovalModel(Model):
    """Which steps people must approve, how many of them, within what time, and of which role at least."""

    needed_for: Literal["never", "destructive", "disruptive"] = "destructive"
    people: Annotated[int, Field(ge=1, le=5)] = 1
    within: PositiveDuration = 3_600_000
    role: Literal["responder", "admin"] = "responder"


class LimitsModel(Model):
    """What bounds the playbook."""

    per_host: RateText = (3, 3_600_000)
    """Actions on one host, such as `3 per 1h`."""
    fleet: FleetModel = FleetModel()
    storm: StormModel | None = None
    minimum_healthy: FloorModel | None = None
    flapping: FlappingModel | None = None
    attempts: AttemptsModel = AttemptsModel()


class EscalateModel(Model):
    """Who is told when healing ends without success."""

    to: Person
    severity: Literal["page", "ticket"] = "ticket"


class PlaybookFile(Model):
    """A file in playbooks/: which incidents, which steps, which limits, who is told.

    Playbooks are tried in the order of their file names; the first whose check and condition fit answers the incident.
    """

    playbook: Name
    """Unique in all files."""
    summary: Sentence
    """What it does, one line."""
    owner: Person
    """Who answers for it."""
    trust: Literal["observe", "suggest", "act"] = "observe"
    """How far it may go by itself: record what it would do, ask a person, or act."""
    alone: bool = False
    """Hosts may do it by themselves while no controller can be asked: each time by a permit that was given ahead."""
    when: WhenModel
    steps: Annotated[list[StepModel], Field(min_length=1, max_length=STEPS_MAX)]
    approval: ApprovalModel = ApprovalModel()
    limits: LimitsModel = LimitsModel()
    toil_minutes: Annotated[int, Field(ge=0, le=10_000)] = 0
    """What a person would have spent; used by the report of saved toil."""
    escalate: EscalateModel | None = None
    """Left away: the owner, by ticket."""
