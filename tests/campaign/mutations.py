"""Protections of the product, each of which can be taken away: the campaign has to notice.

A mutation patches the code under test in this Python process; production code has no switches. ``targets`` say which
faults would show it, so that few runs are needed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Final
from unittest.mock import patch

import agent.offload.single
import agent.release.closing
import agent.release.erasing
import agent.spool.directory
import collector.core.sequencing
from agent.core.release import Check
from agent.offload.reader import _TrailingCheck
from agent.offload.settler import Settler
from agent.release.proofs import Proofs
from agent.release.releaser import Releaser
from agent.spool.common_sync import CommonSync
from agent.spool.directory import DirectoryPartial
from agent.uplink.statements import StatementLoop
from collector.catalogue import Catalogue
from collector.files import PosixFiles
from collector.log.tile_files import TileFiles
from collector.log.writer import LogWriter
from collector.objects.folder import ObjectFolder
from collector.sequencer import Sequencer
from tests.campaign import mutants
from tests.campaign.plan import Kind
from tests.campaign.scenario import Targets
from tests.campaign.template import COLLECTOR, STATIONS

Patch = tuple[object, str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutation:
    """``patches`` take one protection away, as ``disabled`` says; ``runs`` are enough to see it, beginning with
    ``seed``."""

    protection: str
    disabled: str
    where: str
    patches: Sequence[Patch]
    targets: Targets
    seed: int = 1
    runs: int = 12


_STATION: Final = STATIONS[0]
_PROJECTED: Final = "collector/catalogue/catalogue.py apply: commit"

MUTATIONS: Final[Mapping[str, Mutation]] = {
    "spool-sync": Mutation(
        protection="spool blobs are synced",
        disabled="flushing a file does nothing",
        where="agent/spool/directory.py",
        patches=[(DirectoryPartial, "flush", mutants.unsynced)],
        targets=Targets((Kind.POWER_CUT,), machine=_STATION),
    ),
    "spool-names": Mutation(
        protection="names in the spool are synced",
        disabled="syncing a folder does nothing",
        where="agent/spool/directory.py",
        patches=[(agent.spool.directory, "_sync_folder", mutants.nothing)],
        targets=Targets((Kind.POWER_CUT,), machine=_STATION),
    ),
    "spool-group-sync": Mutation(
        protection="groups of small files are synced in the spool",
        disabled="the common sync does nothing",
        where="agent/spool/common_sync.py",
        patches=[(CommonSync, "sync", mutants.nothing)],
        targets=Targets((Kind.POWER_CUT,), machine=_STATION, path="journal"),
        seed=9,
    ),
    "spool-re-read": Mutation(
        protection="spool blobs are re-read and compared",
        disabled="the second look compares nothing",
        where="agent/offload/reader.py",
        patches=[(_TrailingCheck, "finish", mutants.nothing)],
        targets=Targets((Kind.LYING_SYNC,), machine=_STATION),
        seed=4,
    ),
    "journal-after-name": Mutation(
        protection="a blob has its name before the journal says so",
        disabled="journal first, name afterwards",
        where="agent/offload/settler.py",
        patches=[(Settler, "settle", mutants.settle_first)],
        targets=Targets((Kind.CRASH, Kind.POWER_CUT), machine=_STATION, path="/originals/"),
    ),
    "prefix": Mutation(
        protection="a partial read is resumed only after its bytes were checked",
        disabled="whatever was kept is taken for good",
        where="agent/core/offload.py",
        patches=[(agent.offload.single, "decide_start", mutants.keep_all)],
        targets=Targets((Kind.LYING_SYNC,), machine=_STATION, path="/partial/", then=(Kind.CRASH,)),
        seed=2,
    ),
    "admission": Mutation(
        protection="only the collector's signed admission closes an outbox row",
        disabled="the broker's acknowledgement closes the row",
        where="agent/uplink/statements.py",
        patches=[(StatementLoop, "_note_sent", mutants.believe_puback)],
        targets=Targets((Kind.MQTT_LOST,)),
    ),
    "receipt": Mutation(
        protection="receipts are verified once more before anything is erased",
        disabled="the journal's word instead of a proof",
        where="agent/release/proofs.py",
        patches=[(Proofs, "_prove", mutants.unproven)],
        targets=Targets((Kind.RECEIPT_DAMAGED,), machine=_STATION),
        seed=2,
    ),
    "intent": Mutation(
        protection="nothing is erased before the intent is admitted",
        disabled="intents count as admitted once they are signed",
        where="agent/release/releaser.py",
        patches=[(Releaser, "_open_intents", mutants.as_if_admitted)],
        targets=Targets((Kind.MQTT_LATE, Kind.AWAY)),
        seed=26,
    ),
    "identity": Mutation(
        protection="what is erased is the file that was read",
        disabled="no file is looked at again",
        where="agent/core/release.py",
        patches=[(agent.release.erasing, "decide_check", lambda *_: Check.NOTHING)],
        targets=Targets((Kind.FILE_REPLACED,)),
        seed=22,
    ),
    "object-names": Mutation(
        protection="names in the store and in the log are synced",
        disabled="syncing a folder does nothing",
        where="collector/files.py",
        patches=[(PosixFiles, "sync_folder", mutants.nothing)],
        targets=Targets((Kind.POWER_CUT,), machine=COLLECTOR),
    ),
    "group-sync": Mutation(
        protection="groups of small objects are synced",
        disabled="the common sync does nothing",
        where="collector/objects/folder.py",
        patches=[(PosixFiles, "sync_all", mutants.nothing)],
        targets=Targets((Kind.POWER_CUT,), machine=COLLECTOR),
    ),
    "object-re-read": Mutation(
        protection="objects are re-read and compared with the promised digest",
        disabled="nothing is compared",
        where="collector/objects/folder.py",
        patches=[(ObjectFolder, "_compare", mutants.nothing)],
        targets=Targets((Kind.LYING_SYNC,), machine=COLLECTOR),
    ),
    "log-re-read": Mutation(
        protection="files of the log are re-read and compared",
        disabled="nothing is compared",
        where="collector/log/tile_files.py",
        patches=[(TileFiles, "_compare", mutants.nothing)],
        targets=Targets((Kind.LYING_SYNC,), machine=COLLECTOR),
        seed=4,
    ),
    "tiles-first": Mutation(
        protection="tiles are durable before the checkpoint that covers them",
        disabled="the checkpoint first, its tiles afterwards",
        where="collector/log/writer.py",
        patches=[(LogWriter, "append", mutants.checkpoint_first)],
        targets=Targets((Kind.CRASH, Kind.POWER_CUT), machine=COLLECTOR, path="/log/"),
    ),
    "known-statements": Mutation(
        protection="a statement that comes again is recognised by signer and id",
        disabled="no statement is ever known",
        where="collector/sequencer.py",
        patches=[(Catalogue, "entry_indices", mutants.never_seen)],
        targets=Targets((Kind.MQTT_TWICE, Kind.MQTT_LATE)),
        seed=2,
    ),
    "catching-up": Mutation(
        protection="after a crash the catalogue catches up with the log",
        disabled="entries the catalogue lacks are passed over",
        where="collector/sequencer.py",
        patches=[(Sequencer, "_catch_up", mutants.forget_the_log)],
        targets=Targets((Kind.CRASH, Kind.POWER_CUT), machine=COLLECTOR, place=_PROJECTED),
    ),
    "journal-first": Mutation(
        protection="a statement is journalled before it is sent",
        disabled="a manifest is published as soon as it is signed",
        where="agent/offload/settler.py",
        patches=[(StatementLoop, "run", mutants.be_known), (Settler, "_testify", mutants.publish_at_once)],
        targets=Targets((Kind.CRASH, Kind.IO_ERROR), machine=_STATION, path="journal.sqlite"),
        seed=7,
    ),
    "fresh-listing": Mutation(
        protection="a file is gone only if a listing made afterwards lacks it",
        disabled="what the erasing seemed to do counts, also after it was interrupted",
        where="agent/core/release.py",
        patches=[(agent.release.closing, "decide_kept", mutants.as_it_seemed)],
        targets=Targets((Kind.CRASH,), machine=_STATION, place="agent/offload/inventory.py _record: commit"),
        seed=2,
    ),
    "answer-last": Mutation(
        protection="an admission is answered when it is in the log",
        disabled="answered first, logged afterwards",
        where="collector/sequencer.py",
        patches=[(Sequencer, "_commit", mutants.answer_first)],
        targets=Targets((Kind.CRASH, Kind.POWER_CUT), machine=COLLECTOR),
    ),
    "one-answer": Mutation(
        protection="a promise is answered once",
        disabled="nobody asks what is answered already",
        where="collector/core/sequencing.py",
        patches=[
            (collector.core.sequencing, "identify", mutants.by_itself),
            (Sequencer, "_answered", lambda *_: {}),
        ],
        targets=Targets((Kind.DISK_FULL,), machine=COLLECTOR, place=_PROJECTED),
    ),
}


@contextmanager
def mutated(name: str | None) -> Iterator[None]:
    """The product without one protection while this lasts."""
    with ExitStack() as stack:
        for target, attribute, value in MUTATIONS[name].patches if name is not None else ():
            stack.enter_context(patch.object(target, attribute, value))
        yield
