"""The scrub finds what is missing or altered, the log says so, and bytes that come again make it whole."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from collector.audit import Audited, DirectoryObjects, audit
from collector.catalogue import FindingFilter, RecordedFinding
from collector.core import findings as codes
from collector.core.findings import ClosedBy
from collector.errors import StorageError
from collector.files import Block
from collector.mending import Mender
from collector.objects import ObjectClass, Place
from collector.objects.folder import object_path
from collector.scrubbing import Scrub, load_cursor, save_cursor
from protocol.digest import Digest
from tests.support.collector_lab import INVENTORY, LOG_KEY, Lab, World, clip, found, id_of, running
from tests.support.evidence import AGENCY

OBJECTS = Path("/objects")
CONTENT = b"clip" * 300
CLIP = clip(CONTENT)
ORIGINAL: Place = (AGENCY, ObjectClass.ORIGINALS, Digest.of(CONTENT))
PATH = object_path(OBJECTS, *ORIGINAL)


@pytest.fixture
async def world(tmp_path: Path) -> World:
    world = World(folder=tmp_path)
    await found(world)
    return world


@pytest.fixture
async def lab(world: World) -> AsyncIterator[Lab]:
    """A running collector that has stored a clip."""
    async with running(world) as lab:
        await lab.admit(INVENTORY, CLIP)
        await lab.upload(CONTENT)
        await lab.stored(id_of(CLIP))
        await lab.idle()
        yield lab


def scrub_of(lab: Lab, *, period_s: float = 0.0) -> Scrub:
    return Scrub(
        objects=DirectoryObjects(lab.world.files, OBJECTS),
        catalogue=lab.catalogue,
        mender=Mender(objects=lab.objects, catalogue=lab.catalogue, voice=lab.voice),
        cursor=lab.world.folder / "scrub.json",
        period_s=period_s,
    )


async def look_at_everything(lab: Lab) -> Scrub:
    scrub = scrub_of(lab)
    with ThreadPoolExecutor(1) as pool:
        for index in range(lab.log.checkpoint.size):
            await scrub.scrub_entry(pool, index)
    return scrub


async def findings(lab: Lab) -> list[RecordedFinding]:
    await asyncio.to_thread(lab.catalogue.catch_up)
    page = await asyncio.to_thread(lab.catalogue.findings, FindingFilter(), limit=100)
    return list(page.findings)


def damage(lab: Lab, how: str) -> None:
    files = lab.world.files
    if how == "missing":
        files.remove(PATH)
    elif how == "shortened":
        files.overwrite(PATH, CONTENT[:-1])
    else:
        files.overwrite(PATH, b"x" + CONTENT[1:])


def kinds(lab: Lab) -> list[str]:
    return lab.world.kinds()


async def test_what_is_whole_leaves_no_trace(lab: Lab) -> None:
    before = kinds(lab)
    scrub = await look_at_everything(lab)
    assert (scrub.counts.objects, scrub.counts.damaged) == (len(before) + 1, 0)
    assert kinds(lab) == before


@pytest.mark.parametrize(
    ("how", "code"),
    [
        ("missing", codes.OBJECT_MISSING),
        ("altered", codes.OBJECT_ALTERED),
        ("shortened", codes.OBJECT_ALTERED),
    ],
)
async def test_damage_is_said_once_and_ends_when_the_bytes_come_again(lab: Lab, how: str, code: str) -> None:
    damage(lab, how)
    await look_at_everything(lab)
    await look_at_everything(lab)
    assert kinds(lab).count("custody") == 1
    (opened,) = await findings(lab)
    assert (opened.code, opened.subject, opened.closed_index) == (code, Digest.of(CONTENT), None)

    await lab.upload(CONTENT)
    await lab.idle()
    assert (await lab.objects.verify(*ORIGINAL)).size_bytes == len(CONTENT)
    (closed,) = await findings(lab)
    assert closed.closed_by is ClosedBy.EVIDENCE
    assert [upload for upload in lab.staging.all() if upload.is_complete] == []
    kept = lab.world.files.names(OBJECTS / ".damaged")
    assert len(kept) == (0 if how == "missing" else 1), "what was damaged is kept for whoever looks into it"
    assert kinds(lab).count("stored") == 1


@pytest.mark.parametrize("how", ["missing", "altered", "shortened"])
async def test_damage_nobody_noticed_is_met_by_the_next_promise_of_the_same_bytes(lab: Lab, how: str) -> None:
    damage(lab, how)
    again = clip(CONTENT, 77)
    await lab.upload(CONTENT)
    await lab.admit(again)
    await lab.stored(id_of(again))
    await lab.idle()
    assert (await lab.objects.verify(*ORIGINAL)).size_bytes == len(CONTENT)
    assert all(finding.closed_index is not None for finding in await findings(lab))
    report = await asyncio.to_thread(
        audit,
        Audited(log=lab.tiles, objects=DirectoryObjects(lab.world.files, OBJECTS), key=LOG_KEY.verifier),
    )
    assert report.is_clean, report.problems


async def test_missing_bytes_that_come_again_are_taken_though_nobody_missed_them(lab: Lab) -> None:
    damage(lab, "missing")
    await lab.upload(CONTENT)
    await lab.idle()
    assert (await lab.objects.verify(*ORIGINAL)).size_bytes == len(CONTENT)
    assert [finding.closed_by for finding in await findings(lab)] == [ClosedBy.EVIDENCE]


async def test_other_bytes_mend_nothing(lab: Lab) -> None:
    damage(lab, "altered")
    await look_at_everything(lab)
    await lab.upload(b"something else")
    await lab.idle()
    assert lab.world.files.read(PATH, 0, 4) == b"xlip"
    assert [finding.closed_index for finding in await findings(lab)] == [None]


async def test_a_mend_cut_short_is_finished_after_a_restart(world: World) -> None:
    async with running(world) as lab:
        await lab.admit(INVENTORY, CLIP)
        await lab.upload(CONTENT)
        await lab.stored(id_of(CLIP))
        damage(lab, "altered")
        await look_at_everything(lab)
    async with running(world, storing=False) as lab:
        await lab.objects.set_aside(*ORIGINAL)
        await lab.place(CONTENT)
    async with running(world) as lab:
        async with asyncio.timeout(20):
            while not (await findings(lab))[0].closed_index:
                await asyncio.sleep(0.01)
        assert (await lab.objects.verify(*ORIGINAL)).size_bytes == len(CONTENT)


async def test_an_object_put_back_by_hand_is_found_whole(lab: Lab) -> None:
    damage(lab, "altered")
    await look_at_everything(lab)
    lab.world.files.overwrite(PATH, CONTENT)
    await look_at_everything(lab)
    assert [finding.closed_by for finding in await findings(lab)] == [ClosedBy.EVIDENCE]


async def test_a_payload_that_is_gone_is_said_too(lab: Lab) -> None:
    lab.world.files.remove(object_path(OBJECTS, AGENCY, ObjectClass.STATEMENTS, id_of(CLIP)))
    await look_at_everything(lab)
    (finding,) = await findings(lab)
    assert (finding.code, finding.details) == (codes.OBJECT_MISSING, {"class": "statements"})


@pytest.mark.parametrize(("error", "is_said"), [(errno.EIO, True), (errno.EMFILE, False)])
async def test_only_what_the_disk_has_lost_is_damage(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, error: int, is_said: bool
) -> None:
    reread = lab.world.files.reread

    def fail(path: Path, visit: Callable[[Block], object]) -> int:
        if path == PATH:
            raise OSError(error, "no")
        return reread(path, visit)

    monkeypatch.setattr(lab.world.files, "reread", fail)
    if is_said:
        await look_at_everything(lab)
    else:
        with pytest.raises(StorageError):
            await look_at_everything(lab)
    assert [finding.code for finding in await findings(lab)] == [codes.OBJECT_ALTERED] * is_said


@pytest.mark.parametrize("failures", [1, 99], ids=["read at the second look", "lost for good"])
async def test_bytes_on_sectors_that_are_lost_for_good_are_replaced(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, failures: int
) -> None:
    files, left = lab.world.files, [failures]
    reread, replace = files.reread, files.replace

    def fail(path: Path, visit: Callable[[Block], object]) -> int:
        if path == PATH and left[0]:
            left[0] -= 1
            raise OSError(errno.EIO, "no")
        return reread(path, visit)

    def moved(source: Path, target: Path) -> None:
        replace(source, target)
        if source == PATH:
            left[0] = 0

    monkeypatch.setattr(files, "reread", fail)
    monkeypatch.setattr(files, "replace", moved)
    await lab.upload(CONTENT)
    await lab.idle()
    assert (await lab.objects.verify(*ORIGINAL)).size_bytes == len(CONTENT)
    assert [finding.closed_by for finding in await findings(lab)] == [ClosedBy.EVIDENCE] * (failures > 1)
    assert [upload for upload in lab.staging.all() if upload.is_complete] == []


async def test_it_goes_round_notes_where_it_is_and_goes_on_there(lab: Lab) -> None:
    cursor, size = lab.world.folder / "scrub.json", lab.log.checkpoint.size
    save_cursor(cursor, size - 1)
    scrub = scrub_of(lab)
    task = asyncio.create_task(scrub.run())
    async with asyncio.timeout(20):
        while scrub.counts.rounds < 2:
            await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.wait([task])
    whole_round = size + 1  # each payload, and the original
    assert whole_round <= scrub.counts.objects - 1 <= 3 * whole_round
    assert load_cursor(cursor) <= size


@pytest.mark.parametrize(
    "content", [None, b"", b"{", b"[]", b'{"next":-1}', b'{"next":"7"}', b'{"next":true}']
)
def test_a_lost_or_senseless_cursor_begins_anew(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "scrub.json"
    if content is not None:
        path.write_bytes(content)
    assert load_cursor(path) == 0
    save_cursor(path, 7)
    assert load_cursor(path) == 7
