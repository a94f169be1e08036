"""Names: what a name server answers, and who is to blame for a wrong name."""

from __future__ import annotations

import socket
import struct
import threading
from contextlib import contextmanager, suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetmend_agent.checks import Context, Status, prepare
from fleetmend_agent.checks._dns import addresses_in, ask
from fleetmend_agent.checks.dns_name import CHECK
from fleetmend_agent.host import Host, Roots


def answer(question: bytes, *addresses: str, code: int = 0) -> bytes:
    """The answer of a name server: a chain of two names, then the addresses."""
    end = question.index(b"\0", 12) + 5
    records = b"\xc0\x0c" + struct.pack("!HHIH", 5, 1, 60, 2) + b"\xc0\x0c"
    for address in addresses:
        raw = socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)
        records += b"\xc0\x0c" + struct.pack("!HHIH", 28 if len(raw) == 16 else 1, 1, 60, len(raw)) + raw
    head = question[:2] + struct.pack("!5H", 0x8180 | code, 1, 1 + len(addresses), 0, 0)
    return head + question[12:end] + records


@contextmanager
def name_server(*addresses: str, code: int = 0):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(5)

        def serve():
            with suppress(OSError):
                question, asker = server.recvfrom(4096)
                server.sendto(answer(question, *addresses, code=code), asker)

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        # Who was not asked waits no longer.
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
            last.sendto(b"\0" * 20, server.getsockname())
        thread.join()


def test_a_server_is_asked_for_addresses():
    with name_server("192.0.2.20", "192.0.2.21") as server:
        assert ask(server, "db.example.com", 2.0) == ("192.0.2.20", "192.0.2.21")
    with name_server("2001:db8::1") as server:
        assert ask(server, "db.example.com.", 2.0, 28) == ("2001:db8::1",)
    with name_server(code=3) as server, pytest.raises(OSError, match="code 3"):
        ask(server, "db.example.com", 2.0)


@pytest.mark.parametrize("name", ["", "a..b", "a" * 64, "." * 3])
def test_what_is_no_name_is_not_asked_for(name):
    with pytest.raises(OSError, match="cannot be asked for"):
        ask("127.0.0.1:9", name, 0.1)


@given(st.binary(max_size=120))
def test_no_answer_breaks_the_reader(data):
    with suppress(OSError):
        assert isinstance(addresses_in(data, 7), tuple)


def judged(tmp_path, got, server, resolv="nameserver 192.0.2.53\n", hosts=""):
    for name, text in (("resolv.conf", resolv), ("hosts", hosts)):
        (tmp_path / name).write_text(text)

    def resolve(name):
        if isinstance(got, OSError):
            raise got
        return got

    host = Host(Roots(etc=str(tmp_path)), resolve=resolve)
    params = {"name": "db.example.com", "addresses": ["192.0.2.20"], "servers": ["192.0.2.53"]}
    context = Context(host, prepare(CHECK, params), 5.0)
    context.params["servers"] = [server] if server else []
    (result,) = CHECK.run(context)
    return result.status, result.finding["cause"], result.finding["direct"]


SILENT = OSError("Temporary failure in name resolution")


def test_who_is_to_blame(tmp_path):
    own = "nameserver 127.0.0.1\n"
    assert judged(tmp_path, ("192.0.2.20",), "") == (Status.OK, "", "not_asked")
    with name_server("192.0.2.20") as server:
        assert judged(tmp_path, SILENT, server, own) == (Status.CRIT, "not_used", "right")
    with name_server("192.0.2.20") as server:
        assert judged(tmp_path, ("192.0.2.99",), server, own, "192.0.2.99 db.example.com\n")[1:] == ("hosts_override", "right")
    with name_server("192.0.2.20") as server:
        assert judged(tmp_path, SILENT, server, "nameserver 198.51.100.1\n")[1:] == ("resolver_wrong", "right")
    with name_server("192.0.2.99") as server:
        assert judged(tmp_path, ("192.0.2.99",), server, own)[1:] == ("wrong_answer", "wrong")
    with name_server(code=2) as server:
        assert judged(tmp_path, SILENT, server, own)[1:] == ("no_answer", "silent")


def test_a_resolver_that_never_returns_is_given_up(tmp_path):
    forever = threading.Event()
    host = Host(Roots(etc=str(tmp_path)), resolve=lambda name: (str(forever.wait(20)),))
    params = prepare(CHECK, {"name": "db.example.com", "addresses": ["192.0.2.20"]})
    (result,) = CHECK.run(Context(host, params, 0.1))
    forever.set()
    assert result.status is Status.CRIT
    assert "does not resolve within" in result.summary
