"""The newest gauges of every host, kept as ready text: a scrape of 300,000 series joins bytes and formats nothing.

The exposition format wants all series of one metric together, so a block of lines is kept for each (metric, host) and rendered
again only when one of its values changes.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from fleetmend.catalogue import Catalogue
from fleetmend.v1 import link_pb2

from ..core.model import Status
from ..pki.registry import HostRecord
from . import bounds
from .sessions import SubjectKey

SERIES_A_HOST_MAX = 2_000
METRICS_MAX = 5_000
PREFIX = "fleetmend_"
_NAME = re.compile(r"[a-z][a-z0-9_]{0,99}")
_NUMBER = {Status.OK: 0, Status.WARN: 1, Status.CRIT: 2, Status.UNKNOWN: 3}

_AGENT_METRICS = {
    "agent_cpu_seconds_total": ("counter", "CPU time that the agent used."),
    "agent_resident_bytes": ("gauge", "Memory that the agent holds."),
    "agent_outbox_records": ("gauge", "Records that the agent keeps until they are acknowledged."),
    "agent_outbox_dropped_total": ("counter", "Records that the agent's bounded outbox lost."),
    "agent_checks_hung": ("gauge", "Checks of the agent that do not return."),
    "agent_checks_run_total": ("counter", "Checks that the agent ran."),
    "agent_clock_skew_seconds": ("gauge", "How far the host's wall clock is ahead of the controller's."),
}
_OWN_METRICS = {
    "host_up": ("gauge", "1 while the host's agent is heard, 0 otherwise."),
    "host_info": ("gauge", "The id and the labels of each enrolled host; always 1."),
    "check_status": ("gauge", "What each check says of each subject: 0 OK, 1 WARN, 2 CRIT, 3 UNKNOWN."),
    **_AGENT_METRICS,
}


Ident = tuple[str, str, str]


@dataclass(slots=True)
class _HostSeries:
    """What is kept of one host: its gauges by id, what checks say by subject, figures of its agent by metric.

    A hidden host (silent) shows none of it. Names are interned, because most hosts have the same ones.
    """

    label: str
    idents: dict[int, Ident] = field(default_factory=dict)
    ids: dict[Ident, int] = field(default_factory=dict)
    gauges: dict[int, bytes] = field(default_factory=dict)
    subjects: dict[SubjectKey, Status] = field(default_factory=dict)
    says: dict[SubjectKey, bytes] = field(default_factory=dict)
    agent: dict[str, bytes] = field(default_factory=dict)
    hidden: bool = False
    begun: bool = False

    def metrics(self) -> set[str]:
        """Every metric of which this host has a line."""
        return {metric for metric, _, _ in self.idents.values()} | set(self.agent) | {"check_status"}

    def blocks(self, metrics: Iterable[str]) -> dict[str, bytes]:
        """The text of these metrics, in one pass over what is kept; empty for one without lines."""
        lines: dict[str, list[bytes]] = {metric: [] for metric in metrics}
        if self.hidden:
            return dict.fromkeys(lines, b"")
        for series_id, line in self.gauges.items():
            group = lines.get(self.idents[series_id][0])
            if group is not None:
                group.append(line)
        for metric in _AGENT_METRICS.keys() & lines.keys() & self.agent.keys():
            lines[metric] = [self.agent[metric]]
        if "check_status" in lines:
            lines["check_status"] = list(self.says.values())
        return {metric: b"".join(group) for metric, group in lines.items()}


class Gauges:
    """Blocks of text by metric and host."""

    def __init__(self, catalogue: Catalogue, dropped: Callable[[str, int], None]) -> None:
        self._helps, self._families = _helps_of(catalogue)
        self._dropped = dropped
        self._hosts: dict[str, _HostSeries] = {}
        self._blocks: dict[str, dict[str, bytes]] = {}
        self._infos: dict[str, tuple[HostRecord, bytes]] = {}

    def begin(self, host: HostRecord, skew_ms: int) -> None:
        """A stream begins: the ids of its series mean nothing any more; old values stay until its first heartbeat."""
        series = self._hosts.setdefault(host.id, _HostSeries(_escape(host.name)))
        series.begun = False
        series.agent["agent_clock_skew_seconds"] = _line("agent_clock_skew_seconds", series.label, skew_ms / 1000)
        self._publish(host.id, series, {"agent_clock_skew_seconds"})

    def heartbeat(self, host: str, beat: link_pb2.Heartbeat) -> None:
        """Take the values of a heartbeat; what cannot be used is dropped and counted."""
        series = self._hosts.get(host)
        if series is None:
            return
        changed: set[str] = set()
        if not series.begun:
            series.begun = True
            changed = {metric for metric, _, _ in series.idents.values()}
            series.idents, series.ids, series.gauges = {}, {}, {}
        for ended in beat.ended_series_ids:
            changed |= self._end(series, ended)
        for new in beat.series:
            changed |= self._define(series, new)
        for series_id, value in zip(beat.series_ids, beat.values, strict=False):
            ident = series.idents.get(series_id)
            if ident is None:
                continue
            changed.add(ident[0])
            if math.isfinite(value):
                series.gauges[series_id] = _line(ident[0], series.label, value, ident[1], ident[2])
            else:
                series.gauges.pop(series_id, None)
        if beat.HasField("stats"):
            changed |= self._stats(series, beat.stats)
        self._publish(host, series, changed)

    def statuses(self, host: str, statuses: Mapping[SubjectKey, Status], gone: Iterable[SubjectKey]) -> None:
        """Take what checks say; subjects that are gone disappear."""
        series = self._hosts.get(host)
        if series is None:
            return
        for subject, status in statuses.items():
            if subject not in series.subjects and len(series.subjects) >= SERIES_A_HOST_MAX:
                self._dropped("too_many_subjects", 1)
                continue
            series.subjects[subject] = status
            series.says[subject] = _line("check_status", series.label, _NUMBER[status], *subject)
        for subject in gone:
            series.subjects.pop(subject, None)
            series.says.pop(subject, None)
        self._publish(host, series, {"check_status"})

    def subjects(self, host: str) -> dict[SubjectKey, Status]:
        """What each check of a host said last."""
        series = self._hosts.get(host)
        return dict(series.subjects) if series is not None else {}

    def hide(self, host: str) -> None:
        """The host is silent: old values must not look like new ones."""
        series = self._hosts.get(host)
        if series is not None and not series.hidden:
            series.hidden = True
            self._publish(host, series, series.metrics())

    def show(self, host: str) -> None:
        """The host is heard again."""
        series = self._hosts.get(host)
        if series is not None and series.hidden:
            series.hidden = False
            self._publish(host, series, series.metrics())

    def forget(self, host: str) -> None:
        """The host was removed: nothing of it stays."""
        self._hosts.pop(host, None)
        self._infos.pop(host, None)
        for blocks in self._blocks.values():
            blocks.pop(host, None)

    def render(self, hosts: Iterable[HostRecord], is_up: Callable[[str], bool]) -> bytes:
        """The whole exposition."""
        parts: list[bytes] = []
        ups: list[bytes] = [self._header("host_up")]
        infos: list[bytes] = [self._header("host_info")]
        for host in hosts:
            ups.append(_line("host_up", _escape(host.name), 1 if is_up(host.id) else 0))
            infos.append(self._info(host))
        parts += ups + infos
        for metric in sorted(self._blocks):
            blocks = self._blocks[metric]
            if blocks:
                parts.append(self._header(metric))
                parts.extend(blocks.values())
        return b"".join(parts)

    def _info(self, host: HostRecord) -> bytes:
        kept = self._infos.get(host.id)
        if kept is not None and kept[0].labels is host.labels:
            return kept[1]
        labels = "".join(f',{name}="{_escape(value)}"' for name, value in sorted(host.labels.items()))
        line = f'{PREFIX}host_info{{host="{_escape(host.name)}",id="{host.id}"{labels}}} 1\n'.encode()
        self._infos[host.id] = (host, line)
        return line

    def _header(self, metric: str) -> bytes:
        kind, text = _OWN_METRICS.get(metric) or ("counter" if metric.endswith("_total") else "gauge", self._help(metric))
        return f"# HELP {PREFIX}{metric} {text}\n# TYPE {PREFIX}{metric} {kind}\n".encode()

    def _help(self, metric: str) -> str:
        text = self._helps.get(metric)
        if text is None:
            text = next((text for prefix, text in self._families if metric.startswith(prefix)), "")
        return text.replace("\\", "\\\\").replace("\n", " ")

    def _known(self, metric: str) -> bool:
        if not _NAME.fullmatch(metric) or metric in _OWN_METRICS:
            return False
        return metric in self._helps or any(metric.startswith(prefix) for prefix, _ in self._families)

    def _define(self, series: _HostSeries, new: link_pb2.Series) -> set[str]:
        try:
            check, key = bounds.subject(new.check, new.key)
        except bounds.Malformed:
            self._dropped("malformed", 1)
            return set()
        if not self._known(new.name) or (new.name not in self._blocks and len(self._blocks) >= METRICS_MAX):
            self._dropped("unknown_gauge", 1)
            return set()
        changed = self._end(series, new.id)
        ident = (sys.intern(new.name), sys.intern(check), sys.intern(key))
        # Two series of equal labels would make Prometheus refuse the whole scrape.
        same = series.ids.get(ident)
        if same is not None:
            changed |= self._end(series, same)
        if len(series.idents) >= SERIES_A_HOST_MAX:
            self._dropped("too_many_series", 1)
            return changed
        series.idents[new.id] = ident
        series.ids[ident] = new.id
        return changed

    @staticmethod
    def _end(series: _HostSeries, series_id: int) -> set[str]:
        ident = series.idents.pop(series_id, None)
        if ident is None:
            return set()
        del series.ids[ident]
        series.gauges.pop(series_id, None)
        return {ident[0]}

    @staticmethod
    def _stats(series: _HostSeries, stats: link_pb2.AgentStats) -> set[str]:
        values = {
            "agent_cpu_seconds_total": stats.cpu_seconds_total if math.isfinite(stats.cpu_seconds_total) else 0.0,
            "agent_resident_bytes": stats.resident_bytes,
            "agent_outbox_records": stats.outbox_records,
            "agent_outbox_dropped_total": stats.outbox_dropped_total,
            "agent_checks_hung": stats.checks_hung,
            "agent_checks_run_total": stats.checks_run_total,
        }
        for metric, value in values.items():
            series.agent[metric] = _line(metric, series.label, value)
        return set(values)

    def _publish(self, host: str, series: _HostSeries, metrics: Iterable[str]) -> None:
        for metric, block in series.blocks(metrics).items():
            if block:
                self._blocks.setdefault(metric, {})[host] = block
            else:
                self._blocks.get(metric, {}).pop(host, None)


def _line(metric: str, host: str, value: float, check: str | None = None, key: str = "") -> bytes:
    if check is None:
        return f'{PREFIX}{metric}{{host="{host}"}} {value!r}\n'.encode()
    return f'{PREFIX}{metric}{{host="{host}",check="{_escape(check)}",key="{_escape(key)}"}} {value!r}\n'.encode()


def _escape(value: str) -> str:
    if "\\" not in value and '"' not in value and "\n" not in value:
        return value
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _helps_of(catalogue: Catalogue) -> tuple[dict[str, str], list[tuple[str, str]]]:
    """Help texts by metric, and by prefix for families (names that end with `*`)."""
    exact: dict[str, str] = {}
    families: list[tuple[str, str]] = []
    for check in catalogue.checks.values():
        for gauge in check.gauges:
            if gauge.name.endswith("*"):
                families.append((gauge.name.removesuffix("*"), gauge.doc))
            else:
                exact.setdefault(gauge.name, gauge.doc)
    return exact, sorted(families)
