"""Reads that are under way or done, by the file's identity on its recorder."""

from __future__ import annotations

from datetime import datetime

from agent.spool.database import Database, Row, Value
from agent.spool.records import FileKey, PartialRead
from protocol.digest import Digest
from protocol.times import format_time, parse_time


def nanoseconds_text(modified_ns: int | None) -> str:
    """A modification time as it stands in keys."""
    return "" if modified_ns is None else str(modified_ns)


def _values(key: FileKey) -> tuple[Value, ...]:
    return (key.recorder_key, key.path, key.size_bytes, nanoseconds_text(key.modified_ns))


class Partials(Database):
    """Progress of reads. It outlives the visit: the recorder may come back."""

    def known_manifest(self, key: FileKey) -> Digest | None:
        """The manifest of an earlier read of exactly this file; None for a file without a time: size and path alone
        do not say that it is the same."""
        row = self.one(
            "SELECT manifest FROM reads WHERE (recorder_key, path, size_bytes, modified_ns) = (?, ?, ?, ?)",
            _values(key),
        )
        return None if row is None or key.modified_ns is None else Digest.parse(row["manifest"])

    def partial(self, key: FileKey) -> PartialRead | None:
        """The unfinished read of exactly this file."""
        row = self.one(
            "SELECT * FROM partials WHERE (recorder_key, path, size_bytes, modified_ns) = (?, ?, ?, ?)",
            _values(key),
        )
        return None if row is None else _partial(row)

    def partial_names(self) -> set[str]:
        """Partial files the journal still knows; any other is left over."""
        return {row["name"] for row in self.all("SELECT name FROM partials")}

    def begin_read(self, key: FileKey, name: str, now: datetime) -> PartialRead:
        """Count an attempt, and note under ``name`` a read that was not begun before."""
        with self.transaction():
            self.execute(
                "INSERT INTO partials (recorder_key, path, size_bytes, modified_ns, name, attempts, read_started_at)"
                " VALUES (?, ?, ?, ?, ?, 1, ?)"
                " ON CONFLICT (recorder_key, path, size_bytes, modified_ns) DO UPDATE SET attempts = attempts + 1",
                (*_values(key), name, format_time(now)),
            )
            begun = self.partial(key)
        assert begun is not None, "it was just written"
        return begun

    def note_durable_bytes(self, key: FileKey, durable_bytes: int, prefix: Digest) -> None:
        """The partial file durably holds this many bytes, and they have this digest."""
        self.execute(
            "UPDATE partials SET durable_bytes = ?, prefix = ?"
            " WHERE (recorder_key, path, size_bytes, modified_ns) = (?, ?, ?, ?)",
            (durable_bytes, str(prefix), *_values(key)),
        )

    def note_resumed(self, key: FileKey) -> None:
        """A read goes on from an offset; its manifest will say so."""
        self.execute(
            "UPDATE partials SET resumed = 1 WHERE (recorder_key, path, size_bytes, modified_ns) = (?, ?, ?, ?)",
            _values(key),
        )

    def note_restarted(self, key: FileKey, now: datetime) -> None:
        """What was read is not to be relied on: from the beginning again, also for an early upload."""
        self.execute(
            "UPDATE partials SET durable_bytes = 0, prefix = NULL, upload_url = NULL, resumed = 0,"
            " read_started_at = ? WHERE (recorder_key, path, size_bytes, modified_ns) = (?, ?, ?, ?)",
            (format_time(now), *_values(key)),
        )

    def note_early_upload(self, key: FileKey, url: str | None) -> None:
        """Where the early upload of an unfinished file goes. If the read has meanwhile ended, its open delivery
        takes the address over."""
        with self.transaction():
            changed = self.execute(
                "UPDATE partials SET upload_url = ?"
                " WHERE (recorder_key, path, size_bytes, modified_ns) = (?, ?, ?, ?)",
                (url, *_values(key)),
            )
            if not changed:
                self.execute(
                    "UPDATE deliveries SET upload_url = ? WHERE receipted_at IS NULL AND uploaded_at IS NULL"
                    " AND statement = (SELECT manifest FROM reads"
                    " WHERE (recorder_key, path, size_bytes, modified_ns) = (?, ?, ?, ?))",
                    (url, *_values(key)),
                )

    def drop_partial(self, key: FileKey) -> None:
        """The read is over, one way or the other; the caller discards the file after this is durable."""
        self.execute(
            "DELETE FROM partials WHERE (recorder_key, path, size_bytes, modified_ns) = (?, ?, ?, ?)",
            _values(key),
        )

    def _note_read(self, key: FileKey, manifest: Digest) -> None:
        self.execute("INSERT OR REPLACE INTO reads VALUES (?, ?, ?, ?, ?)", (*_values(key), str(manifest)))


def _partial(row: Row) -> PartialRead:
    return PartialRead(
        name=row["name"],
        durable_bytes=row["durable_bytes"],
        prefix=None if row["prefix"] is None else Digest.parse(row["prefix"]),
        attempts=row["attempts"],
        resumed=bool(row["resumed"]),
        read_started_at=parse_time(row["read_started_at"]),
        upload_url=row["upload_url"],
    )
