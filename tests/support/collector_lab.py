"""The collector's middle without its edges: sequencer, intake, storer and receipts over files that can lose power.

A ``World`` is what survives a restart: files, catalogue, clock. ``running`` is one run of the collector in it.
"""

from __future__ import annotations

import asyncio
import errno
import itertools
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import TypeVar

from prometheus_client import CollectorRegistry, Counter

from collector.catalogue import Catalogue, LoggedStatement
from collector.catalogue import Promise as KnownPromise
from collector.intake import Intake
from collector.listings import ListingBlobs
from collector.log.tile_files import TileFiles
from collector.log.writer import LogWriter
from collector.objects import ObjectClass
from collector.objects.directory import DirectoryObjectStore
from collector.receipts import Receipts
from collector.sequencer import MAX_WAIT_S, Sequencer
from collector.staged import StagedUpload
from collector.staging import Staging
from collector.storing import Storer
from collector.voice import Voice
from protocol import ed25519
from protocol.admission import Admission, AdmissionResult, open_admission
from protocol.checkpoint import Checkpoint, open_checkpoint
from protocol.digest import Digest
from protocol.dsse import Envelope
from protocol.entry import LogEntry
from protocol.ids import COLLECTOR
from protocol.log_reading import LogCopy, check_entries
from protocol.note import SignerKey
from protocol.statements import Enrolled, Manifest, Revoked, Statement, sign_statement, statement_id
from protocol.upload import Creation, Purpose
from protocol.verify import Promise, verify_receipt
from tests.support.bundles import File, bundle_of
from tests.support.evidence import (
    AGENCY,
    COLLECTOR_SEED,
    NOW,
    STATION,
    STATION_SEED,
    enrolled,
    header,
    inventory,
    manifest,
)
from tests.support.lossy_files import LossyFiles

LOG_KEY = SignerKey(name="log.example/zhilu", seed=b"l" * 32)
INVENTORY = inventory(rows=9)
INVENTORY_ID = statement_id(sign_statement(INVENTORY, STATION_SEED))
R = TypeVar("R")


def id_of(statement: Statement) -> Digest:
    """The statement's id; who signs makes no difference to it."""
    return statement_id(sign_statement(statement, STATION_SEED))


def clip(content: bytes = b"clip", number: int = 4) -> Manifest:
    """A manifest of a clip found by ``INVENTORY``."""
    return manifest(content, INVENTORY_ID, number)


class FailingFiles(LossyFiles):
    """Fails a call on demand: once, or for good until ``power_on`` (a power cut in the middle of it)."""

    def __init__(self) -> None:
        super().__init__()
        self.fail_at: int | None = None
        self.performs = False
        self.stays_dark = False
        self.dark = False

    def plan(self, at: int | None, *, performs: bool = False, stays_dark: bool = False) -> None:
        """Fail the call with this number, counted from now."""
        self.calls.clear()
        self.fail_at, self.performs, self.stays_dark = at, performs, stays_dark

    def power_on(self) -> None:
        """After a cut: what was not durable is gone."""
        self.dark, self.fail_at = False, None
        self.crash()

    def counted(self, verb: str, path: object, action: Callable[[], R]) -> R:
        if self.dark:
            raise OSError(errno.EIO, "no power")
        if len(self.calls) != self.fail_at:
            return super().counted(verb, path, action)
        self.calls.append((verb, str(path)))
        if self.performs:
            action()
        self.dark = self.stays_dark
        raise OSError(errno.EIO, "the test says so")


@dataclass
class World:
    """What a restart finds."""

    folder: Path
    files: FailingFiles = field(default_factory=FailingFiles)
    now: datetime = NOW
    numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1))
    published: list[Checkpoint] = field(default_factory=list)

    @property
    def log_folder(self) -> Path:
        return Path("/log")

    @property
    def catalogue_path(self) -> Path:
        return self.folder / "catalogue.sqlite"

    def log_copy(self) -> LogCopy:
        """The log as a stranger would fetch it."""
        tiles = TileFiles(self.log_folder, self.files)
        note = tiles.checkpoint()
        assert note is not None
        return LogCopy(note, tiles.read)

    def check_log(self) -> list[LogEntry]:
        """The whole log, after checking that it continues every checkpoint ever published."""
        copy = self.log_copy()
        newest = open_checkpoint(copy.checkpoint, LOG_KEY.verifier)
        check_entries(copy, [*self.published, newest], {})
        writer = LogWriter(TileFiles(self.log_folder, self.files), LOG_KEY)
        writer.reload()
        return [LogEntry.from_bytes(data) for _, data in writer.entries(0, newest.size)]

    def kinds(self) -> list[str]:
        """Kinds of all entries, in the order of the log, which is checked."""
        return [entry.kind for entry in self.check_log()]


@dataclass
class Lab:
    """One run of the collector's middle. ``announced`` are the receipts it would push."""

    world: World
    log: LogWriter
    tiles: TileFiles
    objects: DirectoryObjectStore
    catalogue: Catalogue
    staging: Staging
    sequencer: Sequencer
    voice: Voice
    receipts: Receipts
    intake: Intake
    storer: Storer
    counter: Counter
    announced: list[KnownPromise] = field(default_factory=list)

    async def answer(self, *envelopes: Envelope, station: str = STATION) -> Admission:
        """What the station is told."""
        envelope = await self.intake.answer(station, envelopes)
        admission = open_admission(envelope.to_bytes(), ed25519.public_from_seed(COLLECTOR_SEED))
        if admission.checkpoint is not None:
            self.world.published.append(open_checkpoint(admission.checkpoint, LOG_KEY.verifier))
        return admission

    async def admit(self, *statements: Statement, seed: bytes = STATION_SEED) -> tuple[AdmissionResult, ...]:
        return (await self.answer(*(sign_statement(statement, seed) for statement in statements))).results

    async def place(
        self,
        content: bytes,
        purpose: Purpose = Purpose.ORIGINAL,
        *,
        owner: str = STATION,
        agency: str = AGENCY,
    ) -> StagedUpload:
        """A complete upload in staging that nobody was told of."""
        return await asyncio.to_thread(self._place, content, purpose, owner, agency)

    def _place(self, content: bytes, purpose: Purpose, owner: str, agency: str) -> StagedUpload:
        creation = Creation(
            purpose=purpose, agency=agency, declared=None, size_bytes=len(content), metadata=None
        )
        upload_id, expires_at = f"{next(self.world.numbers):032x}", self.world.now + timedelta(days=1)
        upload = self.staging.create(creation, upload_id=upload_id, owner=owner, expires_at=expires_at)
        part = self.staging.part(upload.upload_id)
        part.write(content)
        return self.staging.commit(part, expires_at=expires_at)

    async def place_bundle(self, files: Sequence[File], *, cut_at: int | None = None) -> StagedUpload:
        """A bundle in staging that nobody was told of; incomplete if it is cut."""
        return await asyncio.to_thread(self._place_bundle, files, cut_at)

    def _place_bundle(self, files: Sequence[File], cut_at: int | None) -> StagedUpload:
        data = bundle_of(files)
        creation = Creation(
            purpose=Purpose.BUNDLE, agency=AGENCY, declared=None, size_bytes=len(data), metadata=None
        )
        upload_id, expires_at = f"{next(self.world.numbers):032x}", self.world.now + timedelta(days=1)
        upload = self.staging.create(creation, upload_id=upload_id, owner=STATION, expires_at=expires_at)
        part = self.staging.part(upload.upload_id)
        for start in range(0, len(data), 1000):
            part.write(data[:cut_at][start : start + 1000])
        return self.staging.commit(part, expires_at=expires_at)

    async def upload_bundle(self, files: Sequence[File]) -> StagedUpload:
        """As the upload service does it."""
        upload = await self.place_bundle(files)
        self.storer.upload_completed(upload)
        return upload

    async def upload(
        self,
        content: bytes,
        purpose: Purpose = Purpose.ORIGINAL,
        *,
        owner: str = STATION,
        agency: str = AGENCY,
    ) -> StagedUpload:
        """As the upload service does it."""
        upload = await self.place(content, purpose, owner=owner, agency=agency)
        self.storer.upload_completed(upload)
        return upload

    async def stored(self, statement: Digest) -> KnownPromise:
        """Waits until a promise is kept."""
        async with asyncio.timeout(20):
            while True:
                promise = await asyncio.to_thread(self.catalogue.promise, statement)
                if promise is not None and promise.stored_index is not None:
                    return promise
                await asyncio.sleep(0.005)

    async def idle(self) -> None:
        """Waits until the storer has nothing to do, or no power to do it."""
        async with asyncio.timeout(20):
            while self.storer.backlog and not self.world.files.dark:
                await asyncio.sleep(0.005)


@asynccontextmanager
async def running(
    world: World, *, storing: bool = True, sequencing: bool = True, max_wait_s: float = MAX_WAIT_S
) -> AsyncIterator[Lab]:
    """A run; ends as the real one does. The first one founds the log and enrols the station."""
    lab = await _start(world, max_wait_s)
    tasks = [asyncio.create_task(lab.sequencer.run())] if sequencing else []
    if storing:
        tasks.append(asyncio.create_task(lab.storer.run()))
    try:
        yield lab
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks) if tasks else None
        lab.catalogue.close()


async def found(world: World, *more: Statement) -> None:
    """Entry 0 and the station's enrolment, then ``more`` of the collector's own statements."""
    statements = [enrolled(COLLECTOR_SEED, name=COLLECTOR, agency=COLLECTOR), enrolled(STATION_SEED), *more]
    tiles = TileFiles(world.log_folder, world.files)
    tiles.prepare(str(LOG_KEY.verifier))
    log, objects = LogWriter(tiles, LOG_KEY), DirectoryObjectStore(world.files, Path("/objects"))
    for statement in statements:
        envelope = sign_statement(statement, COLLECTOR_SEED)
        await objects.put_bytes(statement.header.agency, ObjectClass.STATEMENTS, envelope.payload)
        log.append([LogEntry.of(envelope, statement).to_bytes()])
    world.published.append(log.checkpoint)


async def _start(world: World, max_wait_s: float) -> Lab:
    def clock() -> datetime:
        return world.now

    def committed(batch: Sequence[LoggedStatement]) -> None:
        lab.storer.statements_committed(batch)

    tiles, objects = (
        TileFiles(world.log_folder, world.files),
        DirectoryObjectStore(world.files, Path("/objects")),
    )
    tiles.prepare(str(LOG_KEY.verifier))
    log, staging = LogWriter(tiles, LOG_KEY), Staging(world.files, Path("/staging"))
    catalogue = Catalogue.open(
        world.catalogue_path, read_listing=ListingBlobs(objects, asyncio.get_running_loop())
    )
    counter = Counter("statements", "statements", ("kind", "outcome"), registry=CollectorRegistry())
    sequencer = Sequencer(
        log=log,
        objects=objects,
        catalogue=catalogue,
        clock=clock,
        interval_s=0,
        max_wait_s=max_wait_s,
        on_committed=committed,
    )
    voice = Voice(sequencer=sequencer, seed=COLLECTOR_SEED, clock=clock)
    announced: list[KnownPromise] = []
    lab = Lab(
        world=world,
        log=log,
        tiles=tiles,
        objects=objects,
        catalogue=catalogue,
        staging=staging,
        sequencer=sequencer,
        voice=voice,
        receipts=Receipts(log=log, objects=objects, catalogue=catalogue),
        intake=Intake(
            sequencer=sequencer, log=log, voice=voice, seed=COLLECTOR_SEED, clock=clock, counter=counter
        ),
        storer=Storer(
            staging=staging,
            objects=objects,
            catalogue=catalogue,
            voice=voice,
            announce=announced.extend,
            retry_s=0.01,
        ),
        counter=counter,
        announced=announced,
    )
    await asyncio.to_thread(staging.recover)
    await sequencer.recover()
    return lab


def revocation(of: Enrolled) -> Revoked:
    """The statement that ends what ``of`` began."""
    return Revoked(
        header=header(99, agency=of.header.agency, signer=COLLECTOR),
        name=of.name,
        key_digest=Digest.of(of.public_key),
        reason="stolen",
    )


async def receipted(lab: Lab, *promises: Promise) -> None:
    """Asserts that each promise is kept, once, that its receipt is good and that nothing complete stays staged."""
    for promise in promises:
        await lab.stored(id_of(promise))
        receipt = await lab.receipts.make(id_of(promise))
        assert verify_receipt(receipt, LOG_KEY.verifier).promise == promise
    await lab.idle()
    assert lab.world.kinds().count("stored") == len(promises)
    assert [upload for upload in lab.staging.all() if upload.is_complete] == []
