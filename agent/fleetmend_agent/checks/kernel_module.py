"""One kernel module is loaded, or is not: a driver that is needed, or one that must not be there."""

from __future__ import annotations

from collections.abc import Iterable

from . import Check, CheckUnknown, Context, Field, Gauge, Kind, Param, Result, Status
from ._source import why


def _run(context: Context) -> Iterable[Result]:
    module = context.params["module"].replace("-", "_")
    if not module.replace("_", "").isalnum():
        raise CheckUnknown(f"cannot look for the module {context.params['module']!r}: that is no module's name")
    desired: str = context.params["desired"]
    try:
        # What is built into the kernel is here only if it has parameters; those are asked for by nobody.
        loaded = module in context.host.listdir("/sys/module")
    except OSError as error:
        raise CheckUnknown(f"cannot read /sys/module: {why(error)}") from error
    right = loaded == (desired == "loaded")
    text = f"module {module} is {'loaded' if loaded else 'not loaded'}" + ("" if right else f", it should be {desired}")
    finding = {"module": module, "loaded": loaded, "desired": desired}
    return [Result(Status.OK if right else Status.CRIT, text, finding=finding, gauges={"module_loaded_value": float(loaded)})]


CHECK = Check(
    name="kernel_module",
    summary="A kernel module is loaded, or is not, as it should be",
    run=_run,
    params=(
        Param("module", Kind.TEXT, "name of the module", required=True),
        Param("desired", Kind.TEXT, "loaded, or absent", default="loaded", choices=("loaded", "absent")),
    ),
    finding=(
        Field("module", Kind.TEXT, "the module"),
        Field("loaded", Kind.FLAG, "it is loaded"),
        Field("desired", Kind.TEXT, "loaded or absent"),
    ),
    gauges=(Gauge("module_loaded_value", "1 when it is loaded, else 0"),),
    every_s=60.0,
)
