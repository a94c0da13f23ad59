"""The catalogue's tables. Rows are named by log index; what refers to a statement holds the statement's id.

There are no foreign keys: statements of a station may enter the log in any order, a rendition before its manifest.
Every index begins with what its query fixes and ends with the order its answer has; lists of clips are always
asked for one agency, so ``agency`` leads.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, LargeBinary, MetaData, Table, Text

from collector.database.columns import DigestColumn, LogIndex, NameColumn, StartColumn, TextColumn, TimeColumn

metadata: Final = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _log_index() -> Column[int]:
    return Column("log_index", LogIndex, primary_key=True, autoincrement=False)


projection: Final = Table(
    "projection",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("projected_size", BigInteger, nullable=False),
)
"""One row: how many entries of the log the tables show."""

agencies: Final = Table("agencies", metadata, Column("name", Text, primary_key=True))
"""Every agency an entry names, so that a query over all of them can go agency by agency."""

entries: Final = Table(
    "entries",
    metadata,
    _log_index(),
    Column("statement", DigestColumn, nullable=False),
    Column("kind", Text, nullable=False),
    Column("agency", Text, nullable=False),
    Column("key_id", TextColumn, nullable=False),
    Index("ix_entries_statement", "statement"),
)

enrolments: Final = Table(
    "enrolments",
    metadata,
    _log_index(),
    Column("key_id", Text, nullable=False),
    Column("agency", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("public_key", LargeBinary, nullable=False),
    Index("ix_enrolments_key_id", "key_id", "agency", "log_index"),
    Index("ix_enrolments_name", "name", "log_index"),
)

revocations: Final = Table(
    "revocations",
    metadata,
    _log_index(),
    Column("key_id", Text, nullable=False),
    Column("agency", Text, nullable=False),
    Index("ix_revocations_key_id", "key_id", "agency", "log_index"),
)

inventories: Final = Table(
    "inventories",
    metadata,
    _log_index(),
    Column("statement", DigestColumn, nullable=False, unique=True),
    Column("agency", Text, nullable=False),
    Column("station", Text, nullable=False),
    Column("visit", Text, nullable=False),
    Column("sequence", BigInteger, nullable=False),
    Column("issued_at", TimeColumn, nullable=False),
    Column("dock", TextColumn, nullable=False),
    Column("bay", TextColumn, nullable=False),
    Column("profile", TextColumn, nullable=False),
    Column("recorder", NameColumn),
    Column("officer", NameColumn),
    Column("clock_offset_ms", BigInteger),
    Column("listing", DigestColumn, nullable=False),
    Column("listing_size_bytes", BigInteger, nullable=False),
    Column("declared_rows", BigInteger, nullable=False),
    Column("stored_index", BigInteger),
    Column("stored_at", TimeColumn),
    Column("listed_rows", BigInteger),
    Column("listing_problem", Text),
    Column("total_bytes", BigInteger),
    Column("earlier_index", BigInteger),
    Index("ix_inventories_visit", "agency", "visit", "log_index"),
    Index("ix_inventories_listing", "agency", "listing"),
    Index("ix_inventories_recorder", "agency", "recorder", "issued_at"),
    Index("ix_inventories_bay", "station", "dock", "bay", "log_index"),
    Index("ix_inventories_earlier", "earlier_index"),
)
"""``listed_rows`` is known once the listing was read; ``listing_problem`` says why its rows are not here.
``earlier_index`` is the listing before it of the same volume, which it was compared with."""

_unstored_inventory = inventories.c.stored_index.is_(None)
Index(
    "ix_inventories_awaiting",
    inventories.c.log_index,
    sqlite_where=_unstored_inventory,
    postgresql_where=_unstored_inventory,
)

_unread_listing = (
    inventories.c.stored_index.is_not(None)
    & inventories.c.listed_rows.is_(None)
    & inventories.c.listing_problem.is_(None)
)
Index(
    "ix_inventories_unlisted",
    inventories.c.stored_index,
    sqlite_where=_unread_listing,
    postgresql_where=_unread_listing,
)

listing_rows: Final = Table(
    "listing_rows",
    metadata,
    Column("inventory_index", LogIndex, primary_key=True, autoincrement=False),
    Column("row_no", Integer, primary_key=True, autoincrement=False),
    Column("state", Text, nullable=False),
    Column("path", TextColumn, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("rule", Text),
    Column("manifest", DigestColumn),
    Column("raw_path", LargeBinary),
    sqlite_with_rowid=False,
)
"""``manifest`` is the earlier read of a known file. Which rows were read since, ``clips`` tells. ``raw_path`` are the
recorder's own bytes where they are not ``path`` in UTF-8."""

unreadable_rows: Final = Table(
    "unreadable_rows",
    metadata,
    _log_index(),
    Column("inventory", DigestColumn, nullable=False),
    Column("row_no", BigInteger, nullable=False),
    Column("agency", Text, nullable=False),
    Column("station", Text, nullable=False),
    Column("code", TextColumn, nullable=False),
    Index("ix_unreadable_rows_inventory", "inventory", "row_no"),
)

clips: Final = Table(
    "clips",
    metadata,
    _log_index(),
    Column("manifest", DigestColumn, nullable=False, unique=True),
    Column("agency", Text, nullable=False),
    Column("station", Text, nullable=False),
    Column("visit", Text, nullable=False),
    Column("inventory", DigestColumn, nullable=False),
    Column("row_no", BigInteger, nullable=False),
    Column("digest", DigestColumn, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("path", TextColumn, nullable=False),
    Column("media_type", TextColumn, nullable=False),
    Column("recorder", NameColumn),
    Column("recorder_source", Text),
    Column("officer", NameColumn),
    Column("officer_source", Text),
    Column("started_at", StartColumn, nullable=False),
    Column("started_source", Text),
    Column("duration_ms", BigInteger),
    Column("marked", Boolean, nullable=False),
    Column("read_started_at", TimeColumn, nullable=False),
    Column("read_finished_at", TimeColumn, nullable=False),
    Column("media_index", BigInteger),
    Column("stored_index", BigInteger),
    Column("stored_at", TimeColumn),
    Index("ix_clips_started_at", "agency", "started_at", "log_index"),
    Index("ix_clips_recorder", "agency", "recorder", "started_at", "log_index"),
    Index("ix_clips_officer", "agency", "officer", "started_at", "log_index"),
    Index("ix_clips_digest", "agency", "digest", "started_at", "log_index"),
    Index("ix_clips_inventory", "inventory", "row_no"),
)
"""One row a manifest. ``media_index`` is the media statement whose facts the row shows."""

_unstored_clip = clips.c.stored_index.is_(None)
Index(
    "ix_clips_awaiting",
    clips.c.log_index,
    sqlite_where=_unstored_clip,
    postgresql_where=_unstored_clip,
)
Index(
    "ix_clips_unstored",
    clips.c.agency,
    clips.c.stored_index,
    clips.c.started_at,
    clips.c.log_index,
    sqlite_where=_unstored_clip,
    postgresql_where=_unstored_clip,
)

media: Final = Table(
    "media",
    metadata,
    _log_index(),
    Column("manifest", DigestColumn, nullable=False),
    Column("original", DigestColumn, nullable=False),
    Column("agency", Text, nullable=False),
    Column("station", Text, nullable=False),
    Column("media_type", TextColumn, nullable=False),
    Column("duration_ms", BigInteger),
    Column("started_at", TimeColumn),
    Column("started_source", Text),
    Column("recorder", NameColumn),
    Column("recorder_source", Text),
    Index("ix_media_manifest", "manifest", "log_index"),
)
"""Media statements that carry facts. Those that tell of a problem say nothing a clip could show."""

renditions: Final = Table(
    "renditions",
    metadata,
    _log_index(),
    Column("statement", DigestColumn, nullable=False, unique=True),
    Column("manifest", DigestColumn, nullable=False),
    Column("original", DigestColumn, nullable=False),
    Column("agency", Text, nullable=False),
    Column("station", Text, nullable=False),
    Column("rendition", Text, nullable=False),
    Column("digest", DigestColumn),
    Column("size_bytes", BigInteger),
    Column("media_type", TextColumn),
    Column("method", Text),
    Column("problem", TextColumn),
    Column("stored_index", BigInteger),
    Column("stored_at", TimeColumn),
    Index("ix_renditions_manifest", "manifest", "log_index"),
    Index("ix_renditions_digest", "agency", "digest"),
)

_unstored_rendition = renditions.c.stored_index.is_(None) & renditions.c.digest.is_not(None)
Index(
    "ix_renditions_awaiting",
    renditions.c.log_index,
    sqlite_where=_unstored_rendition,
    postgresql_where=_unstored_rendition,
)

custody: Final = Table(
    "custody",
    metadata,
    _log_index(),
    Column("statement", DigestColumn, nullable=False),
    Column("agency", Text, nullable=False),
    Column("event", Text, nullable=False),
    Column("item", DigestColumn, nullable=False),
    Column("item_name", TextColumn, nullable=False),
    Column("actor", TextColumn, nullable=False),
    Column("details", Text, nullable=False),
    Column("issued_at", TimeColumn, nullable=False),
    Index("ix_custody_item", "agency", "item", "log_index"),
)
