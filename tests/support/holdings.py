"""A collector's data directory with real holdings, made without a network: founded, filled and left."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

from collector.catalogue import Catalogue
from collector.clock import utc_now
from collector.config import CollectorConfig
from collector.core.admission import Candidate, Known
from collector.files import PosixFiles
from collector.founding import found, open_log
from collector.keys import CollectorKeys
from collector.listings import ListingBlobs
from collector.log.tile_files import WriterLease
from collector.objects import ObjectClass
from collector.objects.directory import DirectoryObjectStore
from collector.sequencer import Sequencer
from collector.voice import Voice
from protocol import ed25519
from protocol.digest import Digest
from protocol.listing import ListingRow, RowState
from protocol.statements import Enrolled, Header, Inventory, Manifest, Statement, Stored, sign_statement
from protocol.statements import statement_id as id_of_envelope
from tests.support import evidence
from tests.support.processes import free_port

AGENCY: Final = "jing-an"
STATION: Final = "dock-1"
_SEED: Final = evidence.STATION_SEED


def found_collector(folder: Path, *, name: str = "kept") -> CollectorConfig:
    """Keys, CA, log of one entry, settings."""
    config = CollectorConfig(
        data_dir=folder,
        name=name,
        agencies=(AGENCY,),
        host="127.0.0.1",
        names=("127.0.0.1",),
        http_port=free_port(),
        mqtt_port=free_port(),
    )
    asyncio.run(found(config, utc_now()))
    return config


def stock(config: CollectorConfig, *clips: bytes) -> Sequence[Digest]:
    """One visit that brought these clips, all of it stored; the ids of their manifests."""

    async def fill() -> Sequence[Digest]:
        async with at_work(config) as collector:
            return await collector.take_in(*clips)

    return asyncio.run(fill())


class Holder:
    """A collector's sequencer, objects and voice at work."""

    def __init__(
        self, sequencer: Sequencer, objects: DirectoryObjectStore, voice: Voice, catalogue: Catalogue
    ) -> None:
        self._sequencer = sequencer
        self._objects = objects
        self._voice = voice
        self.catalogue = catalogue

    async def take_in(self, *clips: bytes) -> Sequence[Digest]:
        """Inventory, manifests, listing and originals of one visit."""
        if self.catalogue.station_key(STATION) is None:
            await self._enrol()
        visit = secrets.token_hex(16)
        listing = b"".join(
            ListingRow(
                raw_path=b"%d.mp4" % row, size_bytes=len(clip), modified_at=None, state=RowState.TO_READ
            ).to_bytes()
            for row, clip in enumerate(clips)
        )
        inventory = replace(
            evidence.inventory(rows=len(clips)),
            header=_header(),
            listing=Digest.of(listing),
            listing_size_bytes=len(listing),
            visit=visit,
        )
        of = await self._say(inventory)
        await self._store(of, inventory, ObjectClass.LISTINGS, "listing", listing)
        return [await self._take_in(clip, row, of, visit) for row, clip in enumerate(clips)]

    async def _take_in(self, clip: bytes, row: int, of: Digest, visit: str) -> Digest:
        manifest = replace(evidence.manifest(clip, of, row=row), header=_header(), visit=visit)
        identity = await self._say(manifest)
        await self._store(identity, manifest, ObjectClass.ORIGINALS, "original", clip)
        return identity

    async def _say(self, statement: Statement) -> Digest:
        envelope = sign_statement(statement, _SEED)
        assert isinstance(await self._sequencer.submit(Candidate.read(envelope)), Known)
        return id_of_envelope(envelope)

    async def _store(
        self, of: Digest, promise: Inventory | Manifest, cls: ObjectClass, purpose: str, content: bytes
    ) -> None:
        digest = await self._objects.put_bytes(AGENCY, cls, content)
        header = self._voice.header(AGENCY)
        await self._voice.say(
            Stored(
                header=header,
                digest=digest,
                size_bytes=len(content),
                purpose=purpose,
                statement=of,
                stored_at=header.issued_at,
            )
        )

    async def _enrol(self) -> None:
        await self._voice.say(
            Enrolled(
                header=self._voice.header(AGENCY),
                role="station",
                name=STATION,
                public_key=ed25519.public_from_seed(_SEED),
            )
        )


@asynccontextmanager
async def at_work(config: CollectorConfig) -> AsyncIterator[Holder]:
    """The log, the objects and the catalogue of a founded collector, written by its own sequencer."""
    lease = WriterLease(config.log_dir)
    keys = CollectorKeys.load(config.keys_dir)
    log, _ = open_log(config, keys)
    objects = DirectoryObjectStore(PosixFiles(), config.objects_dir)
    catalogue = Catalogue.open(
        config.catalogue_path, read_listing=ListingBlobs(objects, asyncio.get_running_loop())
    )
    sequencer = Sequencer(log=log, objects=objects, catalogue=catalogue, clock=utc_now, interval_s=0)
    try:
        await sequencer.recover()
        task = asyncio.create_task(sequencer.run())
        voice = Voice(sequencer=sequencer, seed=keys.statement_seed, clock=utc_now)
        yield Holder(sequencer, objects, voice, catalogue)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        await asyncio.to_thread(catalogue.catch_up)
    finally:
        catalogue.close()
        lease.release()


def _header() -> Header:
    return Header(agency=AGENCY, signer=STATION, issued_at=utc_now(), nonce=secrets.token_hex(16))
