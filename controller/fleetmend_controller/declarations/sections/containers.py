"""Containers that should run, by name, and the engine that runs them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from ...playbooks.schema import ConfirmModel, Model
from ...playbooks.values import AbsolutePath, PositiveDuration
from ..schema import DeclarationFile
from ..section import Derived, Section

CONTAINERS_MAX = 200
NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$"

ContainerName = Annotated[str, Field(pattern=NAME_PATTERN)]


class ContainerModel(Model):
    """One container."""

    restart: Literal["allowed", "never"] = "never"
    """Whether it may be restarted."""


class ContainersModel(Model):
    """What should run on one engine."""

    engine: AbsolutePath = "/run/docker.sock"
    """Its Unix socket: docker's, or podman's compatible one."""
    declared: Annotated[dict[ContainerName, ContainerModel], Field(max_length=CONTAINERS_MAX)] = Field(default_factory=dict)
    every: PositiveDuration = 10_000
    confirm: ConfirmModel = ConfirmModel(bad=2, good=1)

    @model_validator(mode="after")
    def _name_some(self) -> Self:
        if not self.declared:
            raise ValueError("it declares no container: name one below `declared`, or take containers away")
        return self


def _derive(containers: ContainersModel | None, _declaration: DeclarationFile) -> Iterator[Derived]:
    if containers is None:
        return
    restartable = [name for name, rule in containers.declared.items() if rule.restart == "allowed"]
    params = {"engine": containers.engine, "names": list(containers.declared), "restartable": restartable}
    yield Derived(("containers",), "containers", "container_health", params, containers.every, confirm=containers.confirm)


def _told(containers: ContainersModel | None) -> dict[str, Any] | None:
    if containers is None:
        return None
    rules = {name: {"restart": rule.restart} for name, rule in containers.declared.items()}
    return {"engine": containers.engine, "declared": rules}


SECTION = Section(
    name="containers",
    doc="Containers that should run, and whether they may be restarted.",
    kind=ContainersModel | None,
    default=lambda: None,
    derive=_derive,
    host=_told,
)
