"""Does the audit pass what is right, and does it find each thing that is not?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from collector.audit import Audited, AuditReport, DirectoryObjects, Scope, audit
from collector.log.tile_files import TileFiles
from collector.objects import ObjectClass
from collector.objects.directory import object_path
from protocol.canonical import canonical
from protocol.checkpoint import sign_checkpoint
from protocol.digest import Digest
from protocol.entry import LogEntry
from protocol.errors import ForkError, SignatureError
from protocol.note import SignerKey
from protocol.statements import sign_statement
from protocol.tiles import ENTRIES, Tile
from protocol.upload import Purpose
from tests.support.collector_lab import (
    INVENTORY,
    LOG_KEY,
    World,
    clip,
    found,
    id_of,
    running,
)
from tests.support.evidence import AGENCY, rendition

OBJECTS = Path("/objects")
CONTENT = b"clip" * 100
RENDITION = b"poster"


@pytest.fixture
async def world(tmp_path: Path) -> World:
    """A collector that was stopped after it stored a clip, its rendition, and nothing else."""
    world = World(folder=tmp_path)
    await found(world)
    async with running(world) as lab:
        poster = rendition(RENDITION, Digest.of(CONTENT), id_of(clip(CONTENT)))
        await lab.admit(INVENTORY, clip(CONTENT), poster)
        await lab.upload(CONTENT)
        await lab.upload(RENDITION, Purpose.RENDITION)
        await lab.stored(id_of(clip(CONTENT)))
        await lab.stored(id_of(poster))
    return world


def audited(world: World) -> Audited:
    return Audited(
        log=TileFiles(world.log_folder, world.files),
        objects=DirectoryObjects(world.files, OBJECTS),
        key=LOG_KEY.verifier,
    )


def codes(report: AuditReport) -> set[str]:
    return {problem.code for problem in report.problems}


def place(cls: ObjectClass, digest: Digest, agency: str = AGENCY) -> Path:
    return object_path(OBJECTS, agency, cls, digest)


def test_a_sound_collector_is_clean_and_everything_is_counted(world: World) -> None:
    report = audit(audited(world))
    assert report.is_clean, report.problems
    assert report.log_size == 7
    counted = {section.name: section.checked for section in report.sections}
    assert counted == {"log": 7, "statements": 7, "objects": 2, "receipts": 2, "conservation": 0}
    assert report.section("objects").size_bytes == len(CONTENT) + len(RENDITION)
    assert [section.notes for section in report.sections] == [()] * 5
    assert canonical(dict(report.to_json()) | {"sections": []})


@pytest.mark.parametrize(
    ("cls", "content"),
    [(ObjectClass.ORIGINALS, CONTENT), (ObjectClass.RENDITIONS, RENDITION)],
)
def test_one_changed_byte_is_found(world: World, cls: ObjectClass, content: bytes) -> None:
    world.files.overwrite(place(cls, Digest.of(content)), b"x" + content[1:])
    assert codes(audit(audited(world))) == {"object-altered"}


def test_a_shortened_object_is_found_even_when_nothing_is_re_read(world: World) -> None:
    world.files.overwrite(place(ObjectClass.ORIGINALS, Digest.of(CONTENT)), CONTENT[:-1])
    assert codes(audit(audited(world), Scope(sample=0))) == {"object-altered"}


def test_a_lost_object_is_found(world: World) -> None:
    world.files.remove(place(ObjectClass.ORIGINALS, Digest.of(CONTENT)))
    report = audit(audited(world))
    assert codes(report) == {"object-missing"}
    assert str(Digest.of(CONTENT)) in report.problems[0].where


@pytest.mark.parametrize("damage", ["remove", "alter"])
def test_a_payload_that_is_not_what_its_entry_says_is_found(world: World, damage: str) -> None:
    path = place(ObjectClass.STATEMENTS, id_of(clip(CONTENT)))
    if damage == "remove":
        world.files.remove(path)
    else:
        world.files.overwrite(path, b"{}")
    report = audit(audited(world))
    wanted = "object-missing" if damage == "remove" else "object-altered"
    assert wanted in {problem.code for problem in report.section("statements").problems}


def test_an_object_that_can_be_written_is_found(world: World) -> None:
    world.files.node(place(ObjectClass.ORIGINALS, Digest.of(CONTENT))).mode = 0o640
    assert codes(audit(audited(world))) == {"object-writable"}


async def test_what_nobody_promised_is_a_note_and_still_re_read(world: World) -> None:
    async with running(world, storing=False) as lab:
        stray = await lab.objects.put_bytes(AGENCY, ObjectClass.ORIGINALS, b"who are you")
    report = audit(audited(world))
    assert report.is_clean
    assert [note.code for note in report.section("objects").notes] == ["object-unnamed"]
    assert str(stray) in report.section("objects").notes[0].where
    world.files.overwrite(place(ObjectClass.ORIGINALS, stray), b"somebody else")
    assert codes(audit(audited(world))) == {"object-altered"}


def test_what_is_no_object_is_a_note(world: World) -> None:
    folder = place(ObjectClass.ORIGINALS, Digest.of(CONTENT)).parent
    world.files.create(folder / "notes.txt").close()
    assert [note.code for note in audit(audited(world)).section("objects").notes] == ["object-misplaced"]


def _replace_tile(world: World, tile: Tile, change: Callable[[bytes], bytes]) -> None:
    path = world.log_folder / tile.path
    world.files.overwrite(path, change(world.files.read(path, 0, 1 << 20)))


def test_a_tile_that_does_not_follow_from_the_entries_is_found(world: World) -> None:
    _replace_tile(world, Tile(level=0, index=0, width=7), lambda data: bytes(32) + data[32:])
    assert "log-tile-altered" in codes(audit(audited(world)))


def test_a_missing_tile_is_found(world: World) -> None:
    world.files.remove(world.log_folder / Tile(level=0, index=0, width=7).path)
    assert "log-missing" in codes(audit(audited(world)))


def test_a_changed_entry_is_found(world: World) -> None:
    bundle = Tile(level=ENTRIES, index=0, width=7)
    _replace_tile(world, bundle, lambda data: data.replace(b'"kind":"manifest"', b'"kind":"mAnifest"'))
    report = audit(audited(world))
    assert {"log-forked", "log-tile-altered"} <= {remark.code for remark in report.section("log").problems}


def test_a_truncated_bundle_is_found_and_ends_the_reading(world: World) -> None:
    _replace_tile(world, Tile(level=ENTRIES, index=0, width=7), lambda data: data[:-1])
    assert "malformed" in codes(audit(audited(world)))


def test_a_checkpoint_of_another_key_is_no_audit_at_all(world: World) -> None:
    other = SignerKey(name=LOG_KEY.name, seed=b"x" * 32)
    with pytest.raises(SignatureError):
        audit(replace(audited(world), key=other.verifier))


def test_from_an_earlier_checkpoint_on_less_is_looked_into(world: World) -> None:
    earlier = sign_checkpoint(world.published[-1], LOG_KEY)
    report = audit(audited(world), Scope(since=earlier))
    assert report.is_clean
    assert report.since == world.published[-1].size == 5


def test_an_earlier_checkpoint_of_another_history_is_a_fork(world: World) -> None:
    forged = replace(world.published[-1], root=b"f" * 32)
    report = audit(audited(world), Scope(since=sign_checkpoint(forged, LOG_KEY)))
    assert codes(report) == {ForkError.code}


def test_a_sample_looks_into_so_many_and_no_more(world: World) -> None:
    report = audit(audited(world), Scope(sample=1))
    assert report.is_clean
    assert (report.sampled, report.section("objects").checked, report.section("receipts").checked) == (
        1,
        1,
        1,
    )


async def test_a_statement_by_a_key_nobody_enrolled_is_found(world: World) -> None:
    async with running(world, storing=False, sequencing=False) as lab:
        stranger = sign_statement(clip(b"stranger", 99), b"q" * 32)
        await lab.objects.put_bytes(AGENCY, ObjectClass.STATEMENTS, stranger.payload)
        lab.log.append([LogEntry.of(stranger, clip(b"stranger", 99)).to_bytes()])
    report = audit(audited(world))
    assert {problem.code for problem in report.section("statements").problems} == {"not-enrolled"}
