"""Users whose processes may be stopped when they run away outside every declared unit and job."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import Field, field_validator

from ...playbooks.schema import Model
from ...playbooks.values import PositiveDuration
from ..schema import DeclarationFile, UserName
from ..section import Derived, Section

USERS_MAX = 50
_EVERY_MAX_MS, _EVERY_MIN_MS = 5_000, 1_000


class KillableModel(Model):
    """One user, and what counts as running away."""

    user: UserName
    cpu_percent: Annotated[int, Field(ge=1, le=100_000)] = 80
    """More than this share of one processor."""
    for_: Annotated[PositiveDuration, Field(alias="for")] = Field(5_000, alias="for")
    """For so long."""
    processes_max: Annotated[int, Field(ge=1)] = 500
    """Or so many processes of the user outside declared units."""

    @field_validator("user")
    @classmethod
    def _root_is_never(cls, user: str) -> str:
        if user == "root":
            raise ValueError("root's processes are never killable: name the user of your batch work")
        return user


def _derive(killable: list[KillableModel], _declaration: DeclarationFile) -> Iterator[Derived]:
    for index, each in enumerate(killable):
        params = {"user": each.user, "cpu_percent": each.cpu_percent, "lasting": each.for_, "processes_max": each.processes_max}
        every_ms = min(_EVERY_MAX_MS, max(_EVERY_MIN_MS, each.for_))
        yield Derived(("killable", index), f"runaway:{each.user}", "process_runaway", params, every_ms)


def _host(killable: list[KillableModel]) -> list[dict[str, Any]]:
    return [{"user": each.user} for each in killable]


SECTION = Section(
    name="killable",
    doc="Users whose processes may be stopped when they run away outside every declared unit and job.",
    kind=Annotated[list[KillableModel], Field(max_length=USERS_MAX)],
    default=list,
    derive=_derive,
    host=_host,
)
