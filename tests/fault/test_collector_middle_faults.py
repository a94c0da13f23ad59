"""Does every promise end in exactly one ``stored``, whatever file call fails and whenever the power goes?

A patient station delivers one visit: an inventory with its listing, two clips, a rendition. Each call of the file port
in that trip is failed in turn, or the power goes in the middle of it. Afterwards the log is read by other code, the
catalogue is compared with one made anew from the log, and every receipt is verified by the protocol alone.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from collector.catalogue import Catalogue, LoggedStatement
from collector.errors import CollectorError
from collector.listings import ListingBlobs
from collector.objects import CLASS_OF, ObjectClass
from collector.objects.directory import DirectoryObjectStore
from collector.receipts import ReceiptPendingError, StatementUnknownError
from protocol.digest import Digest
from protocol.dsse import Envelope
from protocol.entry import LogEntry
from protocol.listing import ListingRow, RowState, encode_listing
from protocol.receipt import Receipt
from protocol.statements import parse_statement, sign_statement, statement_id
from protocol.upload import Purpose
from protocol.verify import Promise, promised_blob, verify_receipt
from tests.support.catalogues import dump
from tests.support.collector_lab import LOG_KEY, Lab, World, running
from tests.support.evidence import AGENCY, STATION_SEED, inventory, manifest, rendition
from tests.support.fault_cases import cases

LISTING = b"".join(
    encode_listing(
        ListingRow(raw_path=name, size_bytes=5, modified_at=None, state=RowState.TO_READ)
        for name in (b"a.mp4", b"b.mp4")
    )
)


STRIDE = int(os.environ.get("ZHILU_FAULT_STRIDE", "8"))
"""Every so many calls one is failed, alternately refused and performed; 1 tries them all."""

FIRST = int(os.environ.get("ZHILU_FAULT_FIRST", "0"))


@dataclass(frozen=True)
class Delivery:
    """A statement and the bytes it promises."""

    envelope: Envelope
    purpose: Purpose
    content: bytes

    @property
    def id(self) -> Digest:
        return statement_id(self.envelope)

    @property
    def digest(self) -> Digest:
        return Digest.of(self.content)


def deliver_what() -> list[Delivery]:
    listed = replace(inventory(), listing=Digest.of(LISTING), listing_size_bytes=len(LISTING))
    made: list[Delivery] = []

    def add(promise: Promise, purpose: Purpose, content: bytes) -> Digest:
        assert promised_blob(promise) == (Digest.of(content), len(content))
        made.append(Delivery(sign_statement(promise, STATION_SEED), purpose, content))
        return made[-1].id

    inventory_id = add(listed, Purpose.LISTING, LISTING)
    clip = manifest(b"first", inventory_id, 11, row=0)
    clip_id = add(clip, Purpose.ORIGINAL, b"first")
    add(manifest(b"second", inventory_id, 12, row=1), Purpose.ORIGINAL, b"second")
    add(rendition(b"playable", clip.digest, clip_id), Purpose.RENDITION, b"playable")
    return made


DELIVERIES = deliver_what()


async def deliver(lab: Lab, delivery: Delivery) -> Receipt:
    """As a station does: again and again until there is a receipt, or the collector has died."""
    while True:
        try:
            with suppress(ReceiptPendingError, StatementUnknownError):
                return await lab.receipts.make(delivery.id)
            results = (await lab.answer(delivery.envelope)).results
            assert [result.outcome for result in results] == ["admitted"]
            if not any(upload.actual == delivery.digest for upload in lab.staging.all()):
                await lab.upload(delivery.content, delivery.purpose)
            await lab.idle()
        except CollectorError as error:
            if lab.world.files.dark or not error.retryable:
                raise
        await asyncio.sleep(0.005)


async def deliver_all(lab: Lab) -> None:
    async with asyncio.TaskGroup() as group:
        for delivery in DELIVERIES:
            group.create_task(deliver(lab, delivery))


async def check(lab: Lab) -> None:
    """The pass mark: log, catalogue and receipts agree, each promise is kept once, nothing is left in staging."""
    world = lab.world
    for delivery in DELIVERIES:
        verify_receipt(await lab.receipts.make(delivery.id), LOG_KEY.verifier)
        stat = await lab.objects.verify(AGENCY, CLASS_OF[delivery.purpose], delivery.digest)
        assert stat.size_bytes == len(delivery.content)
    entries = await asyncio.to_thread(world.check_log)
    kinds = Counter(entry.kind for entry in entries)
    assert kinds == {"enrolled": 2, "inventory": 1, "manifest": 2, "rendition": 1, "stored": 4}
    assert len({entry.statement for entry in entries}) == len(entries)
    assert [upload for upload in lab.staging.all() if upload.is_complete] == []
    await asyncio.to_thread(lab.catalogue.catch_up)
    assert await replayed(world, entries) == await asyncio.to_thread(dump, world.catalogue_path)


async def replayed(world: World, entries: list[LogEntry]) -> object:
    """The whole content of a catalogue made from log and objects alone."""
    objects = DirectoryObjectStore(world.files, Path("/objects"))
    logged = []
    for index, entry in enumerate(entries):
        payload = await objects.read(entry.agency, ObjectClass.STATEMENTS, entry.statement)
        logged.append(LoggedStatement(index=index, entry=entry, statement=parse_statement(payload)))

    def make() -> object:
        path = world.folder / "replayed.sqlite"
        catalogue = Catalogue.open(path, read_listing=ListingBlobs(objects, loop))
        catalogue.apply(logged)
        catalogue.catch_up()
        catalogue.close()
        return dump(path)

    loop = asyncio.get_running_loop()
    return await asyncio.to_thread(make)


async def everything(lab: Lab) -> None:
    await deliver_all(lab)
    await lab.idle()
    await check(lab)


async def test_a_failed_call_is_survived(tmp_path: Path) -> None:
    async for at, performs, world in cases(tmp_path, everything, first=FIRST, stride=STRIDE):
        async with running(world) as lab:
            world.files.plan(at, performs=performs)
            await deliver_all(lab)
            await lab.idle()
            world.files.plan(None)
            await lab.storer.sweep()
            await lab.idle()
            await check(lab)


async def test_a_power_cut_is_survived(tmp_path: Path) -> None:
    async for at, performs, world in cases(tmp_path, everything, first=FIRST, stride=STRIDE):
        async with running(world, max_wait_s=0.2) as lab:
            world.files.plan(at, performs=performs, stays_dark=True)
            try:
                await deliver_all(lab)
            except* CollectorError:
                assert world.files.dark
        world.files.power_on()
        async with running(world) as lab:
            await deliver_all(lab)
            await lab.storer.sweep()
            await lab.idle()
            await check(lab)
