"""Is exactly that erased from a recorder which is stored, was announced and is unchanged, and is it said so?"""

from __future__ import annotations

import asyncio
import errno
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import NoReturn

import pytest

from agent.core.bay import BayState
from agent.core.release import ReleaseSettings
from agent.release import announcing
from agent.spool.journal import Journal
from protocol.claims import Claim
from protocol.digest import Digest
from protocol.statements import Inventory, Manifest, Released, ReleaseIntent
from tests.support.lossy_spool import LossySpool
from tests.support.memory_volume import MemoryVolume
from tests.support.release_lab import (
    CLIP,
    FILES,
    PHOTO,
    SYSTEM,
    Centre,
    intents,
    inventory_ids,
    release_tools,
    released_by,
    releases,
    run_release,
)
from tests.support.visit_lab import inventories, manifests, run_visit, statements


async def test_a_recorder_is_handed_back_empty_and_every_step_is_signed(
    journal: Journal, spool: LossySpool, centre: Centre
) -> None:
    volume = MemoryVolume(FILES, label="ZFY0001")
    tile = await run_release(volume, release_tools(journal, centre), centre, spool)
    assert tile.state is BayState.RELEASED
    assert set(volume.files) == {SYSTEM}
    kinds = [type(said) for _, said in statements(journal)]
    assert kinds == [Inventory, Manifest, Manifest, ReleaseIntent, Inventory, Released]
    first, second = inventories(journal)
    assert (first.visit, first.rows, first.sequence) == (second.visit, 3, 1)
    assert (second.rows, second.sequence, second.profile) == (1, 2, first.profile)
    assert second.recorder == first.recorder is not None
    ((intent_id, intent),) = intents(journal)
    assert intent.inventory == inventory_ids(journal)[0]
    assert {item.manifest for item in intent.items} == {
        name for name, said in statements(journal) if isinstance(said, Manifest)
    }
    (released,) = releases(journal)
    assert (released.intent, released.kept) == (intent_id, ())
    assert released.inventory_after == inventory_ids(journal)[1]
    assert tile.status(journal).files_released == 2
    assert journal.open_intents() == []
    assert journal.unsettled_statements(10) == []


async def test_the_tile_says_what_is_going_on(journal: Journal, spool: LossySpool, centre: Centre) -> None:
    tile = await run_release(
        MemoryVolume(FILES, label="ZFY0001"), release_tools(journal, centre), centre, spool
    )
    after_reading = tile.steps[tile.steps.index(BayState.DELIVERING) :]
    assert after_reading == [
        BayState.DELIVERING,
        BayState.RELEASABLE,
        BayState.RELEASING,
        BayState.RELEASED,
    ]


async def test_a_station_that_does_not_release_never_opens_a_volume_for_writing(
    journal: Journal, spool: LossySpool, centre: Centre
) -> None:
    class ReadOnly(MemoryVolume):
        def open_for_release(self) -> NoReturn:
            raise AssertionError("release is off")

    tools = replace(release_tools(journal, centre), release=None)
    tile = await run_release(ReadOnly(FILES, label="ZFY0001"), tools, centre, spool)
    assert tile.state is BayState.DONE
    assert intents(journal) == []


async def test_a_family_that_must_not_be_released_is_never_opened_for_writing(
    journal: Journal, spool: LossySpool, centre: Centre
) -> None:
    """A network drop: whoever uploads into it would send everything once more."""

    class ReadOnly(MemoryVolume):
        def open_for_release(self) -> NoReturn:
            raise AssertionError("the family is not released")

    files = {**FILES, b"zhilu-recorder.txt": b"recorder = ZFY0001\n"}
    tile = await run_release(ReadOnly(files), release_tools(journal, centre), centre, spool)
    assert tile.state is BayState.DONE
    assert intents(journal) == []
    (inventory,) = inventories(journal)
    assert inventory.profile.startswith("network_drop@")
    assert inventory.recorder == Claim("ZFY0001", "marker file")


async def test_nothing_is_erased_before_the_intent_is_admitted(
    journal: Journal, spool: LossySpool, centre: Centre
) -> None:
    centre.silent.add("release-intent")
    volume = MemoryVolume(FILES, label="ZFY0001")
    async with released_by(volume, release_tools(journal, centre), centre, spool) as (_, tile):
        await tile.reached({BayState.RELEASABLE})
        await asyncio.sleep(0.05)
        assert set(volume.files) == set(FILES)
        centre.silent.clear()
        await tile.reached({BayState.RELEASED})
    assert set(volume.files) == {SYSTEM}


@pytest.mark.parametrize("silent", ["inventory", "manifest"])
async def test_nothing_is_announced_before_all_of_a_visit_is_receipted(
    journal: Journal, spool: LossySpool, centre: Centre, silent: str
) -> None:
    centre.silent.add(silent)
    volume = MemoryVolume(FILES, label="ZFY0001")
    async with released_by(volume, release_tools(journal, centre), centre, spool) as (_, tile):
        await tile.reached({BayState.DELIVERING})
        await asyncio.sleep(0.05)
        assert tile.state is BayState.DELIVERING
        assert intents(journal) == []
        centre.silent.clear()
        await tile.reached({BayState.RELEASED})


async def test_a_refused_intent_erases_nothing_and_calls_a_person(
    journal: Journal, spool: LossySpool, centre: Centre
) -> None:
    centre.refuses["release-intent"] = "key-revoked"
    volume = MemoryVolume(FILES, label="ZFY0001")
    tile = await run_release(volume, release_tools(journal, centre), centre, spool)
    assert (tile.state, tile.status(journal).problem_code) == (
        BayState.NOT_RELEASED,
        "release-intent-refused",
    )
    assert set(volume.files) == set(FILES)
    assert releases(journal) == []
    assert journal.open_intents() == []


@pytest.mark.parametrize(("fault", "code"), [("read_only", "volume-read-only"), ("dirty", "volume-dirty")])
async def test_a_volume_that_must_not_be_written_keeps_everything(
    journal: Journal, spool: LossySpool, centre: Centre, fault: str, code: str
) -> None:
    volume = MemoryVolume(FILES, label="ZFY0001")
    setattr(volume, fault, True)
    tile = await run_release(volume, release_tools(journal, centre), centre, spool)
    assert (tile.state, tile.status(journal).problem_code) == (BayState.NOT_RELEASED, code)
    assert set(volume.files) == set(FILES)
    (released,) = releases(journal)
    assert [row.code for row in released.kept] == [code, code]
    assert released.inventory_after == inventory_ids(journal)[0]


async def test_a_new_clip_of_the_same_name_is_read_not_erased(
    journal: Journal, spool: LossySpool, centre: Centre
) -> None:
    """It appears after the intent was signed."""
    volume = MemoryVolume(FILES, label="ZFY0001")
    centre.silent.add("release-intent")
    async with released_by(volume, release_tools(journal, centre), centre, spool) as (_, tile):
        await tile.reached({BayState.RELEASABLE})
        volume.put(CLIP, b"another clip")
        centre.silent.clear()
        await tile.reached({BayState.RELEASED})
    new = [said for said in manifests(journal) if said.digest == Digest.of(b"another clip")]
    assert len(new) == 1
    assert new[0].digest in centre.stored()
    first, second = releases(journal)
    assert [row.code for row in first.kept] == ["file-changed"]
    assert second.kept == ()
    assert set(volume.files) == {SYSTEM}


async def test_a_new_clip_of_the_same_name_size_time_and_inode_is_read_not_erased(
    journal: Journal, spool: LossySpool, centre: Centre
) -> None:
    """A recorder with a dead clock, between two visits: only its bytes tell."""
    volume = MemoryVolume({CLIP: b"first clip"}, label="ZFY0001")
    await run_visit(volume, replace(release_tools(journal, centre), release=None))
    await asyncio.to_thread(
        journal.close_visit, journal.open_visits()[0].visit, release_tools(journal, centre).clock()
    )
    volume.files[CLIP].data = b"other clip"
    tile = await run_release(volume, release_tools(journal, centre, ids="again"), centre, spool)
    assert tile.state is BayState.RELEASED
    assert {said.digest for said in manifests(journal)} == {
        Digest.of(b"first clip"),
        Digest.of(b"other clip"),
    }
    assert Digest.of(b"other clip") in centre.stored()
    assert [[row.code for row in said.kept] for said in releases(journal)] == [["digest-differs"], []]
    assert volume.files == {}


async def test_a_known_file_is_read_again_and_then_erased(
    journal: Journal, spool: LossySpool, centre: Centre
) -> None:
    volume = MemoryVolume(FILES, label="ZFY0001")
    await run_visit(volume, replace(release_tools(journal, centre), release=None))
    volume.plug_in()
    read_before = volume.bytes_read
    tile = await run_release(volume, release_tools(journal, centre, ids="again"), centre, spool)
    assert tile.state is BayState.RELEASED
    assert len(manifests(journal)) == 2
    assert volume.bytes_read - read_before == len(FILES[PHOTO]) + len(FILES[CLIP])


async def test_what_was_read_in_this_visit_is_not_read_again(
    journal: Journal, spool: LossySpool, centre: Centre
) -> None:
    volume = MemoryVolume(FILES, label="ZFY0001")
    await run_release(volume, release_tools(journal, centre), centre, spool)
    assert volume.bytes_read == len(FILES[PHOTO]) + len(FILES[CLIP])


async def test_another_inode_is_reason_enough_to_read_again(
    journal: Journal, spool: LossySpool, centre: Centre
) -> None:
    volume = MemoryVolume(FILES, label="ZFY0001")
    centre.silent.add("release-intent")
    async with released_by(volume, release_tools(journal, centre), centre, spool) as (_, tile):
        await tile.reached({BayState.RELEASABLE})
        volume.files[PHOTO].inode += 1000
        volume.files[PHOTO].data = b"PHOTO" * 1000
        centre.silent.clear()
        await tile.reached({BayState.RELEASED})
    assert Digest.of(b"PHOTO" * 1000) in centre.stored()
    assert [row.code for row in releases(journal)[0].kept] == ["digest-differs"]


async def test_a_file_that_cannot_be_erased_is_kept_with_the_reason_and_the_others_go(
    journal: Journal, spool: LossySpool, centre: Centre
) -> None:
    volume = MemoryVolume(FILES, label="ZFY0001")
    volume.files[CLIP].erase_fails = errno.EPERM
    tile = await run_release(volume, release_tools(journal, centre), centre, spool)
    assert (tile.state, tile.status(journal).problem_code) == (BayState.NOT_RELEASED, "file-not-erased")
    assert set(volume.files) == {CLIP, SYSTEM}
    (released,) = releases(journal)
    assert [row.code for row in released.kept] == ["file-not-erased"]


async def test_an_erasure_that_reports_failure_and_was_done_counts_as_done(
    journal: Journal, spool: LossySpool, centre: Centre
) -> None:
    volume = MemoryVolume(FILES, label="ZFY0001")
    volume.files[CLIP].erase_fails = errno.EIO
    volume.files[CLIP].erased_all_the_same = True
    tile = await run_release(volume, release_tools(journal, centre), centre, spool)
    assert tile.state is BayState.RELEASED
    assert [said.kept for said in releases(journal)] == [()]


async def test_unreadable_files_keep_the_whole_visit_unless_the_policy_says_otherwise(
    tmp_path: Path,
) -> None:
    for whole_visits, left in ((True, set(FILES)), (False, {CLIP, SYSTEM})):
        spool, centre = LossySpool(), Centre()
        journal = Journal(tmp_path / f"{whole_visits}.db", spool)
        volume = MemoryVolume(FILES, label="ZFY0001")
        volume.files[CLIP].fails_at[0] = errno.EIO
        settings = ReleaseSettings(whole_visits=whole_visits)
        async with released_by(volume, release_tools(journal, centre, settings=settings), centre, spool) as (
            _,
            tile,
        ):
            await tile.reached({BayState.UNREADABLE})
            if not whole_visits:
                await tile.reached({BayState.RELEASING})
                await tile.reached({BayState.UNREADABLE})
            assert set(volume.files) == left
        journal.close()


async def test_young_receipts_wait(journal: Journal, spool: LossySpool, centre: Centre) -> None:
    settings = ReleaseSettings(minimum_age=timedelta(days=36_500))
    volume = MemoryVolume(FILES, label="ZFY0001")
    tile = await run_release(volume, release_tools(journal, centre, settings=settings), centre, spool)
    assert tile.state is BayState.DONE
    assert set(volume.files) == set(FILES)


async def test_files_of_many_intents_are_erased_in_rounds_of_one_inventory_each(
    journal: Journal, spool: LossySpool, centre: Centre, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(announcing, "MAX_RELEASE_ITEMS", 4)
    monkeypatch.setattr(announcing, "MAX_INTENTS", 3)
    files = {b"DCIM/100MEDIA/IMAG%04d.JPG" % number: b"%d" % number for number in range(14)}
    volume = MemoryVolume(files, label="CAM")
    tile = await run_release(volume, release_tools(journal, centre), centre, spool)
    assert tile.state is BayState.RELEASED
    assert [len(intent.items) for _, intent in intents(journal)] == [4, 4, 4, 2]
    _, second, third = inventory_ids(journal)
    assert [said.inventory_after for said in releases(journal)] == [second, second, second, third]
    assert tile.steps.count(BayState.RELEASED) == 1, "said only when all is gone"


async def test_our_own_erasing_is_no_change(journal: Journal, spool: LossySpool, centre: Centre) -> None:
    """The dock notices that files are gone, and tells."""
    volume = MemoryVolume(FILES, label="ZFY0001")
    async with released_by(volume, release_tools(journal, centre), centre, spool) as (visit, tile):
        await tile.reached({BayState.RELEASED})
        steps = len(tile.steps)
        visit.note_changed()
        await asyncio.sleep(0.1)
        assert len(tile.steps) == steps
        assert len(inventories(journal)) == 2
        volume.put(b"DCIM/100MEDIA/ZFY0001_000123_20260131091530.JPG", b"later")
        visit.note_changed()
        await tile.reached({BayState.RELEASED}, after_steps=steps)
    assert set(volume.files) == {SYSTEM}
    assert len({inventory.visit for inventory in inventories(journal)}) == 1
