"""The per-host exposition: grouped, escaped, bounded, and gone when the host is."""

import pytest
from prometheus_client.parser import text_string_to_metric_families

from fleetmend.v1 import link_pb2
from fleetmend_controller.core.model import Status
from fleetmend_controller.gateway.gauges import SERIES_A_HOST_MAX, Gauges
from fleetmend_controller.pki.registry import HostRecord
from tests.unit.gateway.world import CATALOGUE


def host(number=1, name=None, **labels):
    return HostRecord(f"h-{number:016x}", name or f"web-{number}", labels or {"role": "web"}, "", 0, "", 0)


class Book:
    """Gauges with the hosts that they are about."""

    def __init__(self, *hosts):
        self.hosts = list(hosts) or [host()]
        self.dropped = {}
        self.gauges = Gauges(CATALOGUE, self.drop)
        self.up = True
        for each in self.hosts:
            self.gauges.begin(each, 0)

    def drop(self, reason, count):
        self.dropped[reason] = self.dropped.get(reason, 0) + count

    def beat(self, *series, number=0, values=None, **fields):
        beat = link_pb2.Heartbeat(**fields)
        for index, (name, check, key) in enumerate(series):
            beat.series.add(id=index, name=name, check=check, key=key)
        pairs = dict(enumerate([1.0] * len(series))) if values is None else values
        beat.series_ids.extend(pairs)
        beat.values.extend(pairs.values())
        self.gauges.heartbeat(self.hosts[number].id, beat)

    def text(self):
        return self.gauges.render(self.hosts, lambda _host: self.up).decode()

    def samples(self, name):
        families = text_string_to_metric_families(self.text())
        return {tuple(sorted(s.labels.items())): s.value for family in families for s in family.samples if s.name == name}

    def values(self, name):
        return list(self.samples(name).values())


USED = "filesystem_used_ratio"


def test_series_of_one_metric_stand_together_with_one_header():
    book = Book(host(1), host(2))
    for number in (0, 1):
        book.beat((USED, "root", "/"), ("nagios_load", "load", ""), (USED, "data", "/srv"), number=number)
    text = book.text()
    assert text.count(f"# TYPE fleetmend_{USED} gauge") == 1
    names = [line.split("{")[0] for line in text.splitlines() if not line.startswith("#")]
    grouped = list(dict.fromkeys(names))
    assert names == sorted(names, key=grouped.index)
    assert len(book.samples(f"fleetmend_{USED}")) == 4
    assert "# HELP fleetmend_nagios_load A figure of the plugin.\n" in text


def test_hostile_labels_do_not_break_the_exposition():
    book = Book(host(1, name='we"b\\1'))
    book.beat((USED, 'ro"ot', "back\\slash"))
    ((labels, value),) = book.samples(f"fleetmend_{USED}").items()
    assert (dict(labels), value) == ({"check": 'ro"ot', "host": 'we"b\\1', "key": "back\\slash"}, 1.0)


def test_values_change_and_series_end():
    book = Book()
    book.beat((USED, "root", "/"), (USED, "data", "/srv"))
    book.beat(values={0: 0.25})
    assert sorted(book.values(f"fleetmend_{USED}")) == [0.25, 1.0]
    book.beat(values={}, ended_series_ids=[1])
    assert book.values(f"fleetmend_{USED}") == [0.25]
    book.beat(values={0: float("nan")})
    assert book.values(f"fleetmend_{USED}") == []


def test_a_new_stream_keeps_old_values_until_its_first_heartbeat():
    book = Book()
    book.beat((USED, "root", "/"), (USED, "data", "/srv"))
    book.gauges.begin(book.hosts[0], 1500)
    assert len(book.values(f"fleetmend_{USED}")) == 2
    book.beat((USED, "root", "/"), values={0: 0.5})
    assert book.values(f"fleetmend_{USED}") == [0.5]
    assert book.values("fleetmend_agent_clock_skew_seconds") == [1.5]


def test_two_series_of_equal_labels_become_one():
    book = Book()
    book.beat((USED, "root", "/"), (USED, "root", "/"), values={0: 0.1, 1: 0.9})
    assert book.values(f"fleetmend_{USED}") == [0.9]


@pytest.mark.parametrize("name", ["host_up", "incidents_open", "Bad", "a{b}", "", "check_status", "unheard_of"])
def test_names_that_the_catalogue_lacks_are_dropped_and_counted(name):
    book = Book()
    book.beat((name, "root", "/"))
    assert book.dropped == {"unknown_gauge": 1}
    assert "root" not in book.text()


def test_a_host_has_a_bounded_number_of_series():
    book = Book()
    book.beat(*((USED, f"c{n}", "") for n in range(SERIES_A_HOST_MAX + 5)))
    assert len(book.values(f"fleetmend_{USED}")) == SERIES_A_HOST_MAX
    assert book.dropped == {"too_many_series": 5}


def test_status_of_subjects_and_their_end():
    book = Book()
    one = book.hosts[0].id
    book.gauges.statuses(one, {("units", "a"): Status.CRIT, ("units", "b"): Status.OK}, [])
    assert sorted(book.values("fleetmend_check_status")) == [0, 2]
    book.gauges.statuses(one, {("units", "b"): Status.UNKNOWN}, [("units", "a")])
    assert book.values("fleetmend_check_status") == [3]


def test_a_silent_host_shows_only_that_it_is_down_and_comes_back_whole():
    book = Book()
    book.beat((USED, "root", "/"), stats=link_pb2.AgentStats(resident_bytes=5))
    book.gauges.hide(book.hosts[0].id)
    book.up = False
    assert book.values("fleetmend_host_up") == [0]
    assert book.values(f"fleetmend_{USED}") == book.values("fleetmend_agent_resident_bytes") == []
    book.gauges.show(book.hosts[0].id)
    assert book.values(f"fleetmend_{USED}") == [1.0]
    assert book.values("fleetmend_agent_resident_bytes") == [5]


def test_a_removed_host_disappears():
    book = Book(host(1), host(2))
    for number in (0, 1):
        book.beat((USED, "root", "/"), number=number)
    gone = book.hosts.pop(0)
    book.gauges.forget(gone.id)
    assert "web-1" not in book.text()
    assert book.values(f"fleetmend_{USED}") == [1.0]


def test_labels_follow_the_registry():
    book = Book(host(1, role="web"))
    assert dict(next(iter(book.samples("fleetmend_host_info")))) == {"host": "web-1", "id": book.hosts[0].id, "role": "web"}
    book.hosts = [host(1, role="db", rack="r1")]
    assert dict(next(iter(book.samples("fleetmend_host_info"))))["rack"] == "r1"
