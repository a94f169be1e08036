"""What the files in declarations/ may say: what should be true on some hosts, and what may be touched there."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Discriminator, Field, Tag, model_validator

from ..playbooks.schema import ConfirmModel, Model
from ..playbooks.values import (
    ADDRESS_PATTERN,
    MOUNT_UNIT_PATTERN,
    URL_PATTERN,
    AbsolutePath,
    DisposableGlob,
    Name,
    On,
    Percent,
    Person,
    PositiveDuration,
    ProtectedGlob,
    Size,
    UnitName,
)

UNITS_MAX = 500
MOUNTS_MAX = 200
PATTERNS_MAX = 500

Url = Annotated[str, Field(pattern=URL_PATTERN, max_length=2048)]
Address = Annotated[str, Field(pattern=ADDRESS_PATTERN, max_length=255)]
Plugin = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.+-]{0,127}$")]
CommandName = Annotated[str, Field(min_length=1, max_length=128)]
CommandText = Annotated[str, Field(min_length=2, max_length=255)]
UserName = Annotated[str, Field(pattern=r"^[a-z_][a-z0-9_.-]{0,31}$")]


class ProbeModel(Model):
    """How often a unit's health is asked for, and what counts."""

    every: PositiveDuration = 5_000
    timeout: PositiveDuration | None = None
    """When no answer counts as a hang; half of `every`, at least 500ms and at most 2s, where nothing is said."""
    confirm: ConfirmModel = ConfirmModel(bad=2, good=1)


class HttpHealth(ProbeModel):
    """Healthy is what answers this address with a good status."""

    url: Url
    expect_status: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    """Statuses that are good: `200`, `200-299` or `200,301`; left away: 200-399."""
    expect_text: Annotated[str, Field(max_length=1024)] = ""
    """Text that the answer must contain."""
    verify: bool = True
    """`false`: whether it answers counts, not its certificate; declare that under `certificates`."""


class TcpHealth(ProbeModel):
    """Healthy is what accepts a connection, and answers as expected if something is expected."""

    tcp: Address
    """Host and port, such as `127.0.0.1:5433`."""
    send: Annotated[str, Field(max_length=1024)] = ""
    expect: Annotated[str, Field(max_length=1024)] = ""
    expect_any: bool = False
    """It must answer something: what accepts connections for a service that does not run is not healthy."""


class ExecHealth(ProbeModel):
    """Healthy is what a plugin on the host says is well: one of those that nagios_plugin may run, by its name alone."""

    exec: Plugin
    every: PositiveDuration = 30_000


class JournalHealth(ProbeModel):
    """Healthy is a journal in which a line can be read soon after it was logged; for the unit of systemd's journal."""

    journal: PositiveDuration
    """How soon."""
    every: PositiveDuration = 30_000


def _health_kind(value: object) -> str:
    if isinstance(value, str):
        return "<address>"
    return next((f"<{kind}>" for kind in ("tcp", "exec", "journal") if isinstance(value, dict) and kind in value), "<url>")


Health = Annotated[
    Annotated[Url, Tag("<address>")]
    | Annotated[HttpHealth, Tag("<url>")]
    | Annotated[TcpHealth, Tag("<tcp>")]
    | Annotated[ExecHealth, Tag("<exec>")]
    | Annotated[JournalHealth, Tag("<journal>")],
    Discriminator(_health_kind),
]


class HeartbeatModel(Model):
    """A file that the unit writes again and again while it works."""

    path: AbsolutePath
    max_age: PositiveDuration


class UnitModel(Model):
    """One systemd unit."""

    desired: Literal["running", "stopped"] = "running"
    restart: Literal["allowed", "clean-only", "never"] = "never"
    """Whether it may be restarted; `clean-only`: never by killing it."""
    reload: Literal["allowed", "never"] = "allowed"
    """Whether it may be told to read its configuration again."""
    health: Health | None = None
    """An address to ask, or a mapping with `url`, `tcp`, `exec` or `journal`."""
    write_probe: Url | None = None
    """An address that answers well only if the unit can write its data. A restart is not the answer to that."""
    dependency_probe: Url | None = None
    """An address that answers well only if what the unit depends on answers. Nothing here is restarted for that."""
    config_test: CommandName | None = None
    """A command in the host's policy file that must succeed before the unit is started or restarted."""
    memory_max: Size | None = None
    """What its processes may hold; more is a fault."""
    process: CommandText | None = None
    """Text in the command line of the process that the unit is there for."""
    instances: Annotated[int, Field(ge=1, le=1000)] | None = None
    """How many such processes there must be, not counting their children; a copy outside the unit is one too many."""
    heartbeat: HeartbeatModel | None = None
    user: UserName | None = None
    """The user it runs for, where systemd does not say so."""
    stateful: bool = False
    """It holds data: it is not restarted for mere upkeep, such as an update that is not in force yet."""
    lock_file: AbsolutePath | None = None
    """A file with a process number that keeps a second copy away; left behind by a crash, it keeps the first one away too."""
    bound_to: UnitName | None = None
    """A declared unit without which it cannot run: that one is started first."""

    @model_validator(mode="after")
    def _only_the_running_are_judged(self) -> Self:
        judged = ("health", "write_probe", "dependency_probe", "memory_max", "process", "instances", "heartbeat")
        if self.desired == "stopped" and (given := next((name for name in judged if getattr(self, name) is not None), None)):
            raise ValueError(f"a unit that should be stopped has no {given}: take {given} away, or write desired: running")
        return self


class MountModel(Model):
    """One mount."""

    unit: Annotated[str, Field(pattern=MOUNT_UNIT_PATTERN)] | None = None
    """Its systemd unit, when it has one that should be running."""
    options: Literal["rw", "ro"] = "rw"
    """`rw`: it is a fault when it turns read-only."""
    source: Annotated[str, Field(min_length=1, max_length=1024)] | None = None
    """What must be mounted there: a device, an image file, `host:/path`. Left away: anything."""
    fstype: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,31}$")] | None = None
    """Type that its filesystem must have."""
    remount: Literal["never", "if-clean"] = "never"
    """`if-clean`: mounted writable again when neither the filesystem nor the kernel has an error to tell."""
    users: Annotated[list[UnitName], Field(max_length=50)] = Field(default_factory=list)
    """Units that write there: paused while a missing mount comes back, so that nothing is written below it."""


class SpaceModel(Model):
    """When a filesystem is too full, and when it is well again."""

    heal_above_percent: Percent
    target_percent: Percent

    @model_validator(mode="after")
    def _target_is_lower(self) -> Self:
        if self.target_percent >= self.heal_above_percent:
            raise ValueError(
                f"target_percent {self.target_percent} must be below heal_above_percent {self.heal_above_percent}:"
                " else nothing is ever well"
            )
        return self


class DeclarationFile(Model):
    """A file in declarations/."""

    declare: Name
    """Unique in all files."""
    on: On | None = None
    """Labels of the hosts it is about; left away: every host."""
    owner: Person
    """Who answers for these hosts and units."""
    units: Annotated[dict[UnitName, UnitModel], Field(max_length=UNITS_MAX)] = Field(default_factory=dict)
    mounts: Annotated[dict[AbsolutePath, MountModel], Field(max_length=MOUNTS_MAX)] = Field(default_factory=dict)
    space: SpaceModel | None = None
    """For the declared mounts; without mounts: for every local filesystem."""
    inodes: SpaceModel | None = None
    """As space, for inodes."""
    disposable: Annotated[list[DisposableGlob], Field(max_length=PATTERNS_MAX)] = Field(default_factory=list)
    """What a clean-up may delete: absolute paths with *, ** and ?."""
    protected: Annotated[list[ProtectedGlob], Field(max_length=PATTERNS_MAX)] = Field(default_factory=list)
    """What no action may touch, whatever is disposable: absolute paths, and names of units, with *, ** and ?."""
