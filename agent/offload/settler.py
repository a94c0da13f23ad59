"""What follows a read: names in the spool, signed statements, the journal. Blocking code for threads.

The order is the rule (I6): bytes durable and re-read before they come here; here published, then signed and
journalled in one transaction.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from agent.core.inventory import moment
from agent.errors import AgentError
from agent.offload.progress import Progress
from agent.offload.reader import Copied
from agent.offload.settings import VisitTools
from agent.offload.testimony import ReadFile
from agent.spool.files import Publication
from agent.spool.records import OriginalRecord, Purpose, ReadAs, RowToRead
from firmware_profiles.names import NameClaims, claims_from_path
from firmware_profiles.schema import Profile
from protocol.claims import Claim
from protocol.media_types import media_type_of

_LOG: Final = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """Whose files are read: profile and the visit's claims, which stand in where a file's name claims nothing."""

    profile: Profile
    recorder: Claim | None
    officer: Claim | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """A file whose bytes are durable and re-read under ``name`` in the spool, not yet published."""

    row: RowToRead
    name: str
    copied: Copied
    started_at: datetime
    finished_at: datetime
    attempts: int
    resumed: bool


class Settler:
    """Publishes and journals what one bay's offloader has read in one ``session``: a visit watched without a break."""

    def __init__(self, subject: Subject, tools: VisitTools, progress: Progress, *, session: str) -> None:
        self._subject = subject
        self._session = session
        self._tools = tools
        self._journal = tools.journal
        self._progress = progress

    def settle(self, finished: Sequence[Finished]) -> None:
        """Publish the files and record them with their manifests, together. Raises SpoolError, JournalError."""
        if not finished:
            return
        publications = [
            Publication(partial=item.name, purpose=Purpose.ORIGINAL, digest=item.copied.digest)
            for item in finished
        ]
        with self._journal.naming:
            self._journal.files.publish(publications)
            self._journal.record_originals([self._testify(item) for item in finished], self._tools.clock())
        for item in finished:
            self._progress.finish(item.row.id, item.copied.size_bytes, self._tools.clock())
        _LOG.info("originals recorded", extra={"visit": finished[0].row.visit, "files": len(finished)})

    def _testify(self, item: Finished) -> OriginalRecord:
        claims = self._claims(item.row)
        read = ReadFile(
            row=item.row,
            digest=item.copied.digest,
            size_bytes=item.copied.size_bytes,
            media_type=media_type_of(item.row.shown.rpartition("/")[2], item.copied.head),
            started_at=item.started_at,
            finished_at=item.finished_at,
            attempts=item.attempts,
            resumed=item.resumed,
        )
        envelope = self._tools.testimony.manifest(
            read, claims=claims, modified_at=moment(item.row.key.modified_ns)
        )
        return OriginalRecord(
            row=item.row,
            envelope=envelope,
            digest=read.digest,
            size_bytes=read.size_bytes,
            media_type=read.media_type,
            marked=claims.marked,
            recorder=claims.recorder,
            read_as=None if item.copied.read_as is None else ReadAs(self._session, item.copied.read_as),
        )

    def _claims(self, row: RowToRead) -> NameClaims:
        claims = claims_from_path(self._subject.profile, row.shown, self._tools.settings.zone)
        return replace(
            claims,
            recorder=claims.recorder or self._subject.recorder,
            officer=claims.officer or self._subject.officer,
        )

    def give_up(self, row: RowToRead, *, code: str, error: AgentError | None, failures: int) -> None:
        """Sign and journal that a row cannot be read, and drop what was read of it. Raises JournalError."""
        partial = self._journal.partial(row.key)
        envelope = self._tools.testimony.unreadable(
            row,
            error=error,
            code=code,
            attempts=max(failures, partial.attempts if partial else 0),
            bytes_read=partial.durable_bytes if partial else 0,
        )
        self._journal.record_unreadable(row, envelope, code=code, now=self._tools.clock())
        if partial is not None:
            self._journal.files.discard_partial(partial.name)
        self._progress.forget(row.id)
        _LOG.warning("file unreadable", extra={"visit": row.visit, "row": row.id.row, "code": code})
