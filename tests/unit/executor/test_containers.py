"""Declared containers by root's hands and eyes: by their declared names only, within bounds, nothing else of the engine."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time

import pytest

from fleetmend import engine as api
from fleetmend.engine import Container, EngineError
from fleetmend_executor import containers
from fleetmend_executor.actions import Refused, validate
from fleetmend_executor.actions.restart_container import ACTION
from fleetmend_executor.containers import RestartContainer
from fleetmend_executor.looks import look
from fleetmend_executor.run import ActionFailed, Run
from tests.tools.engine import engine
from tests.unit.executor.world import declared, rules, sealed

ROWS = [
    {"id": "a1", "name": "shop", "state": "running", "health": "unhealthy"},
    {"id": "a2", "name": "mail", "state": "exited", "health": "", "exit_code": 137, "restarts": 2},
    {"id": "a3", "name": "theirs", "state": "running", "health": "healthy"},
]


def part(path, **more):
    return {
        "containers": {"engine": str(path), "declared": {"shop": {"restart": "allowed"}, "mail": {"restart": "never"}, **more}}
    }


def plan(path, **params):
    return ACTION.plan(validate(ACTION, params), rules(parts=part(path)))


def run():
    return Run(time.monotonic() + 5)


@pytest.fixture
def sock(tmp_path):
    return tmp_path / "engine.sock"


def test_a_declared_container_is_restarted_by_its_engine(sock):
    with engine(str(sock), ROWS) as fake:
        (effect,) = plan(sock, name="shop", grace_ms=1500)
        assert effect == RestartContainer(str(sock), "shop", 2)
        working = run()
        containers.perform(effect, working)
        assert fake.posts == ["/containers/a1/restart?t=2"]
        assert working.detail == ["restarted container shop (a1)"]


@pytest.mark.parametrize(
    ("name", "reason"),
    [("mail", "restart_never"), ("theirs", "undeclared"), ("a1", "undeclared"), ("../a3", "undeclared"), ("", "undeclared")],
)
def test_no_other_container_is_touched(sock, name, reason):
    with pytest.raises(Refused) as caught:
        plan(sock, name=name)
    assert caught.value.reason == reason


@pytest.mark.parametrize("parts", [{}, {"containers": []}, {"containers": {"engine": "docker.sock", "declared": {}}}])
def test_without_a_declaration_nothing_is_asked(parts):
    with pytest.raises(Refused) as caught:
        look("containers", rules(parts=parts))
    assert caught.value.reason == "undeclared"
    with pytest.raises(Refused):
        ACTION.plan(validate(ACTION, {"name": "shop"}), rules(parts=parts))


def test_a_grace_has_its_limit(sock):
    with pytest.raises(Refused, match="cannot restart container shop: grace_ms"):
        plan(sock, name="shop", grace_ms=300_001)


def test_a_container_that_is_not_there_or_an_engine_that_refuses_is_a_failure(sock):
    with engine(str(sock), ROWS) as fake:
        with pytest.raises(ActionFailed, match="knows none of that name"):
            containers.perform(RestartContainer(str(sock), "gone", 1), run())
        fake.restart = None  # breaks the handler: the connection ends without an answer
        with pytest.raises(ActionFailed):
            containers.perform(RestartContainer(str(sock), "shop", 1), run())
    with pytest.raises(ActionFailed, match="cannot reach the engine"):
        containers.perform(RestartContainer(f"{sock}.none", "shop", 1), run())


def test_root_tells_of_the_declared_ones_only(sock):
    with engine(str(sock), ROWS):
        seen = look("containers", rules(parts=part(sock, gone={"restart": "allowed"})))
    assert [Container.of(each) for each in json.loads(json.dumps(seen))] == [
        Container("shop", "running", "unhealthy", "a1"),
        Container("mail", "exited", "none", "a2", 2, 137),
        Container("gone"),
    ]


def test_a_look_needs_the_hosts_consent_and_a_name_it_has():
    with pytest.raises(Refused) as caught:
        look("containers", rules("actions: {restart_container: {}}", parts=part("/run/x")))
    assert caught.value.reason == "not_permitted"
    for name in ("", "passwords", "__init__", "../looks"):
        with pytest.raises(Refused, match="no such look"):
            look(name, rules())


def test_the_agent_looks_through_the_executors_socket(host, sock):
    host.start()
    host.ask(sealed(declared(parts=part(sock))))
    with engine(str(sock), ROWS):
        (answer,) = host.ask({"op": "look", "what": "containers"})
    assert answer["event"] == "seen"
    assert [each["name"] for each in answer["seen"]] == ["mail", "shop"]
    (answer,) = host.ask({"op": "look", "what": "containers"})
    assert (answer["event"], answer["reason"]) == ("refused", "unavailable")
    (answer,) = host.ask({"op": "look", "what": "etc"})
    assert (answer["event"], answer["reason"]) == ("refused", "unreadable")


def test_disks_are_told_by_what_smartctl_names(monkeypatch):
    from fleetmend_executor.commands import Finished
    from fleetmend_executor.looks import disks

    ran = []

    def run_argv(argv, timeout_s, output_bytes_max):
        words = argv[argv.index("--") + 1 :]
        ran.append(words)
        scan = {
            "devices": [{"name": "/dev/sda", "type": "sat"}, {"name": "/dev/$(reboot)"}, {"name": "/dev/b", "type": "-x"}, 7]
        }
        return Finished(argv, 0, 1, json.dumps(scan) if "--scan" in words else "{}")

    monkeypatch.setattr(disks, "run_argv", run_argv)
    seen = look("disks", rules())
    assert ran == [("smartctl", "--scan", "-j"), ("smartctl", "-j", "-a", "/dev/sda", "-d", "sat", "-n", "standby,0")]
    assert seen["answers"] == [{"name": "/dev/sda", "kind": "sat", "text": "{}"}]
    monkeypatch.setattr(disks, "run_argv", lambda argv, *_: Finished(argv, 127, 1, "cannot start"))
    with pytest.raises(Refused) as caught:
        look("disks", rules())
    assert caught.value.reason == "unavailable"


@contextlib.contextmanager
def served(path, answer, *, hold=False):
    """One answer of bytes to whoever dials; with `hold` the connection then stays open."""
    held = []

    def serve():
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                held.append(connection)
                connection.recv(4096)
                connection.sendall(answer)
                if not hold:
                    connection.close()

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(4)
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
    for connection in held:
        connection.close()


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"220 mail ESMTP\r\n",
        b"HTTP/1.0 200 OK\r\n\r\nno json",
        b"HTTP/1.0 500 Oops\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
)
def test_an_engine_that_talks_nonsense_is_an_error(sock, answer):
    with served(sock, answer), pytest.raises(EngineError, match=r"cannot (ask|understand|reach)"):
        api.look(str(sock), ["shop"], 5)


def test_an_engine_that_lists_nonsense_knows_nobody(sock):
    rows = [{"Id": "../../x", "Names": ["/shop"]}, {"Id": 7}, 3, {"Id": "ok", "Names": None}]
    with served(sock, b"HTTP/1.0 200 OK\r\n\r\n" + json.dumps(rows).encode()):
        assert api.look(str(sock), ["shop"], 5) == [Container("shop")]


def test_an_engine_that_never_answers_costs_its_time_and_no_more(sock):
    with served(sock, b"", hold=True), pytest.raises(EngineError, match="cannot wait longer"):
        api.look(str(sock), ["shop"], 0.05)


def test_chunks_and_kept_connections_are_understood(sock):
    body = b'[{"Id": "k9", '
    rest = b'"Names": ["/x"]}]'
    chunks = b"%x\r\n%s\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(body), body, len(rest), rest)
    with served(sock, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks, hold=True):
        assert api.look(str(sock), ["shop"], 5) == [Container("shop")]
