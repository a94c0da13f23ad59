"""What a bundle brought is stored member by member, together where it can be, whatever comes first."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from collector.objects import ObjectClass
from protocol.digest import Digest
from protocol.receipt import Receipt
from protocol.statements import Manifest
from protocol.upload import Purpose
from protocol.verify import verify_receipt
from tests.support.bundles import File
from tests.support.collector_lab import (
    INVENTORY,
    INVENTORY_ID,
    LOG_KEY,
    Lab,
    World,
    found,
    id_of,
    receipted,
    running,
)
from tests.support.evidence import AGENCY, manifest

COUNT = 12
FILES: list[File] = [(Purpose.ORIGINAL, b"photograph %d" % number) for number in range(COUNT)]
PHOTOS: list[Manifest] = [
    manifest(data, INVENTORY_ID, 100 + number, row=number % 9) for number, (_, data) in enumerate(FILES)
]


@pytest.fixture
async def world(tmp_path: Path) -> World:
    world = World(folder=tmp_path)
    await found(world)
    return world


@pytest.fixture
async def lab(world: World) -> AsyncIterator[Lab]:
    async with running(world) as lab:
        yield lab


async def test_statements_first(lab: Lab) -> None:
    await lab.admit(INVENTORY, *PHOTOS)
    await lab.upload_bundle(FILES)
    await receipted(lab, *PHOTOS)
    assert lab.staging.all() == []


async def test_bytes_first(lab: Lab) -> None:
    upload = await lab.upload_bundle(FILES)
    await lab.idle()
    assert lab.staging.find(upload.upload_id) == upload
    await lab.admit(INVENTORY, *PHOTOS)
    await receipted(lab, *PHOTOS)
    assert lab.staging.all() == []


async def test_a_bundle_waits_for_the_promise_of_its_last_member(lab: Lab) -> None:
    upload = await lab.upload_bundle(FILES)
    await lab.admit(INVENTORY, *PHOTOS[:-1])
    for photo in PHOTOS[:-1]:
        await lab.stored(id_of(photo))
    await lab.idle()
    assert lab.staging.find(upload.upload_id) == upload
    await lab.admit(PHOTOS[-1])
    await receipted(lab, *PHOTOS)
    assert lab.staging.all() == []


async def test_one_statement_for_each_and_no_batch_for_each(lab: Lab, world: World) -> None:
    await lab.admit(INVENTORY, *PHOTOS)
    before = lab.log.checkpoint.size
    world.files.calls.clear()
    await lab.upload_bundle(FILES)
    await receipted(lab, *PHOTOS)
    assert lab.log.checkpoint.size == before + COUNT
    assert sum(verb == "replace" and name == "checkpoint" for verb, name in world.files.calls) <= 2


async def test_a_member_damaged_in_staging_is_not_stored_and_the_others_are(lab: Lab, world: World) -> None:
    upload = await lab.place_bundle(FILES)
    damaged = lab.staging.blobs(upload)[5]
    world.files.overwrite(damaged.path, b"PHOTOGRAPH 5")
    lab.storer.upload_completed(upload)
    await lab.admit(INVENTORY, *PHOTOS)
    for photo in PHOTOS[:5] + PHOTOS[6:]:
        await lab.stored(id_of(photo))
    await lab.idle()
    assert not await lab.objects.exists(AGENCY, ObjectClass.ORIGINALS, damaged.digest)
    assert lab.staging.find(upload.upload_id) is None
    await lab.upload(FILES[5][1])
    await receipted(lab, *PHOTOS)


async def test_what_two_bundles_bring_is_stored_once(lab: Lab) -> None:
    await lab.upload_bundle(FILES)
    await lab.upload_bundle(FILES[::-1])
    await lab.admit(INVENTORY, *PHOTOS)
    await receipted(lab, *PHOTOS)
    await lab.upload_bundle(FILES)
    await lab.idle()
    assert lab.staging.all() == []


async def test_a_restart_takes_up_a_bundle(world: World) -> None:
    async with running(world, storing=False) as lab:
        await lab.upload_bundle(FILES)
        await lab.admit(INVENTORY, *PHOTOS)
    world.files.crash()
    async with running(world) as lab:
        await receipted(lab, *PHOTOS)
        assert lab.staging.all() == []


async def test_a_cut_bundle_keeps_whole_members_over_a_power_cut(world: World) -> None:
    async with running(world, storing=False) as lab:
        cut = await lab.place_bundle(FILES, cut_at=5_700)
        assert (len(cut.members), cut.offset_bytes) == (5, 5_120)
    world.files.crash()
    async with running(world, storing=False) as lab:
        assert lab.staging.find(cut.upload_id) == cut


async def test_receipts_of_many_share_one_checkpoint_and_name_what_is_missing(lab: Lab) -> None:
    await lab.admit(INVENTORY, *PHOTOS)
    await lab.upload_bundle(FILES[:-1])
    for photo in PHOTOS[:-1]:
        await lab.stored(id_of(photo))
    unknown = Digest.of(b"nobody said so")
    asked = [unknown, *map(id_of, PHOTOS), id_of(PHOTOS[0])]
    made = await lab.receipts.make_all(asked, frozenset({AGENCY}))
    assert (made.pending, made.unknown) == ((id_of(PHOTOS[-1]),), (unknown,))
    assert list(made.receipts) == [id_of(photo) for photo in PHOTOS[:-1]]
    for photo in PHOTOS[:-1]:
        receipt = Receipt.from_bytes(made.receipts[id_of(photo)])
        assert receipt.to_bytes() == made.receipts[id_of(photo)]
        assert verify_receipt(receipt, LOG_KEY.verifier).promise == photo
        assert receipt == await lab.receipts.make(id_of(photo))
    assert (await lab.receipts.make_all(asked, frozenset({"others"}))).unknown == tuple(dict.fromkeys(asked))


async def test_one_damaged_payload_withholds_no_other_receipt(lab: Lab, world: World) -> None:
    await lab.admit(INVENTORY, *PHOTOS)
    await lab.upload_bundle(FILES)
    await receipted(lab, *PHOTOS)
    hexed = id_of(PHOTOS[3]).hex
    world.files.overwrite(Path("/objects") / AGENCY / "statements" / hexed[:2] / hexed[2:4] / hexed, b"?")
    made = await lab.receipts.make_all([id_of(photo) for photo in PHOTOS])
    assert made.pending == (id_of(PHOTOS[3]),)
    assert len(made.receipts) == COUNT - 1


async def test_a_damaged_orphan_keeps_nobody_else_from_the_log(lab: Lab, world: World) -> None:
    """A batch that was never committed left a payload, and the disk has spoilt it since."""
    orphan = PHOTOS[3]
    hexed = id_of(orphan).hex
    place = Path("/objects") / AGENCY / "statements" / hexed[:2] / hexed[2:4]
    await asyncio.to_thread(world.files.make_folder, place)
    world.files.create(place / hexed).write(b"spoilt")
    results = await lab.admit(INVENTORY, *PHOTOS)
    assert [result.outcome for result in results] == ["admitted"] * 4 + ["refused"] + ["admitted"] * 8
    assert (results[4].code, results[4].retryable) == ("payload-damaged", True)
    assert [result.index for result in results if result.index is not None] == list(range(2, 14))
    world.files.remove(place / hexed)
    (again,) = await lab.admit(orphan)
    assert (again.outcome, again.index) == ("admitted", 14)


async def test_the_same_photograph_of_two_manifests_is_stored_for_both(lab: Lab) -> None:
    twin = replace(PHOTOS[0], row=8, header=replace(PHOTOS[0].header, nonce="f" * 32))
    await lab.admit(INVENTORY, *PHOTOS, twin)
    await lab.upload_bundle(FILES)
    await receipted(lab, *PHOTOS, twin)
