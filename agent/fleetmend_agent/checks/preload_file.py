"""Nothing is loaded into every program of the machine unless somebody said so: that is how rootkits hide."""

from __future__ import annotations

from collections.abc import Iterable

from . import Check, CheckUnknown, Context, Field, Kind, Param, Result, Scalar, Status
from ._source import why

FILE_BYTES_MAX = 64 * 1024


def _run(context: Context) -> Iterable[Result]:
    path: str = context.params["path"]
    try:
        text = context.host.read_text(path, FILE_BYTES_MAX)
    except FileNotFoundError:
        return [Result(Status.OK, f"{path} does not exist", finding={"path": path, "libraries": ""})]
    except OSError as error:
        raise CheckUnknown(f"cannot read {path}: {why(error)}") from error
    words = [word for line in text.splitlines() for word in line.partition("#")[0].replace(":", " ").split()]
    extra = [word for word in words if word not in context.params["allowed"]]
    facts: dict[str, Scalar] = {"path": path, "libraries": " ".join(extra[:8])}
    if not extra:
        return [Result(Status.OK, f"{path} names nothing that is not allowed", finding=facts)]
    return [Result(Status.CRIT, f"{path} loads {', '.join(extra[:8])} into every program", finding=facts)]


CHECK = Check(
    name="preload_file",
    summary="No library is preloaded into every program",
    run=_run,
    params=(
        Param("path", Kind.TEXT, "the file that names them", default="/etc/ld.so.preload"),
        Param("allowed", Kind.TEXT_LIST, "libraries that may be named there", default=[]),
    ),
    finding=(
        Field("path", Kind.TEXT, "the file that names them"),
        Field("libraries", Kind.TEXT, "libraries that it names and should not"),
    ),
    signal="inotify",
    every_s=60.0,
)
