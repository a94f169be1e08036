"""`jobs`: what runs now and then, how long it may take, and what it must have left behind."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from ...playbooks.schema import ConfirmModel, Model
from ...playbooks.text import Path
from ...playbooks.values import AbsolutePath, PositiveDuration, UnitName
from ..schema import DeclarationFile
from ..section import Derived, Section
from ..units import UNIT_EVERY_MS

JOBS_MAX = 200
# A job's state is known from systemd's signals; how long it lasts must be looked at.
RUNTIME_EVERY_MIN_MS, RUNTIME_EVERY_MAX_MS = 1_000, 30_000
AGE_EVERY_MIN_MS, AGE_EVERY_MAX_MS = 2_000, 60_000


class ResultModel(Model):
    """A file that the job writes when it succeeds."""

    path: AbsolutePath
    max_age: PositiveDuration
    """Older, the job is overdue."""


class NewestModel(Model):
    """Of the files that the job leaves, the newest."""

    glob: AbsolutePath
    """The last part may have * and ?."""
    max_age: PositiveDuration

    @model_validator(mode="after")
    def _only_the_last_part_is_wild(self) -> Self:
        if any(c in self.glob.rpartition("/")[0] for c in "*?["):
            raise ValueError("only the last part of glob may have * and ?: name its folder in full")
        return self


class JobModel(Model):
    """One unit that runs now and then."""

    max_runtime: PositiveDuration | None = None
    """Running longer, it hangs."""
    result: ResultModel | None = None
    newest_file: NewestModel | None = None
    run_once: Literal["allowed", "never"] = "never"
    """Whether it may be run when it is overdue or failed, and stopped when it hangs."""
    heavy: bool = False
    """It may use a whole core while it runs."""
    timer: Annotated[str, Field(pattern=r"^[A-Za-z0-9:_.@\\-]{1,240}\.timer$")] | None = None
    """The timer that must be running for it, when `units` does not name it already."""


Jobs = dict[UnitName, JobModel]


def _derive(jobs: Jobs, declaration: DeclarationFile) -> Iterator[Derived]:
    for unit, job in jobs.items():
        yield from _of_job(unit, job)
        if job.timer is not None and job.timer not in declaration.units:
            params: dict[str, Any] = {"unit": job.timer, "desired": "running"}
            yield Derived(("jobs", unit, "timer"), f"unit-active:{job.timer}", "unit_active", params, UNIT_EVERY_MS)


def _of_job(unit: str, job: JobModel) -> Iterator[Derived]:
    origin = ("jobs", unit)
    if job.max_runtime is not None:
        every_ms = min(RUNTIME_EVERY_MAX_MS, max(RUNTIME_EVERY_MIN_MS, job.max_runtime // 5))
        params: dict[str, Any] = {"unit": unit, "max_runtime": job.max_runtime}
        yield Derived((*origin, "max_runtime"), f"job-runtime:{unit}", "job_runtime", params, every_ms)
    if job.result is not None:
        yield _fresh((*origin, "result"), f"job-result:{unit}", unit, job.result.path, job.result.max_age)
    if job.newest_file is not None:
        yield _fresh((*origin, "newest_file"), f"job-file:{unit}", unit, job.newest_file.glob, job.newest_file.max_age)


def _fresh(origin: Path, name: str, unit: str, path: str, max_age_ms: int) -> Derived:
    every_ms = min(AGE_EVERY_MAX_MS, max(AGE_EVERY_MIN_MS, max_age_ms // 5))
    params = {"path": path, "max_age": max_age_ms, "unit": unit}
    return Derived(origin, name, "file_age", params, every_ms, confirm=ConfirmModel(bad=2, good=1))


def _host(jobs: Jobs) -> dict[str, Any]:
    return {
        unit: {
            "run_once": job.run_once,
            "max_runtime_ms": job.max_runtime or 0,
            "heavy": job.heavy,
        }
        for unit, job in jobs.items()
    }


SECTION = Section(
    name="jobs",
    doc="Units that run now and then: how long they may take, what they must have left behind, whether they may be run.",
    kind=Annotated[Jobs, Field(max_length=JOBS_MAX)],
    default=dict,
    derive=_derive,
    host=_host,
    running=lambda jobs: [job.timer for job in jobs.values() if job.timer is not None],
)
