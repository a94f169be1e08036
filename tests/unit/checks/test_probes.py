"""Addresses, answers and TLS of the network checks."""

from __future__ import annotations

import asyncio
import ssl

import pytest
import trustme

from fleetmend_agent.checks import CheckUnknown, Context, Status, prepare
from fleetmend_agent.checks._http import (
    HEAD_BYTES_MAX,
    body_length,
    dechunk,
    is_chunked,
    parse_head,
    parse_statuses,
    parse_url,
    request,
)
from fleetmend_agent.checks._probe import Fault
from fleetmend_agent.checks.tcp_port import parse_address
from fleetmend_agent.host import Host
from tests.tools.cases import CHECKS

HTTP = CHECKS["http_endpoint"]


def test_a_url_is_taken_apart_and_shown_without_its_query():
    target = parse_url("https://[::1]:8443/a/b?token=x")
    assert (target.scheme, target.host, target.port, target.path) == ("https", "::1", 8443, "/a/b?token=x")
    assert target.shown == "https://[::1]:8443/a/b"
    assert request(target).startswith(b"GET /a/b?token=x HTTP/1.1\r\nHost: [::1]:8443\r\n")
    assert b"Host: shop.example\r\n" in request(parse_url("http://shop.example"))


@pytest.mark.parametrize(
    "url",
    [
        "ftp://x/",
        "http://",
        "/healthz",
        "http://x:99999/",
        "http://x/a b",
        "http://x/\r\nHost: y",
        "http://user:pw@x/",
        "http://é/",
    ],
)
def test_a_url_that_must_not_be_asked_is_refused(url):
    with pytest.raises(CheckUnknown, match="cannot probe the URL") as refused:
        parse_url(url)
    assert "pw" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "address"),
    [("127.0.0.1:80", ("127.0.0.1", 80)), ("[::1]:5432", ("::1", 5432)), ("db.example:1", ("db.example", 1))],
)
def test_addresses_have_a_host_and_a_port(text, address):
    assert parse_address(text) == address


@pytest.mark.parametrize("text", ["", "x", "x:0", "x:65536", "::1:80", "x y:80", ":80", "x:80 ", "http://x:80"])
def test_what_is_no_address_is_refused(text):
    with pytest.raises(CheckUnknown, match="cannot probe"):
        parse_address(text)


def test_statuses_are_ranges():
    assert [list(r) for r in parse_statuses("200, 301-303")] == [[200], [301, 302, 303]]
    with pytest.raises(CheckUnknown):
        parse_statuses("2xx")


def test_headers_arrive_in_pieces_and_without_carriage_returns():
    whole = b"HTTP/1.1 204 No Content\nContent-Length: 12\nX: y\n\nrest"
    assert all(parse_head(whole[:at]) is None for at in range(len(whole) - 5))
    head = parse_head(whole)
    assert (head.status, whole[head.size :], body_length(head), is_chunked(head)) == (204, b"rest", 12, False)


@pytest.mark.parametrize("data", [b"SSH-2.0-x\r\n", b"HTTP/2 200\r\n\r\n", b"HTTP/1.1 20 x\r\n\r\n", b"x" * HEAD_BYTES_MAX])
def test_what_is_no_http_is_a_bad_answer(data):
    with pytest.raises(Fault, match=r"HTTP|headers"):
        parse_head(data)


def test_chunks_are_put_together():
    assert dechunk(b"3\r\nabc\r\n2;ext\r\nde\r\n0\r\n\r\n") == (b"abcde", True)
    assert dechunk(b"3\r\nabc\r\n5\r\nd") == (b"abcd", False)
    with pytest.raises(Fault):
        dechunk(b"z" * 400)


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


def probe(authority, certificate, tmp_path, **params):
    """What the check says about an HTTPS server with that certificate."""
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(tls)

    async def serve(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine")
        await writer.drain()
        writer.close()

    async def main():
        listening = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
        async with listening:
            port = listening.sockets[0].getsockname()[1]
            given = {"url": f"https://127.0.0.1:{port}/", "ca": str(tmp_path / "ca.pem"), **params}
            (result,) = await HTTP.run(Context(Host(), prepare(HTTP, given), 5.0))
            return result

    return asyncio.run(main())


def test_https_is_good_when_the_named_authority_signed_it(authority, tmp_path):
    result = probe(authority, authority.issue_cert("127.0.0.1"), tmp_path, expect_text="fine")
    assert (result.status, result.finding["fault"], result.finding["status"]) == (Status.OK, "", 200)


def test_https_with_another_name_is_a_tls_fault_unless_that_name_is_wanted(authority, tmp_path):
    certificate = authority.issue_cert("shop.example")
    result = probe(authority, certificate, tmp_path)
    assert (result.status, result.finding["fault"]) == (Status.CRIT, "tls")
    assert probe(authority, certificate, tmp_path, server_name="shop.example").status is Status.OK


def test_https_of_a_foreign_authority_is_a_tls_fault(authority, tmp_path):
    result = probe(authority, trustme.CA().issue_cert("127.0.0.1"), tmp_path)
    assert (result.status, result.finding["fault"]) == (Status.CRIT, "tls")


def test_https_may_be_asked_whether_it_answers_whatever_its_certificate(authority, tmp_path):
    result = probe(authority, trustme.CA().issue_cert("shop.example"), tmp_path, verify=False, expect_text="fine")
    assert (result.status, result.finding["fault"]) == (Status.OK, "")


def test_a_name_without_an_address_is_not_the_services_fault():
    with pytest.raises(CheckUnknown, match="cannot resolve"):
        asyncio.run(HTTP.run(Context(Host(), prepare(HTTP, {"url": "http://" + "x" * 70 + ".example/"}), 5.0)))


def test_eight_that_hang_together_take_as_long_as_one():
    async def main():
        stop = asyncio.Event()

        async def silent(reader, writer):
            await stop.wait()
            writer.close()

        listening = await asyncio.start_server(silent, "127.0.0.1", 0)
        port = listening.sockets[0].getsockname()[1]
        context = Context(Host(), prepare(HTTP, {"url": f"http://127.0.0.1:{port}/"}), 0.5)
        async with asyncio.timeout(0.5 * 4):
            found = await asyncio.gather(*(HTTP.run(context) for _ in range(8)))
        stop.set()
        listening.close()
        return [result.finding["fault"] for (result,) in found]

    assert asyncio.run(main()) == ["hang"] * 8
