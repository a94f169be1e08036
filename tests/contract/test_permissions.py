"""Every call of the protocol stands in the authorisation table, and nothing else does."""

import importlib
import pkgutil

import pytest
from google.protobuf.descriptor import FileDescriptor

import fleetmend.v1
from fleetmend_controller.gateway.permissions import DOORS, PERMISSIONS, Door
from fleetmend_controller.pki.names import Caller, Kind, Role


def declared():
    """The full names of all calls of all services of fleetmend.v1, from the compiled descriptors."""
    for module in pkgutil.iter_modules(fleetmend.v1.__path__):
        if not module.name.endswith("_pb2"):
            continue
        descriptor = importlib.import_module(f"fleetmend.v1.{module.name}").DESCRIPTOR
        assert isinstance(descriptor, FileDescriptor)
        for service in descriptor.services_by_name.values():
            for method in service.methods:
                yield f"/{service.full_name}/{method.name}"


def test_every_call_is_in_the_table_and_the_table_has_no_other():
    assert sorted(declared()) == sorted(PERMISSIONS)


def test_only_enrolment_is_open_to_the_nameless():
    assert [method for method, need in PERMISSIONS.items() if need.kind is Kind.ANONYMOUS] == [
        "/fleetmend.v1.EnrollService/Enroll"
    ]


@pytest.mark.parametrize("method", PERMISSIONS)
def test_each_call_is_for_one_kind_of_caller(method):
    need = PERMISSIONS[method]
    callers = [
        Caller(Kind.ANONYMOUS, ""),
        Caller(Kind.AGENT, "h-0123456789abcdef"),
        *(Caller(Kind.OPERATOR, "ann", role) for role in Role),
        Caller(Kind.LOCAL, "local"),
    ]
    allowed = {caller.kind for caller in callers if need.allows(caller)}
    assert allowed in ({Kind.ANONYMOUS}, {Kind.AGENT}, {Kind.OPERATOR, Kind.LOCAL})
    assert (need.role is not None) == (need.kind is Kind.OPERATOR)


def test_each_kind_of_caller_has_one_door():
    kinds = [kind for door in Door for kind in DOORS[door]]
    assert sorted(kinds, key=str) == sorted(Kind, key=str)
