"""`fleetmend token ls`: tokens that can still be used."""

from __future__ import annotations

from ...command import Session, command
from ...output import Column, labels_text, print_table
from ...times import when
from ...wire import pb

_COLUMNS = (
    Column("TOKEN"),
    Column("USES LEFT", right=True),
    Column("ENDS", fixed=False),
    Column("LABELS", fixed=False),
    Column("BY"),
)


def _run(session: Session) -> None:
    session.show(session.call("ListTokens", pb.ListTokensRequest()), _print)


def _print(answer: pb.ListTokensResponse, now_ms: int) -> None:
    rows = [
        (t.id, f"{t.uses_left} of {t.uses_total}", when(t.expires_ms, now_ms), labels_text(t.labels), t.created_by)
        for t in answer.tokens
    ]
    print_table(_COLUMNS, rows)


COMMAND = command(
    "ls",
    "List join tokens that can still be used.",
    _run,
    examples=["fleetmend token ls", "fleetmend token ls --output json | jq -r '.tokens[].id'"],
    json="ListTokensResponse",
)
