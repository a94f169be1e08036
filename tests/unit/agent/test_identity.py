"""Key and state are used only while nobody else can read or change them."""

from __future__ import annotations

import pytest

from fleetmend_agent import identity
from fleetmend_agent.identity import CA, CERTIFICATE, IDENTITY, KEY, Identity, IdentityError


@pytest.fixture
def state(tmp_path):
    folder = tmp_path / "state"
    folder.mkdir(mode=0o700)
    for name, mode in ((KEY, 0o600), (CERTIFICATE, 0o644), (CA, 0o644)):
        identity.write(folder / name, f"{name}\n".encode(), mode)
    identity.save(folder, Identity("h-0123456789abcdef", "web-1", 1_000, 5_000))
    return folder


def test_what_was_saved_is_loaded(state):
    assert identity.is_enrolled(state)
    found = identity.load(state)
    assert found == Identity("h-0123456789abcdef", "web-1", 1_000, 5_000)
    assert found.renew_at_ms == 3_000
    assert identity.credentials(state).key == b"agent.key\n"
    assert (state / KEY).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("name", "mode"),
    [("", 0o755), ("", 0o701), (KEY, 0o640), (KEY, 0o604), (IDENTITY, 0o644), (CERTIFICATE, 0o664), (CA, 0o646)],
)
def test_modes_that_let_others_in_are_refused_with_the_way_out(state, name, mode):
    (state / name).chmod(mode)
    with pytest.raises(IdentityError, match="lets others in; run: chmod"):
        identity.load(state)


def test_a_link_in_place_of_the_key_is_refused(state, tmp_path):
    (state / KEY).rename(tmp_path / "elsewhere")
    (state / KEY).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(IdentityError, match="symbolic link"):
        identity.load(state)


@pytest.mark.parametrize("text", ["", "{}", "[]", "not json", '{"host_id": "h", "not_after_ms": "soon"}'])
def test_an_identity_that_is_none_is_refused(state, text):
    (state / IDENTITY).write_text(text)
    with pytest.raises(IdentityError, match="enrol this host again"):
        identity.load(state)


def test_what_is_missing_is_named(state, tmp_path):
    (state / CERTIFICATE).unlink()
    with pytest.raises(IdentityError, match=r"cannot (use|read) .*agent\.crt: .*enrol this host"):
        identity.load(state)
    with pytest.raises(IdentityError, match=r"agent\.crt"):
        identity.credentials(state)
    with pytest.raises(IdentityError, match="enrol this host: fleetmend-agent enroll"):
        identity.load(tmp_path / "nowhere")
    assert not identity.is_enrolled(tmp_path / "nowhere")
