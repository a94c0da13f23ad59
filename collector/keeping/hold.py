"""The note beside a restored log (封存): until somebody has said that it may go on, no collector runs on it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Final, Self

from collector.core.continuation import Continue, Decision, decide_continuation
from collector.keeping.errors import LogHeldError
from collector.keeping.stored_log import StoredLog
from collector.private_files import PUBLIC_MODE, write_durable
from collector.voice import Voice
from protocol.canonical import Fields, parse_json
from protocol.digest import Digest
from protocol.errors import ProtocolError
from protocol.statements import Custody
from protocol.times import format_time

_NAME: Final = "restored.json"
_MAX_BYTES: Final = 65_536


@dataclass(frozen=True, slots=True, kw_only=True)
class Restoration:
    """A log that was restored up to ``entries``; ``decision`` is None until it may be written again."""

    entries: int
    root: str
    backup_made_at: datetime
    decision: Decision | None = None
    newest_seen: int | None = None

    @classmethod
    def load(cls, log_dir: Path) -> Self | None:
        """None for a log that did not come from a backup, or whose restoration is in the log already. Raises
        LogHeldError for a note that cannot be read."""
        try:
            data = (log_dir / _NAME).read_bytes()
        except FileNotFoundError:
            return None
        try:
            return cls._from_bytes(data)
        except ProtocolError as error:
            raise LogHeldError(
                f"{log_dir / _NAME} cannot be read: {error}. Restore the backup again"
            ) from error

    @classmethod
    def _from_bytes(cls, data: bytes) -> Self:
        fields = Fields(parse_json(data, max_bytes=_MAX_BYTES, what=_NAME), _NAME)
        decided = fields.raw("decision") is not None
        return cls(
            entries=fields.integer("entries"),
            root=fields.text("root"),
            backup_made_at=fields.time("backup_made_at"),
            decision=Decision(fields.one_of("decision", frozenset(Decision))) if decided else None,
            newest_seen=fields.optional_integer("newest_seen"),
        )

    def store(self, log_dir: Path) -> None:
        """Durable on return."""
        values = {
            "entries": self.entries,
            "root": self.root,
            "backup_made_at": format_time(self.backup_made_at),
            "decision": None if self.decision is None else self.decision.value,
            "newest_seen": self.newest_seen,
        }
        write_durable(log_dir / _NAME, json.dumps(values, indent=1).encode() + b"\n", mode=PUBLIC_MODE)

    def check_may_run(self) -> None:
        """Raises LogHeldError until somebody has decided."""
        if self.decision is None:
            raise LogHeldError(
                f"this log was restored from the backup of {format_time(self.backup_made_at)} and is held: nobody has "
                "said that it is the newest there is. zhilu-collector resume --seen CHECKPOINT says so"
            )

    async def record(self, voice: Voice, log_dir: Path) -> None:
        """Say in the log what happened to it, then forget the note. Killed in between, it is said twice."""
        assert self.decision is not None
        details: dict[str, str | int] = {
            "entries": self.entries,
            "backup_made_at": format_time(self.backup_made_at),
            "decision": self.decision.value,
        }
        if self.newest_seen is not None:
            details["newest_seen"] = self.newest_seen
        header = voice.header()
        await voice.say(
            Custody(
                header=header,
                event="restored",
                item=Digest.sha256(self.root),
                item_name="log",
                actor=header.signer,
                details=details,
            )
        )
        (log_dir / _NAME).unlink()


def decided(
    restoration: Restoration, log: StoredLog, seen: Sequence[bytes], *, even_if_older: bool
) -> tuple[Restoration, str | None]:
    """The note with the decision that these checkpoint notes allow; or unchanged, and why it stays held.

    Raises ForkError for a checkpoint that contradicts this log: then no decision helps. ProtocolError for one that
    is not this log's.
    """
    checkpoints = [log.check_continues(note) for note in seen]
    outcome = decide_continuation(log.checkpoint, checkpoints, even_if_older=even_if_older)
    if isinstance(outcome, Continue):
        return replace(restoration, decision=outcome.decision, newest_seen=outcome.newest_seen), None
    return restoration, outcome.reason
