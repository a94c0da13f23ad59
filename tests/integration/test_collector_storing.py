"""Statements and bytes, in every order they can come, end in one ``stored`` and a receipt for each promise."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from collector.objects import ObjectClass
from collector.receipts import ReceiptPendingError, StatementUnknownError
from protocol.digest import Digest
from protocol.listing import ListingRow, RowState, encode_listing
from protocol.statements import Problem, sign_statement
from protocol.upload import Purpose
from protocol.verify import verify_receipt
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
    revocation,
    running,
)
from tests.support.evidence import (
    AGENCY,
    OTHER_SEED,
    STATION_SEED,
    enrolled,
    header,
    inventory,
    manifest,
    rendition,
)

SECOND_STATION = "station-2"
UNREADABLE = Problem(code="media-unreadable", detail="no streams")


@pytest.fixture
async def world(tmp_path: Path) -> World:
    world = World(folder=tmp_path)
    await found(world, enrolled(OTHER_SEED, name=SECOND_STATION))
    return world


@pytest.fixture
async def lab(world: World) -> AsyncIterator[Lab]:
    async with running(world) as lab:
        yield lab


async def test_statement_first(lab: Lab) -> None:
    await lab.admit(INVENTORY, clip())
    with pytest.raises(ReceiptPendingError):
        await lab.receipts.make(id_of(clip()))
    await lab.upload(b"clip")
    await receipted(lab, clip())


async def test_bytes_first(lab: Lab) -> None:
    upload = await lab.upload(b"clip")
    await lab.idle()
    assert lab.staging.find(upload.upload_id) == upload
    await lab.admit(INVENTORY, clip())
    await receipted(lab, clip())


async def test_both_at_once(lab: Lab) -> None:
    await asyncio.gather(lab.upload(b"clip"), lab.admit(INVENTORY), lab.admit(clip()))
    await receipted(lab, clip())


async def test_bytes_several_times(lab: Lab) -> None:
    await asyncio.gather(lab.admit(INVENTORY, clip()), *(lab.upload(b"clip") for _ in range(4)))
    await receipted(lab, clip())
    await lab.upload(b"clip")
    await receipted(lab, clip())


async def test_two_promises_of_the_same_bytes_are_each_kept(lab: Lab) -> None:
    await lab.admit(INVENTORY, clip(), clip(number=5))
    await lab.upload(b"clip")
    await receipted(lab, clip(), clip(number=5))


async def test_a_later_promise_of_stored_bytes_needs_no_upload(lab: Lab) -> None:
    await lab.admit(INVENTORY, clip())
    await lab.upload(b"clip")
    await lab.stored(id_of(clip()))
    await lab.admit(clip(number=5))
    await receipted(lab, clip(), clip(number=5))


async def test_two_stations_with_the_same_clip_need_one_upload(lab: Lab) -> None:
    head = header(3, signer=SECOND_STATION)
    second_inventory = replace(INVENTORY, header=head)
    second_clip = replace(clip(), header=replace(head, nonce="f" * 32), inventory=id_of(second_inventory))
    await lab.admit(INVENTORY, clip())
    said = [sign_statement(statement, OTHER_SEED) for statement in (second_inventory, second_clip)]
    await lab.answer(*said, station=SECOND_STATION)
    await lab.upload(b"clip", owner=SECOND_STATION)
    await lab.stored(id_of(clip()))
    await lab.stored(id_of(second_clip))
    await receipted(lab, clip(), second_clip)


async def test_the_purposes_do_not_mix(lab: Lab) -> None:
    """A recorder without files has an empty listing; an empty file is the same bytes and another object."""
    empty_card = replace(inventory(33, rows=1), listing=Digest.of(b""), listing_size_bytes=0)
    empty_clip = replace(manifest(b"", id_of(empty_card), 34), row=0)
    await lab.admit(empty_card)
    await lab.upload(b"", Purpose.LISTING)
    await lab.stored(id_of(empty_card))
    upload = await lab.upload(b"", Purpose.ORIGINAL)
    await lab.idle()
    assert lab.staging.find(upload.upload_id) == upload
    await lab.admit(empty_clip)
    await receipted(lab, empty_card, empty_clip)
    assert await lab.objects.exists(AGENCY, ObjectClass.ORIGINALS, Digest.of(b""))


async def test_listing_original_and_rendition_each_get_their_receipt(lab: Lab) -> None:
    listing = b"".join(
        encode_listing([ListingRow(raw_path=b"a", size_bytes=4, modified_at=None, state=RowState.TO_READ)])
    )
    listed = replace(inventory(40, rows=1), listing=Digest.of(listing), listing_size_bytes=len(listing))
    original = manifest(b"clip", id_of(listed), 41)
    playable = rendition(b"playable", original.digest, id_of(original))
    for content, purpose in (
        (listing, Purpose.LISTING),
        (b"clip", Purpose.ORIGINAL),
        (b"playable", Purpose.RENDITION),
    ):
        await lab.upload(content, purpose)
    await lab.admit(playable)
    await lab.admit(original)
    await lab.admit(listed)
    await receipted(lab, listed, original, playable)
    assert {promise.purpose for promise in lab.announced} == {"listing", "original", "rendition"}


async def test_a_wrong_size_in_one_promise_harms_nobody_else(lab: Lab) -> None:
    """Right digest, wrong size: such a promise cannot be kept, and the bytes are not to blame."""
    lying = replace(clip(number=5), size_bytes=5)
    upload = await lab.upload(b"clip")
    await lab.admit(INVENTORY, lying)
    await lab.idle()
    assert lab.staging.find(upload.upload_id) == upload
    await lab.admit(clip())
    await receipted(lab, clip())
    with pytest.raises(ReceiptPendingError):
        await lab.receipts.make(id_of(lying))


async def test_bytes_damaged_in_staging_are_never_stored(lab: Lab, world: World) -> None:
    upload = await lab.place(b"clip")
    world.files.overwrite(lab.staging.path(upload.upload_id), b"CLIP")
    lab.storer.upload_completed(upload)
    await lab.admit(INVENTORY, clip())
    await lab.idle()
    assert "stored" not in world.kinds()
    assert lab.staging.find(upload.upload_id) is None
    await lab.upload(b"clip")
    await receipted(lab, clip())


async def test_a_good_upload_stands_in_for_a_damaged_one(lab: Lab, world: World) -> None:
    damaged, good = await lab.place(b"clip"), await lab.place(b"clip")
    world.files.overwrite(lab.staging.path(damaged.upload_id), b"CLIP")
    lab.storer.upload_completed(damaged)
    lab.storer.upload_completed(good)
    await lab.admit(INVENTORY, clip())
    await receipted(lab, clip())


async def test_an_object_damaged_in_the_store_is_not_stored_again(lab: Lab, world: World) -> None:
    await lab.admit(INVENTORY, clip())
    await lab.upload(b"clip")
    await lab.stored(id_of(clip()))
    hexed = Digest.of(b"clip").hex
    path = Path("/objects") / AGENCY / "originals" / hexed[:2] / hexed[2:4] / hexed
    world.files.overwrite(path, b"CLIP")
    await lab.admit(clip(number=5))
    await lab.idle()
    with pytest.raises(ReceiptPendingError):
        await lab.receipts.make(id_of(clip(number=5)))


async def test_an_upload_that_ended_meanwhile_is_forgotten(lab: Lab) -> None:
    upload = await lab.upload(b"clip")
    await lab.idle()
    await asyncio.to_thread(lab.staging.remove, upload.upload_id)
    await lab.storer.sweep()
    await lab.admit(INVENTORY, clip())
    await lab.idle()
    assert "stored" not in lab.world.kinds()


async def test_many_clips_share_batches(lab: Lab, world: World) -> None:
    clips = [manifest(f"clip {n}".encode(), INVENTORY_ID, 100 + n) for n in range(60)]
    await lab.admit(INVENTORY)
    await asyncio.gather(
        *(lab.admit(promise) for promise in clips), *(lab.upload(f"clip {n}".encode()) for n in range(60))
    )
    await receipted(lab, *clips)


async def test_a_receipt_waits_for_what_its_statement_builds_on(lab: Lab) -> None:
    await lab.admit(clip())
    await lab.upload(b"clip")
    await lab.stored(id_of(clip()))
    with pytest.raises(ReceiptPendingError):
        await lab.receipts.make(id_of(clip()))
    await lab.admit(INVENTORY)
    verify_receipt(await lab.receipts.make(id_of(clip())), LOG_KEY.verifier)


async def test_no_receipt_for_what_is_unknown_or_promises_nothing(lab: Lab) -> None:
    failed = replace(rendition(b"", clip().digest, id_of(clip())), rendered=None, problem=UNREADABLE)
    await lab.admit(failed)
    for statement in (Digest.of(b"?"), id_of(failed)):
        with pytest.raises(StatementUnknownError):
            await lab.receipts.make(statement)


async def test_other_agencies_do_not_even_learn_that_a_receipt_is_pending(lab: Lab) -> None:
    await lab.admit(INVENTORY, clip())
    for agencies, error in (({"others"}, StatementUnknownError), ({AGENCY}, ReceiptPendingError)):
        with pytest.raises(error):
            await lab.receipts.make(id_of(clip()), frozenset(agencies))


async def test_a_receipt_tells_of_a_later_revocation(lab: Lab) -> None:
    await lab.admit(INVENTORY, clip())
    await lab.upload(b"clip")
    await lab.stored(id_of(clip()))
    before = await lab.receipts.make(id_of(clip()))
    await lab.voice.say(revocation(enrolled(STATION_SEED)))
    after = await lab.receipts.make(id_of(clip()))
    assert len(after.items) == len(before.items) + 1
    verify_receipt(after, LOG_KEY.verifier)


async def test_what_the_store_lost_comes_back_with_bytes_somebody_still_has(lab: Lab, world: World) -> None:
    await lab.admit(INVENTORY, clip())
    await lab.upload(b"clip")
    await lab.stored(id_of(clip()))
    await lab.idle()
    digest = Digest.of(b"clip")
    world.files.remove(Path(f"/objects/{AGENCY}/originals/{digest.hex[:2]}/{digest.hex[2:4]}/{digest.hex}"))
    assert not await lab.objects.exists(AGENCY, ObjectClass.ORIGINALS, digest)
    await lab.upload(b"clip")
    await lab.idle()
    assert await lab.objects.read(AGENCY, ObjectClass.ORIGINALS, digest) == b"clip"
    await receipted(lab, clip())
