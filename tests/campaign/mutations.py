"""Protections of the product, each of which can be taken away: the campaign has to notice.

A mutation patches the code under test in this Python process; production code has no switches. ``kinds`` and
``machine`` say which faults would show it, so that few runs are needed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any, Final
from unittest.mock import patch

import agent.offload.single
import agent.release.erasing
import agent.spool.directory
from agent.core.offload import EarlierRead
from agent.core.release import Check
from agent.offload.reader import _TrailingCheck
from agent.offload.settler import Finished, Settler
from agent.release.proofs import Proofs, Proven
from agent.release.releaser import Releaser
from agent.spool.directory import DirectoryPartial
from agent.spool.files import Publication
from agent.spool.records import OpenIntent, OutboxRow, Purpose
from agent.uplink.statements import StatementLoop
from collector.catalogue import Catalogue, LoggedStatement
from collector.files import PosixFiles
from collector.log.tile_files import TileFiles
from collector.log.writer import LogWriter
from collector.objects.folder import ObjectFolder
from collector.sequencer import Sequencer
from protocol.checkpoint import Checkpoint, sign_checkpoint
from protocol.digest import Digest
from protocol.dsse import Envelope
from protocol.statements import Manifest, parse_statement
from protocol.tiles import grow
from tests.campaign.plan import Kind
from tests.campaign.template import COLLECTOR, STATIONS

Patch = tuple[object, str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutation:
    """``patches`` take one protection away; ``runs`` are enough to see it, beginning with ``seed``."""

    protection: str
    where: str
    patches: Sequence[Patch]
    kinds: Sequence[Kind]
    machine: str | None = None
    path: str = ""
    seed: int = 1
    runs: int = 24


def _nothing(*_: object, **__: object) -> None:
    return None


def _unsynced(self: DirectoryPartial) -> int:
    return self.size_bytes


def _settle_first(self: Settler, finished: Sequence[Finished]) -> None:
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


def _checkpoint_first(self: LogWriter, entries: Sequence[bytes]) -> int:
    """The checkpoint before the tiles it covers."""
    old, old_note = self._state
    growth = grow(old_size=old.size, old_root=old.root, entries=entries, read=self._files.read)
    new = Checkpoint(origin=old.origin, size=growth.size, root=growth.root)
    note = sign_checkpoint(new, self._signer)
    self._files.swap_checkpoint(old_note, note)
    self._files.write(growth.tiles)
    self._state = (new, note)
    return old.size


def _believe_puback(self: StatementLoop, rows: Sequence[OutboxRow]) -> None:
    """The broker's acknowledgement taken for the collector's admission."""
    now = self._now()
    with self._journal.transaction():
        for row in rows:
            self._journal.note_sent(row.statement, now)
            self._journal.settle_admitted(row.statement, 1, now)


def _unproven(self: Proofs, manifest: Digest) -> Proven:
    """What the journal says instead of what the receipt proves."""
    envelope = self._journal.statement(manifest)
    assert envelope is not None
    statement = parse_statement(Envelope.from_bytes(envelope).payload)
    assert isinstance(statement, Manifest)
    return Proven(digest=statement.digest, stored_index=1)


_OPEN_INTENTS: Final = Releaser._open_intents


def _as_if_admitted(self: Releaser, taken: Any) -> list[OpenIntent]:
    return [replace(intent, outcome="admitted") for intent in _OPEN_INTENTS(self, taken)]


def _keep_all(earlier: EarlierRead) -> int:
    return earlier.kept_bytes


def _never_seen(self: Catalogue, wanted: Collection[tuple[str, Digest]]) -> dict[tuple[str, Digest], int]:
    return {}


async def _forget_the_log(self: Sequencer) -> AsyncIterator[Sequence[LoggedStatement]]:
    """Only the log is taken up, not what the catalogue lacks of it."""
    self._log.reload()
    if self._log.checkpoint.size == 0:
        yield ()


_STATION: Final = STATIONS[0]

MUTATIONS: Final[Mapping[str, Mutation]] = {
    "spool-sync": Mutation(
        protection="spool blobs are synced",
        where="agent/spool/directory.py",
        patches=[(DirectoryPartial, "flush", _unsynced)],
        kinds=[Kind.POWER_CUT],
        machine=_STATION,
        seed=5,
    ),
    "spool-names": Mutation(
        protection="names in the spool are synced",
        where="agent/spool/directory.py",
        patches=[(agent.spool.directory, "_sync_folder", _nothing)],
        kinds=[Kind.POWER_CUT],
        machine=_STATION,
    ),
    "spool-re-read": Mutation(
        protection="spool blobs are re-read and compared",
        where="agent/offload/reader.py",
        patches=[(_TrailingCheck, "finish", _nothing)],
        kinds=[Kind.LYING_SYNC],
        machine=_STATION,
    ),
    "journal-after-name": Mutation(
        protection="a blob has its name before the journal says so",
        where="agent/offload/settler.py",
        patches=[(Settler, "settle", _settle_first)],
        kinds=[Kind.CRASH, Kind.POWER_CUT],
        machine=_STATION,
        path="/originals/",
    ),
    "prefix": Mutation(
        protection="a partial read is resumed only after its bytes were checked",
        where="agent/core/offload.py",
        patches=[(agent.offload.single, "decide_start", _keep_all)],
        kinds=[Kind.LYING_SYNC, Kind.CRASH],
        machine=_STATION,
        path="/partial/",
        seed=12,
    ),
    "admission": Mutation(
        protection="only the collector's signed admission closes an outbox row",
        where="agent/uplink/statements.py",
        patches=[(StatementLoop, "_note_sent_now", _believe_puback)],
        kinds=[Kind.MQTT_LOST],
    ),
    "receipt": Mutation(
        protection="receipts are verified once more before anything is erased",
        where="agent/release/proofs.py",
        patches=[(Proofs, "_prove", _unproven)],
        kinds=[Kind.RECEIPT_DAMAGED],
        machine=_STATION,
        seed=2,
    ),
    "intent": Mutation(
        protection="nothing is erased before the intent is admitted",
        where="agent/release/releaser.py",
        patches=[(Releaser, "_open_intents", _as_if_admitted)],
        kinds=[Kind.MQTT_LATE, Kind.AWAY],
        seed=16,
    ),
    "identity": Mutation(
        protection="what is erased is the file that was read",
        where="agent/core/release.py",
        patches=[(agent.release.erasing, "decide_check", lambda *_: Check.NOTHING)],
        kinds=[Kind.FILE_REPLACED],
        seed=7,
    ),
    "object-names": Mutation(
        protection="names in the store and in the log are synced",
        where="collector/files.py",
        patches=[(PosixFiles, "sync_folder", _nothing)],
        kinds=[Kind.POWER_CUT],
        machine=COLLECTOR,
    ),
    "group-sync": Mutation(
        protection="groups of small objects are synced",
        where="collector/objects/folder.py",
        patches=[(PosixFiles, "sync_all", _nothing)],
        kinds=[Kind.POWER_CUT],
        machine=COLLECTOR,
    ),
    "object-re-read": Mutation(
        protection="objects are re-read and compared with the promised digest",
        where="collector/objects/folder.py",
        patches=[(ObjectFolder, "_compare", _nothing)],
        kinds=[Kind.LYING_SYNC],
        machine=COLLECTOR,
    ),
    "log-re-read": Mutation(
        protection="files of the log are re-read and compared",
        where="collector/log/tile_files.py",
        patches=[(TileFiles, "_compare", _nothing)],
        kinds=[Kind.LYING_SYNC],
        machine=COLLECTOR,
    ),
    "tiles-first": Mutation(
        protection="tiles are durable before the checkpoint that covers them",
        where="collector/log/writer.py",
        patches=[(LogWriter, "append", _checkpoint_first)],
        kinds=[Kind.CRASH, Kind.POWER_CUT],
        machine=COLLECTOR,
        path="/log/",
        seed=3,
    ),
    "known-statements": Mutation(
        protection="a statement that comes again is recognised by signer and id",
        where="collector/sequencer.py",
        patches=[(Catalogue, "entry_indices", _never_seen)],
        kinds=[Kind.MQTT_TWICE, Kind.MQTT_LATE],
        seed=2,
    ),
    "catching-up": Mutation(
        protection="after a crash the catalogue catches up with the log",
        where="collector/sequencer.py",
        patches=[(Sequencer, "_catch_up", _forget_the_log)],
        kinds=[Kind.CRASH, Kind.POWER_CUT],
        machine=COLLECTOR,
        path="catalogue.sqlite",
    ),
}


@contextmanager
def mutated(name: str | None) -> Iterator[None]:
    """The product without one protection while this lasts."""
    with ExitStack() as stack:
        for target, attribute, value in MUTATIONS[name].patches if name is not None else ():
            stack.enter_context(patch.object(target, attribute, value))
        yield
