"""The collector's middle on its unhappy days: failed batches, lost payloads, restarts between any two steps."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from collector.core.admission import Candidate, Known
from collector.errors import CollectorError, StorageError
from collector.log.tile_files import LogForkError, TileFiles
from collector.log.writer import LogWriter
from collector.objects import ObjectClass
from collector.sequencer import LogBusyError, LogRolledBackError, SequencerStoppedError
from protocol.digest import Digest
from protocol.errors import EnrolmentError
from protocol.listing import ListingRow, RowState, encode_listing
from protocol.statements import Custody, sign_statement
from protocol.upload import Purpose
from tests.support.collector_lab import (
    INVENTORY,
    INVENTORY_ID,
    LOG_KEY,
    Lab,
    World,
    clip,
    found,
    id_of,
    receipted,
    running,
)
from tests.support.evidence import (
    AGENCY,
    STATION,
    STATION_SEED,
    inventory,
)


@pytest.fixture
async def world(tmp_path: Path) -> World:
    world = World(folder=tmp_path)
    await found(world)
    return world


@pytest.fixture
async def lab(world: World) -> AsyncIterator[Lab]:
    async with running(world) as lab:
        yield lab


async def test_failed_batch_is_retryable_and_the_log_recovers(lab: Lab, world: World) -> None:
    world.files.plan(0)
    with pytest.raises(StorageError) as failed:
        await lab.admit(INVENTORY)
    assert failed.value.retryable
    assert (await lab.admit(INVENTORY))[0].index == 2
    assert lab.sequencer.works


async def test_while_the_log_cannot_be_written_senders_are_told_and_health_shows_it(world: World) -> None:
    async with running(world, max_wait_s=0.05) as lab:
        world.files.dark = True
        with pytest.raises((StorageError, LogBusyError)) as told:
            await lab.admit(INVENTORY)
        with pytest.raises(LogBusyError) as busy:
            await lab.admit(INVENTORY)
        assert told.value.retryable
        assert busy.value.retryable
        assert not lab.sequencer.works
        world.files.dark = False
        async with asyncio.timeout(20):
            while not lab.sequencer.works:
                await asyncio.sleep(0.01)
            index = None
            while index is None:
                with suppress(
                    LogBusyError
                ):  # on a busy machine: it may have been taken, so it is asked again
                    index = (await lab.admit(INVENTORY))[0].index
        assert index == 2


async def test_statements_reported_failed_but_stored_are_acted_on(lab: Lab, world: World) -> None:
    """The catalogue could not be written: the log has the promise, and nobody will say it again."""
    await lab.upload(b"clip")
    await lab.admit(INVENTORY)
    await lab.idle()
    with closing(sqlite3.connect(world.catalogue_path)) as connection:
        connection.execute(
            "CREATE TRIGGER refuse BEFORE INSERT ON clips BEGIN SELECT RAISE(ABORT, 'no'); END"
        )
        connection.commit()
        with pytest.raises(StorageError):
            await lab.admit(clip())
        assert not lab.sequencer.works
        connection.execute("DROP TRIGGER refuse")
        connection.commit()
    await receipted(lab, clip())


async def test_a_second_writer_stops_the_sequencer(world: World) -> None:
    async with running(world, sequencing=False) as lab:
        run = asyncio.create_task(lab.sequencer.run())
        await lab.admit(INVENTORY)
        intruder = LogWriter(TileFiles(world.log_folder, world.files), LOG_KEY)
        intruder.reload()
        intruder.append([b"x"])
        with pytest.raises(CollectorError) as refused:
            await lab.admit(clip())
        assert refused.value.retryable
        with pytest.raises(LogForkError):
            await run
        with pytest.raises(SequencerStoppedError):
            await lab.admit(clip())
        assert not lab.sequencer.works


async def test_an_old_copy_of_the_log_is_not_continued(world: World, tmp_path: Path) -> None:
    async with running(world) as lab:
        await lab.admit(INVENTORY)
    other = World(folder=tmp_path)
    await found(other)
    with pytest.raises(LogRolledBackError):
        async with running(other):
            pass


async def test_nobody_hangs_when_the_sequencer_stops(world: World) -> None:
    """Some wait in the batch being gathered, some in the queue, some for room in the queue."""
    async with running(world, storing=False, sequencing=False) as lab:
        run = asyncio.create_task(lab.sequencer.run())
        waiting = [
            asyncio.create_task(lab.sequencer.submit(Candidate.read(sign_statement(INVENTORY, STATION_SEED))))
            for _ in range(5000)
        ]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        run.cancel()
        async with asyncio.timeout(20):
            outcomes = await asyncio.gather(*waiting, return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} <= {Known, SequencerStoppedError}
        assert SequencerStoppedError in {type(outcome) for outcome in outcomes}


async def test_a_batch_once_begun_is_answered_although_the_sequencer_is_cancelled(world: World) -> None:
    async with running(world, storing=False, sequencing=False) as lab:
        run = asyncio.create_task(lab.sequencer.run())
        world.files.plan(None)
        answer = asyncio.create_task(lab.admit(INVENTORY))
        while not world.files.calls:  # the payload is being written
            await asyncio.sleep(0)
        run.cancel()
        assert (await answer)[0].index == 2
        with pytest.raises(asyncio.CancelledError):
            await run
        assert lab.catalogue.projected_size() == 3
    assert world.kinds()[-1] == "inventory"


async def test_a_lost_payload_does_not_keep_the_log_from_being_read(world: World, tmp_path: Path) -> None:
    async with running(world) as lab:
        await lab.admit(INVENTORY, clip(), inventory(77))
    lost = id_of(INVENTORY)
    hexed = lost.hex
    world.files.remove(Path("/objects") / AGENCY / "statements" / hexed[:2] / hexed[2:4] / hexed)
    world.catalogue_path.unlink()
    async with running(world) as lab:
        assert lab.catalogue.projected_size() == 5
        assert lab.catalogue.promise(lost) is None
        assert lab.catalogue.promise(id_of(clip())) is not None


@pytest.mark.parametrize("damage", [None, b"", b'{"path":"b"}\n'])
async def test_a_lost_listing_does_not_keep_the_log_from_being_read(
    world: World, damage: bytes | None
) -> None:
    listing = b"".join(
        encode_listing([ListingRow(raw_path=b"a", size_bytes=4, modified_at=None, state=RowState.TO_READ)])
    )
    listed = replace(inventory(40, rows=1), listing=Digest.of(listing), listing_size_bytes=len(listing))
    async with running(world) as lab:
        await lab.admit(listed)
        await lab.upload(listing, Purpose.LISTING)
        await lab.stored(id_of(listed))
    hexed = Digest.of(listing).hex
    path = Path("/objects") / AGENCY / "listings" / hexed[:2] / hexed[2:4] / hexed
    if damage is None:
        world.files.remove(path)
    else:
        world.files.overwrite(path, damage)
    world.catalogue_path.unlink()
    async with running(world) as lab:
        assert lab.catalogue.projected_size() == 4
        await asyncio.to_thread(lab.catalogue.catch_up)
        found = lab.catalogue.visit(listed.visit, None)
        assert found is not None
        assert found.inventories[0].listing == "unusable"
        assert (await lab.admit(clip()))[0].outcome == "admitted"


async def test_a_restart_between_any_two_steps_is_finished_by_the_sweep(world: World) -> None:
    async with running(world, storing=False) as lab:
        await lab.place(b"clip")
    async with running(world, storing=False) as lab:
        await lab.admit(INVENTORY, clip())
    async with running(world, storing=False) as lab:
        upload = lab.staging.all()[0]
        await lab.objects.adopt(
            lab.staging.path(upload.upload_id), AGENCY, ObjectClass.ORIGINALS, clip().digest, 4
        )
    async with running(world) as lab:
        await receipted(lab, clip())
    async with running(world, storing=False) as lab:
        await lab.place(b"clip")  # as if the staged name had come back
    async with running(world) as lab:
        await receipted(lab, clip())


async def test_a_restart_after_adoption_needs_no_upload(world: World) -> None:
    """The object lies there, the staged name is gone, ``stored`` was never said."""
    async with running(world, storing=False) as lab:
        await lab.admit(INVENTORY, clip())
        upload = await lab.place(b"clip")
        await lab.objects.adopt(
            lab.staging.path(upload.upload_id), AGENCY, ObjectClass.ORIGINALS, clip().digest, 4
        )
        await asyncio.to_thread(lab.staging.remove, upload.upload_id)
    async with running(world) as lab:
        await receipted(lab, clip())


async def test_the_voice_says_who_refused(lab: Lab) -> None:
    event = Custody(
        header=lab.voice.header(AGENCY),
        event="unreadable",
        item=INVENTORY_ID,
        item_name="listing",
        actor=STATION,
        details={},
    )
    with pytest.raises(EnrolmentError):
        await lab.voice.say(event)
