"""Root tells whether a certificate belongs to its key, and no more than that."""

import trustme

from fleetmend_executor.looks import look

from .world import rules


def test_a_pair_is_the_same_another_or_unknown(tmp_path):
    authority = trustme.CA()
    one, two = (authority.issue_cert("web.example.com") for _ in range(2))
    for name, certificate in (("one", one), ("two", two)):
        (tmp_path / f"{name}.crt").write_bytes(certificate.cert_chain_pems[0].bytes())
        (tmp_path / f"{name}.key").write_bytes(certificate.private_key_pem.bytes())
    (tmp_path / "text").write_text("no key")

    def pair(file, key):
        return {"file": f"{tmp_path}/{file}", "key": f"{tmp_path}/{key}"}

    part = {
        "right": pair("one.crt", "one.key"),
        "wrong": pair("one.crt", "two.key"),
        "gone": pair("one.crt", "three.key"),
        "text": pair("one.crt", "text"),
        "hostile": {"file": "../etc/shadow", "key": 7},
        "none": [],
    }
    assert look("keypairs", rules(parts={"certificates": part})) == {
        "right": "same",
        "wrong": "other",
        "gone": "unknown",
        "text": "unknown",
        "hostile": "unknown",
    }
    assert look("keypairs", rules()) == {}
