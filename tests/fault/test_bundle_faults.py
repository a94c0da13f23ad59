"""Does a bundle of photographs survive whatever file call fails and whenever the power goes, each stored exactly once?

A patient station announces six photographs and sends them in one bundle, in two parts. Each call of the file port on
that way is failed in turn, or the power goes in the middle of it.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from datetime import timedelta
from pathlib import Path

from collector.errors import CollectorError
from collector.objects import ObjectClass
from collector.staged import StagedUpload
from protocol.digest import Digest
from protocol.errors import UploadError
from protocol.receipt import Receipt
from protocol.statements import Statement, sign_statement
from protocol.upload import Creation, Purpose
from protocol.verify import verify_receipt
from tests.support.bundles import File, bundle_of
from tests.support.collector_lab import INVENTORY, INVENTORY_ID, LOG_KEY, Lab, id_of, running
from tests.support.evidence import AGENCY, STATION, STATION_SEED, manifest
from tests.support.fault_cases import cases

STRIDE = int(os.environ.get("ZHILU_FAULT_STRIDE", "24"))
"""Every so many calls one is failed, alternately refused and performed; 1 tries them all."""

FIRST = int(os.environ.get("ZHILU_FAULT_FIRST", "0"))

FILES: list[File] = [(Purpose.ORIGINAL, b"photograph %d" % number * 60) for number in range(6)]
PHOTOS = [manifest(data, INVENTORY_ID, 100 + number, row=number) for number, (_, data) in enumerate(FILES)]
STATEMENTS: list[Statement] = [INVENTORY, *PHOTOS]
ENVELOPES = [sign_statement(statement, STATION_SEED) for statement in STATEMENTS]
BUNDLE = bundle_of(FILES)


def begin(lab: Lab) -> StagedUpload:
    creation = Creation(
        purpose=Purpose.BUNDLE, agency=AGENCY, declared=None, size_bytes=len(BUNDLE), metadata=None
    )
    upload_id = f"{next(lab.world.numbers):032x}"
    expires_at = lab.world.now + timedelta(days=1)
    return lab.staging.create(creation, upload_id=upload_id, owner=STATION, expires_at=expires_at)


def send(lab: Lab) -> StagedUpload:
    """Goes on with the bundle that is in staging, or begins one."""
    upload = next(iter(lab.staging.all()), None) or begin(lab)
    while not upload.is_complete:
        part = lab.staging.part(upload.upload_id)
        try:
            part.write(BUNDLE[upload.offset_bytes :][:3_500])
        except CollectorError:
            lab.staging.roll_back(part)
            raise
        upload = lab.staging.commit(part, expires_at=upload.expires_at)
    return upload


async def deliver(lab: Lab) -> list[Receipt]:
    """As a station does: again and again until there are receipts, or the collector has died."""
    while True:
        try:
            made = await lab.receipts.make_all([id_of(photo) for photo in PHOTOS])
            if len(made.receipts) == len(PHOTOS):
                return [Receipt.from_bytes(data) for data in made.receipts.values()]
            assert {result.outcome for result in (await lab.answer(*ENVELOPES)).results} == {"admitted"}
            lab.storer.upload_completed(await asyncio.to_thread(send, lab))
            await lab.idle()
        except (CollectorError, UploadError) as error:
            if lab.world.files.dark or not error.retryable:
                raise
        await asyncio.sleep(0.005)


async def check(lab: Lab) -> None:
    """Log, store and receipts agree, each promise is kept once, nothing is left in staging."""
    promises = [verify_receipt(receipt, LOG_KEY.verifier).promise for receipt in await deliver(lab)]
    assert promises == PHOTOS
    for _, data in FILES:
        await lab.objects.verify(AGENCY, ObjectClass.ORIGINALS, Digest.of(data))
    entries = await asyncio.to_thread(lab.world.check_log)
    assert Counter(entry.kind for entry in entries) == {
        "enrolled": 2,
        "inventory": 1,
        "manifest": 6,
        "stored": 6,
    }
    await lab.storer.sweep()
    await lab.idle()
    assert [upload for upload in lab.staging.all() if upload.is_complete] == []


async def everything(lab: Lab) -> None:
    await deliver(lab)
    await check(lab)


async def test_a_failed_call_is_survived(tmp_path: Path) -> None:
    async for at, performs, world in cases(tmp_path, everything, first=FIRST, stride=STRIDE):
        async with running(world) as lab:
            world.files.plan(at, performs=performs)
            await deliver(lab)
            world.files.plan(None)
            await check(lab)


async def test_a_power_cut_is_survived(tmp_path: Path) -> None:
    async for at, performs, world in cases(tmp_path, everything, first=FIRST, stride=STRIDE):
        async with running(world, max_wait_s=0.2) as lab:
            world.files.plan(at, performs=performs, stays_dark=True)
            try:
                await deliver(lab)
            except CollectorError:
                assert world.files.dark
        world.files.power_on()
        async with running(world) as lab:
            await check(lab)
