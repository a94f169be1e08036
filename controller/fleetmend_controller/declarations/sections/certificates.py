"""`certificates`: what these hosts serve over TLS, how long it must be good, and who renews it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from ...playbooks.schema import ConfirmModel, Model
from ...playbooks.values import NAME_PATTERN, AbsolutePath, UnitName
from ..schema import Address, DeclarationFile
from ..section import Derived, Section

EVERY_MS = 60_000
CERTIFICATES_MAX = 100

Command = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$")]


class CertificateModel(Model):
    """One certificate."""

    file: AbsolutePath | None = None
    """Its PEM file; the first certificate in it counts."""
    key: AbsolutePath | None = None
    """The file of its key, which it must belong to. Only the executor reads it, and tells no more than that."""
    served_at: Address | None = None
    """Host and port that serve it, such as `127.0.0.1:443`."""
    min_days: Annotated[int, Field(ge=1, le=3650)] = 14
    """Fewer days left are a fault."""
    renew: Command | None = None
    """Name of a command in the hosts' policy files that renews it."""
    reload: UnitName | None = None
    """The unit that serves it, and is reloaded for a new one."""
    ca: AbsolutePath | None = None
    """PEM file of the CA that it must come from."""
    server_name: Annotated[str, Field(pattern=r"^[A-Za-z0-9.*-]{1,253}$")] | None = None
    """The name that it must be for."""

    @model_validator(mode="after")
    def _somewhere(self) -> Self:
        if self.key is not None and self.file is None:
            raise ValueError("a key belongs to a certificate in a file: name file, too")
        if self.file is None and self.served_at is None:
            raise ValueError("a certificate is in a file or is served: name file, served_at or both")
        return self


Certificates = dict[
    Annotated[str, Field(pattern=NAME_PATTERN.replace("a-z", "A-Za-z0-9", 1).replace("_-", "_.-"))], CertificateModel
]


def _derive(certificates: Certificates, _declaration: DeclarationFile) -> Iterator[Derived]:
    for name, each in certificates.items():
        params: dict[str, Any] = {
            "name": name,
            "path": each.file or "",
            "served_at": each.served_at or "",
            "min_days": each.min_days,
            "key": each.key or "",
            "ca": each.ca or "",
            "server_name": each.server_name or "",
            "renew": each.renew or "",
            "reload": each.reload or "",
        }
        # A renewal writes the file, then the service reads it: in between they differ.
        confirm = ConfirmModel(bad=2, good=1) if each.file is None else ConfirmModel()
        yield Derived(("certificates", name), f"certificate:{name}", "tls_certificate", params, EVERY_MS, confirm=confirm)


def _host(certificates: Certificates) -> dict[str, Any]:
    return {name: {"file": each.file, "key": each.key} for name, each in certificates.items() if each.file and each.key}


SECTION = Section(
    name="certificates",
    doc="Certificates that these hosts serve, how long they must be good, and what renews them.",
    kind=Annotated[Certificates, Field(max_length=CERTIFICATES_MAX)],
    default=dict,
    derive=_derive,
    host=_host,
)
