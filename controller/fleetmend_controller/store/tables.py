"""The tables. Only plain SQL that SQLite and PostgreSQL share; times are Unix milliseconds."""

from __future__ import annotations

import sqlalchemy as sa

metadata = sa.MetaData()

# The truth about healing: every event and decision, chained by hash. `body` is canonical JSON.
journal = sa.Table(
    "journal",
    metadata,
    sa.Column("seq", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=False),
    sa.Column("epoch", sa.BigInteger, nullable=False),
    sa.Column("at_ms", sa.BigInteger, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("host", sa.Text, nullable=False),
    sa.Column("incident", sa.Text, nullable=False),
    sa.Column("body", sa.Text, nullable=False),
    sa.Column("hash", sa.LargeBinary, nullable=False),
)
sa.Index(
    "journal_incident",
    journal.c.incident,
    journal.c.seq,
    sqlite_where=journal.c.incident != "",
    postgresql_where=journal.c.incident != "",
)
sa.Index(
    "journal_host", journal.c.host, journal.c.seq, sqlite_where=journal.c.host != "", postgresql_where=journal.c.host != ""
)

# Few rows among many: the audit trail is listed newest first.
sa.Index(
    "journal_audit",
    journal.c.seq,
    sqlite_where=journal.c.kind == "audit",
    postgresql_where=journal.c.kind == "audit",
)

# Where the chain ends, with a MAC under the master secret: cutting off the tail shows.
journal_head = sa.Table(
    "journal_head",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("seq", sa.BigInteger, nullable=False),
    sa.Column("hash", sa.LargeBinary, nullable=False),
    sa.Column("mac", sa.LargeBinary, nullable=False),
)

# The fleet after journal row `seq`, so that a start replays only what follows.
snapshots = sa.Table(
    "snapshots",
    metadata,
    sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("at_ms", sa.BigInteger, nullable=False),
    sa.Column("policy", sa.Text, nullable=False),
    sa.Column("body", sa.Text, nullable=False),
    sa.Column("mac", sa.LargeBinary, nullable=False),
)

# Policy documents by content: JSON object of path -> text.
policies = sa.Table(
    "policies",
    metadata,
    sa.Column("digest", sa.Text, primary_key=True),
    sa.Column("at_ms", sa.BigInteger, nullable=False),
    sa.Column("documents", sa.Text, nullable=False),
)

# One row: who decides. Taken by compare-and-set on the epoch.
lease = sa.Table(
    "lease",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("epoch", sa.BigInteger, nullable=False),
    sa.Column("holder", sa.Text, nullable=False),
    sa.Column("until_ms", sa.BigInteger, nullable=False),
)

# Identities. A removed host keeps its row, so that its certificates stay refused. `labels` is a JSON object.
hosts = sa.Table(
    "hosts",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("labels", sa.Text, nullable=False),
    sa.Column("machine_id", sa.Text, nullable=False),
    sa.Column("enrolled_ms", sa.BigInteger, nullable=False),
    sa.Column("removed_ms", sa.BigInteger, nullable=True),
    sa.Column("removed_by", sa.Text, nullable=True),
    sa.Column("certificate_serial", sa.Text, nullable=False),
    sa.Column("certificate_not_after_ms", sa.BigInteger, nullable=False),
    sa.Column("last_seen_ms", sa.BigInteger, nullable=True),
    sa.Column("agent_version", sa.Text, nullable=True),
)
# A name is unique among the living only.
sa.Index(
    "hosts_name",
    hosts.c.name,
    unique=True,
    sqlite_where=hosts.c.removed_ms.is_(None),
    postgresql_where=hosts.c.removed_ms.is_(None),
)

# Join tokens; only a SHA-256 of the secret part is kept.
tokens = sa.Table(
    "tokens",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("secret_hash", sa.LargeBinary, nullable=False),
    sa.Column("labels", sa.Text, nullable=False),
    sa.Column("uses_left", sa.Integer, nullable=False),
    sa.Column("uses_total", sa.Integer, nullable=False),
    sa.Column("expires_ms", sa.BigInteger, nullable=False),
    sa.Column("created_ms", sa.BigInteger, nullable=False),
    sa.Column("created_by", sa.Text, nullable=False),
)

# Operators' certificates; a revoked one keeps its row. `role` is viewer, responder or admin.
operators = sa.Table(
    "operators",
    metadata,
    sa.Column("serial", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("role", sa.Text, nullable=False),
    sa.Column("not_after_ms", sa.BigInteger, nullable=False),
    sa.Column("created_ms", sa.BigInteger, nullable=False),
    sa.Column("revoked_ms", sa.BigInteger, nullable=True),
)

# Newest inventory section of each host. `error` says why the newest collection failed, if it did.
facts = sa.Table(
    "facts",
    metadata,
    sa.Column("host", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("at_ms", sa.BigInteger, nullable=False),
    sa.Column("body", sa.Text, nullable=False),
    sa.Column("error", sa.Text, nullable=False),
)

# Incidents as lists show them; written with the journal rows that changed them, rebuilt from the journal if lost.
incidents = sa.Table(
    "incidents",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("host", sa.Text, nullable=False),
    sa.Column("check", sa.Text, nullable=False),
    sa.Column("key", sa.Text, nullable=False),
    sa.Column("phase", sa.Text, nullable=False),
    sa.Column("why", sa.Text, nullable=False),
    sa.Column("summary", sa.Text, nullable=False),
    sa.Column("playbook", sa.Text, nullable=False),
    sa.Column("opened_ms", sa.BigInteger, nullable=False),
    sa.Column("changed_ms", sa.BigInteger, nullable=False),
    sa.Column("closed_ms", sa.BigInteger, nullable=True),
    sa.Column("taken_by", sa.Text, nullable=False, server_default=""),
    sa.Column("taken_ms", sa.BigInteger, nullable=True),
)
sa.Index("incidents_host", incidents.c.host, incidents.c.opened_ms)
sa.Index("incidents_opened", incidents.c.opened_ms)

# Messages to people, one for each channel; written with the journal rows that they follow from. `body` is a notify.Message.
notifications = sa.Table(
    "notifications",
    metadata,
    sa.Column("number", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
    sa.Column("incident", sa.Text, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("channel", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("at_ms", sa.BigInteger, nullable=False),
    sa.Column("next_ms", sa.BigInteger, nullable=True),
    sa.Column("remind_ms", sa.BigInteger, nullable=True),
    sa.Column("done_ms", sa.BigInteger, nullable=True),
    sa.Column("tries", sa.Integer, nullable=False),
    sa.Column("reminded", sa.Integer, nullable=False),
    sa.Column("taken", sa.Integer, nullable=False, server_default="0"),
    sa.Column("error", sa.Text, nullable=False),
    sa.Column("fault", sa.Text, nullable=False),
    sa.Column("part_of", sa.Text, nullable=False),
    sa.Column("body", sa.Text, nullable=False),
)
# The same message is written once at most, whatever is replayed.
sa.Index("notifications_once", notifications.c.incident, notifications.c.kind, notifications.c.channel, unique=True)
sa.Index("notifications_state", notifications.c.state, notifications.c.channel, notifications.c.number)

# What the controller does itself, by order: a row before the deed, its end after. No end: nobody knows.
deeds = sa.Table(
    "deeds",
    metadata,
    sa.Column("order", sa.Text, primary_key=True),
    sa.Column("host", sa.Text, nullable=False),
    sa.Column("action", sa.Text, nullable=False),
    sa.Column("begun_ms", sa.BigInteger, nullable=False),
    sa.Column("ended_ms", sa.BigInteger, nullable=True),
    sa.Column("outcome", sa.Text, nullable=True),
    sa.Column("detail", sa.Text, nullable=False),
)
