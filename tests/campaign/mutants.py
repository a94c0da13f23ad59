"""What stands in for a protection that is disabled: the same method without it.

Production code has no switches for this; ``mutations`` says which of these goes where.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final

from agent.broker.errors import BrokerError
from agent.core.offload import EarlierRead
from agent.core.release import ERASED, INTERRUPTED
from agent.offload.settler import Finished, Settler
from agent.release.proofs import Proofs, Proven
from agent.release.releaser import Releaser
from agent.spool.directory import DirectoryPartial
from agent.spool.files import Publication
from agent.spool.records import OpenIntent, OriginalRecord, OutboxRow, Purpose
from agent.uplink.statements import StatementLoop
from collector.catalogue import Catalogue, LoggedStatement
from collector.core.admission import Candidate
from collector.core.sequencing import Identity
from collector.log.writer import LogWriter
from collector.sequencer import Sequencer
from protocol.checkpoint import Checkpoint, sign_checkpoint
from protocol.digest import Digest
from protocol.dsse import Envelope
from protocol.statements import Manifest, parse_statement
from protocol.tiles import grow
from protocol.topics import Channel, Topic
from tests.campaign.process import CURRENT, Process


def nothing(*_: object, **__: object) -> None:
    return None


def unsynced(self: DirectoryPartial) -> int:
    return self.size_bytes


def settle_first(self: Settler, finished: Sequence[Finished]) -> None:
    """Journalled before the blob has its name."""
    if not finished:
        return
    with self._journal.naming:
        self._journal.record_originals([self._testify(item) for item in finished], self._tools.clock())
        self._journal.files.publish(
            [
                Publication(partial=item.name, purpose=Purpose.ORIGINAL, digest=item.copied.digest)
                for item in finished
            ]
        )


def checkpoint_first(self: LogWriter, entries: Sequence[bytes]) -> int:
    """The checkpoint before the tiles it covers."""
    old, old_note = self._state
    growth = grow(old_size=old.size, old_root=old.root, entries=entries, read=self._files.read)
    new = Checkpoint(origin=old.origin, size=growth.size, root=growth.root)
    note = sign_checkpoint(new, self._signer)
    self._files.swap_checkpoint(old_note, note)
    self._files.write(growth.tiles)
    self._state = (new, note)
    return old.size


async def believe_puback(self: StatementLoop, rows: Sequence[OutboxRow]) -> None:
    """The broker's acknowledgement taken for the collector's admission."""
    admitted = {row.statement: 1 for row in rows}
    await asyncio.to_thread(self._journal.settle_admitted, admitted, self._now())


def unproven(self: Proofs, manifest: Digest) -> Proven:
    """What the journal says instead of what the receipt proves."""
    envelope = self._journal.statement(manifest)
    assert envelope is not None
    statement = parse_statement(Envelope.from_bytes(envelope).payload)
    assert isinstance(statement, Manifest)
    return Proven(digest=statement.digest, stored_index=1)


_OPEN_INTENTS: Final = Releaser._open_intents


def as_if_admitted(self: Releaser, taken: Any) -> list[OpenIntent]:
    return [replace(intent, outcome="admitted") for intent in _OPEN_INTENTS(self, taken)]


def keep_all(earlier: EarlierRead) -> int:
    return earlier.kept_bytes


def never_seen(self: Catalogue, wanted: Collection[tuple[str, Digest]]) -> dict[tuple[str, Digest], int]:
    return {}


async def forget_the_log(self: Sequencer) -> AsyncIterator[Sequence[LoggedStatement]]:
    """Only the log is taken up, not what the catalogue lacks of it."""
    self._log.reload()
    if self._log.checkpoint.size == 0:
        yield ()


_LOOPS: Final[dict[Process | None, StatementLoop]] = {}
_RUN: Final = StatementLoop.run
_TESTIFY: Final = Settler._testify


async def be_known(self: StatementLoop) -> None:
    _LOOPS.clear()
    _LOOPS[CURRENT.get()] = self
    await _RUN(self)


def publish_at_once(self: Settler, item: Finished) -> OriginalRecord:
    """Sent before it is in the journal."""
    record = _TESTIFY(self, item)
    sender = _LOOPS.get(CURRENT.get())
    if sender is not None and sender._broker is not None:
        topic = Topic(agency=record.row.agency, station=sender._station, channel=Channel.STATEMENTS)
        publish = sender._broker.publish(str(topic), record.envelope.to_bytes())
        with suppress(BrokerError):
            asyncio.run_coroutine_threadsafe(publish, asyncio.get_event_loop()).result()
    return record


def as_it_seemed(attempt: str | None, _: object) -> str | None:
    return None if attempt == ERASED else attempt or INTERRUPTED


_COMMIT: Final = Sequencer._commit


async def answer_first(self: Sequencer, batch: Sequence[Any]) -> None:
    candidates = [candidate for waiting in batch for candidate in waiting.candidates]
    plan = self._plan(candidates, self._log.checkpoint.size)
    self._answer(batch, plan.decisions, [])
    await asyncio.sleep(0.01)
    await _COMMIT(self, batch)


def by_itself(candidate: Candidate) -> Identity:
    return (candidate.entry.key_id, "statement", candidate.id)
