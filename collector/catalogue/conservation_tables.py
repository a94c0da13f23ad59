"""Tables of the conservation of clips: what releases said, what successive listings tell, and the findings."""

from __future__ import annotations

from typing import Final

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, Table, Text

from collector.catalogue.tables import metadata
from collector.database.columns import DigestColumn, LogIndex, NameColumn, TextColumn, TimeColumn


def _log_index(name: str = "log_index") -> Column[int]:
    return Column(name, LogIndex, primary_key=True, autoincrement=False)


log_clock: Final = Table(
    "log_clock",
    metadata,
    _log_index(),
    Column("at", TimeColumn, nullable=False),
    Index("ix_log_clock_at", "at"),
)
"""The collector's own time along the log: an entry of its own voice for each minute in which it spoke, rising."""

release_intents: Final = Table(
    "release_intents",
    metadata,
    _log_index(),
    Column("statement", DigestColumn, nullable=False, unique=True),
    Column("agency", Text, nullable=False),
    Column("station", Text, nullable=False),
    Column("visit", Text, nullable=False),
    Column("inventory", DigestColumn, nullable=False),
    Column("released_index", BigInteger),
    Column("inventory_after", DigestColumn),
    Index("ix_release_intents_inventory", "inventory"),
)
"""``released_index`` is the later of intent and the first ``released`` of the same station that answers it."""

release_items: Final = Table(
    "release_items",
    metadata,
    _log_index("intent_index"),
    Column("row_no", Integer, primary_key=True, autoincrement=False),
    Column("manifest", DigestColumn, nullable=False),
    Column("digest", DigestColumn, nullable=False),
    Column("claimed_stored_index", BigInteger, nullable=False),
    Column("released_index", BigInteger),
    Column("kept", TextColumn),
    Index("ix_release_items_manifest", "manifest"),
    sqlite_with_rowid=False,
)
"""``released_index`` says that the file is gone by the station's word; ``kept`` why it is not."""

releases: Final = Table(
    "releases",
    metadata,
    _log_index(),
    Column("intent", DigestColumn, nullable=False),
    Column("agency", Text, nullable=False),
    Column("station", Text, nullable=False),
    Column("inventory_after", DigestColumn, nullable=False),
    Index("ix_releases_intent", "intent", "log_index"),
)

release_kept: Final = Table(
    "release_kept",
    metadata,
    _log_index("release_index"),
    Column("row_no", Integer, primary_key=True, autoincrement=False),
    Column("code", TextColumn, nullable=False),
    sqlite_with_rowid=False,
)

absences: Final = Table(
    "absences",
    metadata,
    _log_index("inventory_index"),
    Column("row_no", Integer, primary_key=True, autoincrement=False),
    Column("earlier_index", BigInteger, nullable=False),
    Column("path", TextColumn, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("manifest", DigestColumn),
    Column("returned_index", BigInteger),
    Index("ix_absences_earlier", "earlier_index", "row_no"),
    Index("ix_absences_manifest", "manifest"),
    sqlite_with_rowid=False,
)
"""Files of the earlier listing (``row_no`` counts there) that this inventory of the same recorder lists no more;
``returned_index`` is where a later listing has them again. ``manifest`` is that of a file known already then."""

returns: Final = Table(
    "returns",
    metadata,
    _log_index("inventory_index"),
    Column("row_no", Integer, primary_key=True, autoincrement=False),
    Column("path", TextColumn, nullable=False),
    Column("manifest", DigestColumn, nullable=False),
    Index("ix_returns_manifest", "manifest"),
    sqlite_with_rowid=False,
)
"""Rows of this inventory that are known files which had been released before."""

numberings: Final = Table(
    "numberings",
    metadata,
    _log_index("inventory_index"),
    Column("folder", Text, primary_key=True),
    Column("highest", Integer, nullable=False),
    Column("ranges", Text, nullable=False),
    Column("set_back_row", Integer),
    sqlite_with_rowid=False,
)
"""What the names of an inventory count, folder by folder; ``ranges`` are JSON triples first, last, row."""

unreconciled: Final = Table(
    "unreconciled",
    metadata,
    Column("agency", Text, primary_key=True),
    Column("subject", DigestColumn, primary_key=True),
    Column("marks", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)
"""Inventories and objects whose findings are to be computed again; ``marks`` grows with every reason for it. Empty
once the catalogue has caught up."""

findings: Final = Table(
    "findings",
    metadata,
    Column("id", DigestColumn, primary_key=True),
    Column("code", Text, nullable=False),
    Column("severity", Text, nullable=False),
    Column("agency", Text, nullable=False),
    Column("about", DigestColumn, nullable=False),
    Column("subject", DigestColumn, nullable=False),
    Column("place", Text, nullable=False),
    Column("station", Text),
    Column("recorder", NameColumn),
    Column("visit", Text),
    Column("inventory", DigestColumn),
    Column("row_no", Integer),
    Column("path", TextColumn),
    Column("files", BigInteger, nullable=False),
    Column("details", Text, nullable=False),
    Column("opened_index", BigInteger, nullable=False),
    Column("closed_index", BigInteger),
    Column("closed_by", Text),
    Column("is_open", Boolean, nullable=False),
    Index("ix_findings_agency", "agency", "opened_index", "id"),
    Index("ix_findings_open", "agency", "is_open", "opened_index", "id"),
    Index("ix_findings_about", "agency", "about"),
    Index("ix_findings_visit", "agency", "visit", "opened_index", "id"),
    Index("ix_findings_recorder", "agency", "recorder", "opened_index", "id"),
    Index("ix_findings_station", "agency", "station", "opened_index", "id"),
    Index("ix_findings_code", "agency", "code", "opened_index", "id"),
    Index("ix_findings_open_code", "is_open", "code"),
)
"""``about`` is the entry of ``unreconciled`` that a finding is computed with."""
