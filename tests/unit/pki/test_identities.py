"""Tokens, hosts and operators in the database."""

import asyncio

import pytest

from fleetmend_controller.core.events import HostEnrolled, HostRemoved
from fleetmend_controller.decider.ports import KnownHost
from fleetmend_controller.pki.authority import Authority, init_state
from fleetmend_controller.pki.names import Role
from fleetmend_controller.pki.operators import OperatorError, Operators
from fleetmend_controller.pki.registry import NameTaken, Registry, UnknownHost
from fleetmend_controller.pki.tokens import LabelError, TokenRefused, Tokens, parse_token
from fleetmend_controller.store.engine import Store, open_engine
from fleetmend_controller.store.tables import metadata, tokens
from tests.unit.gateway.world import NOW_MS, Clock, FakeDecider, signing_request


class Office:
    """A store with everything that keeps identities in it."""

    def __init__(self, folder):
        init_state(folder / "state", (), NOW_MS)
        self.authority = Authority(folder / "state")
        engine = open_engine(f"sqlite:///{folder / 'x.db'}")
        metadata.create_all(engine)
        self.store = Store(engine)
        self.clock = Clock()
        self.decider = FakeDecider()
        self.tokens, self.operators = Tokens(self.store), Operators(self.store)
        self.registry = self.reopened()

    def reopened(self):
        return Registry(self.store, self.decider, self.clock)

    async def enrol(self, name="web-1", labels=None, machine_id=""):
        made = await self.tokens.create(labels or {"role": "web"}, 1, 0, "ann", self.clock())
        _, csr = signing_request()
        return (await self.registry.enrol(self.authority, parse_token(made.text), csr, name, machine_id)).host


def run(scenario, tmp_path):
    async def main():
        office = Office(tmp_path)
        try:
            await scenario(office)
        finally:
            office.store.close()

    asyncio.run(main())


def test_a_tokens_secret_is_nowhere_but_in_its_text(tmp_path):
    async def scenario(office):
        made = await office.tokens.create({}, 1, 0, "ann", NOW_MS)
        secret = made.text.split(".")[2]
        assert len(secret) == 64
        row = await office.store.read(lambda c: c.execute(tokens.select()).one())
        assert secret not in repr(row)
        assert secret not in repr(made)
        assert made.token.expires_ms - NOW_MS == 30 * 60_000
        office.clock.now_ms += 1

    run(scenario, tmp_path)


@pytest.mark.parametrize(
    ("uses", "ttl_ms", "labels"),
    [
        (0, 0, {}),
        (10_001, 0, {}),
        (1, -1, {}),
        (1, 31 * 24 * 3_600_000, {}),
        (1, 0, {"Role": "web"}),
        (1, 0, {"role": "a b"}),
        (1, 0, {"role": ""}),
        (1, 0, {"host": "web"}),
        (1, 0, {f"l{n}": "x" for n in range(33)}),
        (1, 0, {"role": "web\n"}),
    ],
)
def test_tokens_that_cannot_be_are_refused(uses, ttl_ms, labels, tmp_path):
    async def scenario(office):
        with pytest.raises(ValueError, match="cannot"):
            await office.tokens.create(labels, uses, ttl_ms, "ann", NOW_MS)

    run(scenario, tmp_path)


def test_live_tokens_are_listed_deleted_and_pruned(tmp_path):
    async def scenario(office):
        first = (await office.tokens.create({}, 1, 1_000, "ann", NOW_MS)).token
        second = (await office.tokens.create({"role": "db"}, 2, 0, "bob", NOW_MS + 1)).token
        assert [token.id for token in await office.tokens.live(NOW_MS)] == [second.id, first.id]
        assert [token.id for token in await office.tokens.live(NOW_MS + 1_000)] == [second.id]
        assert await office.tokens.prune(NOW_MS + 2_000) == 1
        assert await office.tokens.delete(second.id)
        assert not await office.tokens.delete(second.id)
        assert await office.tokens.live(NOW_MS) == []

    run(scenario, tmp_path)


def test_the_right_id_with_a_wrong_secret_is_refused(tmp_path):
    async def scenario(office):
        made = await office.tokens.create({}, 1, 0, "ann", NOW_MS)
        wrong = made.text[:-1] + ("0" if made.text[-1] != "0" else "1")
        with pytest.raises(TokenRefused):
            await office.tokens.check(wrong, NOW_MS)
        assert (await office.tokens.check(made.text, NOW_MS)).id == made.token.id

    run(scenario, tmp_path)


def test_labels_come_from_the_token(tmp_path):
    async def scenario(office):
        host = await office.enrol(labels={"role": "db", "rack": "r7"})
        assert host.labels == {"role": "db", "rack": "r7"}
        assert office.decider.events == [HostEnrolled(NOW_MS, host.id, "web-1", {"role": "db", "rack": "r7"})]

    run(scenario, tmp_path)


def test_a_taken_name_spends_no_token_and_is_free_after_removal(tmp_path):
    async def scenario(office):
        first = await office.enrol()
        with pytest.raises(NameTaken, match="fleetmend hosts rm web-1"):
            await office.enrol()
        await office.registry.remove(first.id, "ann")
        second = await office.enrol(labels={"role": "db"})
        assert (second.id != first.id, second.labels) == (True, {"role": "db"})
        assert office.registry.find("web-1") == office.registry.find(second.id) == second
        assert office.registry.get(first.id) is None

    run(scenario, tmp_path)


def test_a_removed_host_stays_removed_after_a_restart(tmp_path):
    async def scenario(office):
        first, second = await office.enrol("web-1"), await office.enrol("web-2")
        await office.registry.remove(first.id, "ann")
        again = office.reopened()
        await again.load()
        assert [host.id for host in again.all()] == [second.id]
        with pytest.raises(UnknownHost):
            await again.remove(first.id, "ann")

    run(scenario, tmp_path)


def test_labels_change_and_survive(tmp_path):
    async def scenario(office):
        host = await office.enrol(labels={"role": "web", "rack": "r1"})
        changed = await office.registry.label(host.id, {"role": "db"}, ("rack",))
        assert changed.labels == {"role": "db"}
        with pytest.raises(KeyError):
            await office.registry.label(host.id, {}, ("rack",))
        with pytest.raises(LabelError):
            await office.registry.label(host.id, {"BAD": "x"}, ())
        again = office.reopened()
        await again.load()
        assert again.get(host.id).labels == {"role": "db"}
        assert office.decider.events[-1].labels == {"role": "db"}

    run(scenario, tmp_path)


def test_who_was_heard_is_written_down(tmp_path):
    async def scenario(office):
        host = await office.enrol()
        office.registry.touch(host.id, NOW_MS + 5, "0.1.0")
        office.registry.touch("h-ffffffffffffffff", NOW_MS, "x")
        await office.registry.flush()
        again = office.reopened()
        await again.load()
        assert (again.get(host.id).last_seen_ms, again.get(host.id).agent_version) == (NOW_MS + 5, "0.1.0")

    run(scenario, tmp_path)


def test_a_crash_between_table_and_decider_loses_nothing(tmp_path):
    async def scenario(office):
        known, unknown = await office.enrol("known"), await office.enrol("unknown")
        relabelled, gone = await office.enrol("relabelled"), await office.enrol("gone")
        await office.registry.remove(gone.id, "ann")
        fleet = [
            KnownHost(known.id, "known", {"role": "web"}, lost=False),
            KnownHost(relabelled.id, "relabelled", {"role": "old"}, lost=False),
            KnownHost(gone.id, "gone", {"role": "web"}, lost=False),
        ]
        office.decider.events.clear()
        assert await office.registry.reconcile(fleet) == 3
        told = {(type(event), event.host) for event in office.decider.events}
        assert told == {(HostEnrolled, unknown.id), (HostEnrolled, relabelled.id), (HostRemoved, gone.id)}

    run(scenario, tmp_path)


def test_what_the_decider_could_not_hear_it_hears_later_and_only_the_newest(tmp_path):
    async def scenario(office):
        office.decider.down = True
        host = await office.enrol()
        await office.registry.label(host.id, {"role": "db"}, ())
        await office.registry.announce()
        office.decider.down = False
        await office.registry.announce()
        await office.registry.announce()
        assert [event.labels for event in office.decider.events] == [{"role": "db"}]

    run(scenario, tmp_path)


def test_operators_are_added_once_revoked_and_listed(tmp_path):
    async def scenario(office):
        made = await office.operators.add(office.authority, "ann", "admin", NOW_MS)
        assert made.key_pem.startswith(b"-----BEGIN PRIVATE KEY")
        with pytest.raises(OperatorError, match="certificate in force"):
            await office.operators.add(office.authority, "ann", "viewer", NOW_MS)
        (listed,) = await office.operators.all()
        assert await office.operators.in_force(listed.serial, "ann", Role.ADMIN, NOW_MS)
        assert not await office.operators.in_force(listed.serial, "ann", Role.VIEWER, NOW_MS)
        assert not await office.operators.in_force(listed.serial, "bob", Role.ADMIN, NOW_MS)
        assert not await office.operators.in_force("0" * 40, "ann", Role.ADMIN, NOW_MS)
        assert not await office.operators.in_force(listed.serial, "ann", Role.ADMIN, listed.not_after_ms)
        assert await office.operators.revoke("ann", NOW_MS + 1) == 1
        assert await office.operators.revoke("ann", NOW_MS + 1) == 0
        assert not await office.operators.in_force(listed.serial, "ann", Role.ADMIN, NOW_MS)
        await office.operators.add(office.authority, "ann", "viewer", NOW_MS + 2)
        assert [operator.role for operator in await office.operators.all()] == ["viewer", "admin"]

    run(scenario, tmp_path)


@pytest.mark.parametrize(
    ("name", "role"), [("Ann", "admin"), ("", "admin"), ("a/b", "admin"), ("ann", "root"), ("ann", "ADMIN")]
)
def test_operators_that_cannot_be_are_refused(name, role, tmp_path):
    async def scenario(office):
        with pytest.raises(OperatorError):
            await office.operators.add(office.authority, name, role, NOW_MS)

    run(scenario, tmp_path)
