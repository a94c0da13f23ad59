"""Media jobs: originals whose facts and renditions are still to be made. They never delay offload or delivery."""

from __future__ import annotations

import json
from datetime import datetime

from agent.spool.database import Database, Row
from agent.spool.files import SpoolFiles
from agent.spool.records import MediaJob, OriginalRecord, Purpose
from protocol.claims import Claim
from protocol.digest import Digest
from protocol.times import format_time, parse_time


class MediaJobs(Database):
    """One job for each manifest; closed when everything that can be made is recorded."""

    files: SpoolFiles

    def open_media_jobs(self, limit: int) -> list[MediaJob]:
        """Fewest attempts first, then oldest: an original that kills its probe does not hold up the others."""
        rows = self.all(
            "SELECT * FROM media_jobs WHERE closed_at IS NULL ORDER BY attempts, created_at LIMIT ?", (limit,)
        )
        return [self._media_job(row) for row in rows]

    def begin_media_job(self, manifest: Digest) -> None:
        """Count an attempt, before it starts: a job that ends the process is counted too."""
        self.execute("UPDATE media_jobs SET attempts = attempts + 1 WHERE manifest = ?", (str(manifest),))

    def return_media_job(self, manifest: Digest) -> None:
        """Take back the attempt just counted: it ended for reasons that have nothing to do with this original."""
        self.execute(
            "UPDATE media_jobs SET attempts = attempts - 1 WHERE manifest = ? AND attempts > 0",
            (str(manifest),),
        )

    def close_media_job(self, manifest: Digest, now: datetime) -> None:
        """Everything about this original is recorded. Its bytes may leave the spool once receipted."""
        self.execute(
            "UPDATE media_jobs SET closed_at = ? WHERE manifest = ? AND closed_at IS NULL",
            (format_time(now), str(manifest)),
        )

    def media_statements(self, manifest: Digest) -> list[bytes]:
        """Envelopes already recorded for a job: after an interruption they are not made again."""
        rows = self.all(
            "SELECT envelope FROM media_results JOIN statements USING (statement) WHERE manifest = ? ORDER BY seq",
            (str(manifest),),
        )
        return [bytes(row["envelope"]) for row in rows]

    def _open_media_job(self, manifest: Digest, original: OriginalRecord, now: datetime) -> None:
        claim = original.recorder
        self.execute(
            "INSERT INTO media_jobs (manifest, agency, digest, size_bytes, media_type, recorder, created_at)"
            " VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (manifest) DO NOTHING",
            (
                str(manifest),
                original.row.agency,
                str(original.digest),
                original.size_bytes,
                original.media_type,
                None if claim is None else json.dumps(claim.to_json(), ensure_ascii=False),
                format_time(now),
            ),
        )

    def _note_media_result(self, manifest: Digest, statement: Digest) -> None:
        self.execute(
            "INSERT OR IGNORE INTO media_results (manifest, statement) VALUES (?, ?)",
            (str(manifest), str(statement)),
        )

    def _media_job(self, row: Row) -> MediaJob:
        digest = Digest.parse(row["digest"])
        return MediaJob(
            manifest=Digest.parse(row["manifest"]),
            agency=row["agency"],
            digest=digest,
            size_bytes=row["size_bytes"],
            media_type=row["media_type"],
            path=self.files.path(Purpose.ORIGINAL, digest),
            recorder=None if row["recorder"] is None else Claim.from_json(json.loads(row["recorder"])),
            created_at=parse_time(row["created_at"]),
            attempts=row["attempts"],
        )
