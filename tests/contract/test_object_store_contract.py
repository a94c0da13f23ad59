"""What every object store promises; then what the directory store promises when calls fail and the power goes."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import xxhash

from collector.errors import (
    CollectorError,
    ObjectCorruptError,
    ObjectMissingError,
    StorageError,
    StorageFullError,
)
from collector.files import BLOCK_BYTES, Files, PosixFiles
from collector.objects import Adoption, ObjectClass, ObjectStore
from collector.objects.directory import DirectoryObjectStore
from collector.part_writer import write_all
from protocol.digest import Digest
from protocol.errors import DigestMismatchError, MalformedError
from tests.support.lossy_files import Fault, LossyFiles
from tests.support.memory_objects import MemoryObjectStore

ORIGINALS = ObjectClass.ORIGINALS
DATA = b"the exact bytes that left the recorder" * 50
DIGEST = Digest.of(DATA)


@dataclass(frozen=True)
class World:
    """A store, the file port under it, a folder for staged files, and a way to damage a stored object."""

    store: ObjectStore
    files: Files
    staging: Path
    damage: Callable[[Digest, bytes], None]

    def stage(self, data: bytes, name: str = "upload") -> Path:
        return stage(self.files, self.staging / name, data)


def stage(files: Files, path: Path, data: bytes) -> Path:
    files.make_folder(path.parent)
    appender = files.create(path)
    write_all(appender, data)
    appender.sync()
    appender.close()
    files.sync_folder(path.parent)
    return path


def object_path(root: Path, digest: Digest) -> Path:
    return root / "hz" / "originals" / digest.hex[:2] / digest.hex[2:4] / digest.hex


@pytest.fixture(params=["directory", "directory on lossy files", "memory"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> World:
    root = tmp_path / "objects"
    if request.param == "directory":
        real = PosixFiles()

        def scribble(digest: Digest, data: bytes) -> None:
            object_path(root, digest).chmod(0o600)
            object_path(root, digest).write_bytes(data)

        return World(DirectoryObjectStore(real, root), real, tmp_path / "staging", scribble)
    lossy = LossyFiles()
    if request.param == "memory":
        memory = MemoryObjectStore(lossy)
        return World(
            memory,
            lossy,
            tmp_path / "staging",
            lambda digest, data: memory.overwrite("hz", ORIGINALS, digest, data),
        )
    return World(
        DirectoryObjectStore(lossy, root),
        lossy,
        tmp_path / "staging",
        lambda digest, data: lossy.overwrite(object_path(root, digest), data),
    )


async def test_bytes_put_are_bytes_read(world: World) -> None:
    assert await world.store.put_bytes("hz", ObjectClass.STATEMENTS, DATA) == DIGEST
    assert await world.store.read("hz", ObjectClass.STATEMENTS, DIGEST) == DATA
    assert (await world.store.stat("hz", ObjectClass.STATEMENTS, DIGEST)).size_bytes == len(DATA)
    assert await world.store.exists("hz", ObjectClass.STATEMENTS, DIGEST)


async def test_a_staged_file_is_adopted_and_its_name_left_to_its_owner(world: World) -> None:
    path = world.stage(DATA)
    await world.store.adopt(path, "hz", ORIGINALS, DIGEST, len(DATA))
    assert await world.store.read("hz", ORIGINALS, DIGEST) == DATA
    world.files.remove(path)
    assert await world.store.read("hz", ORIGINALS, DIGEST) == DATA


async def test_a_damaged_object_makes_room_and_its_right_bytes_can_be_stored_again(world: World) -> None:
    await world.store.adopt(world.stage(DATA), "hz", ORIGINALS, DIGEST, len(DATA))
    world.damage(DIGEST, b"rotten")
    await world.store.set_aside("hz", ORIGINALS, DIGEST)
    assert not await world.store.exists("hz", ORIGINALS, DIGEST)
    with pytest.raises(ObjectMissingError):
        await world.store.set_aside("hz", ORIGINALS, DIGEST)
    await world.store.adopt(world.stage(DATA, "again"), "hz", ORIGINALS, DIGEST, len(DATA))
    assert await world.store.read("hz", ORIGINALS, DIGEST) == DATA


async def test_the_empty_object_is_an_object(world: World) -> None:
    await world.store.adopt(world.stage(b""), "hz", ORIGINALS, Digest.of(b""), 0)
    assert await world.store.read("hz", ORIGINALS, Digest.of(b"")) == b""


async def test_storing_the_same_twice_is_fine(world: World) -> None:
    path = world.stage(DATA)
    await world.store.adopt(path, "hz", ORIGINALS, DIGEST, len(DATA))
    await world.store.adopt(path, "hz", ORIGINALS, DIGEST, len(DATA))
    assert await world.store.put_bytes("hz", ORIGINALS, DATA) == DIGEST
    assert [digest async for digest in world.store.iterate("hz", ORIGINALS)] == [DIGEST]


async def test_a_file_that_is_not_what_was_promised_is_refused_with_both_digests(world: World) -> None:
    path = world.stage(DATA[:-1] + b"!")
    with pytest.raises(DigestMismatchError) as caught:
        await world.store.adopt(path, "hz", ORIGINALS, DIGEST, len(DATA))
    assert DIGEST.hex in caught.value.expected
    assert Digest.of(DATA[:-1] + b"!").hex in caught.value.actual
    assert not await world.store.exists("hz", ORIGINALS, DIGEST)


@pytest.mark.parametrize("claimed", [len(DATA) - 1, len(DATA) + 1, 0])
async def test_a_file_of_another_size_is_refused(world: World, claimed: int) -> None:
    with pytest.raises(DigestMismatchError):
        await world.store.adopt(world.stage(DATA), "hz", ORIGINALS, DIGEST, claimed)
    assert not await world.store.exists("hz", ORIGINALS, DIGEST)


async def test_a_damaged_object_is_noticed_and_never_overwritten(world: World) -> None:
    path = world.stage(DATA)
    await world.store.put_bytes("hz", ORIGINALS, DATA)
    world.damage(DIGEST, DATA[:-1] + b"?")
    for attempt in (
        world.store.adopt(path, "hz", ORIGINALS, DIGEST, len(DATA)),
        world.store.put_bytes("hz", ORIGINALS, DATA),
        world.store.verify("hz", ORIGINALS, DIGEST),
        world.store.confirm("hz", ORIGINALS, DIGEST),
        world.store.read("hz", ORIGINALS, DIGEST),
    ):
        with pytest.raises(ObjectCorruptError):
            await attempt
    assert b"".join([block async for block in world.store.open_range("hz", ORIGINALS, DIGEST)]).endswith(b"?")


async def test_agencies_and_classes_do_not_see_each_other(world: World) -> None:
    await world.store.put_bytes("hz", ORIGINALS, DATA)
    assert not await world.store.exists("nb", ORIGINALS, DIGEST)
    assert not await world.store.exists("hz", ObjectClass.RENDITIONS, DIGEST)
    assert [digest async for digest in world.store.iterate("nb", ORIGINALS)] == []
    with pytest.raises(ObjectMissingError):
        await world.store.read("nb", ORIGINALS, DIGEST)


@pytest.mark.parametrize("agency", ["..", "", "a/b", "HZ", ".incoming", "hz\n"])
async def test_only_names_are_agencies(world: World, agency: str) -> None:
    with pytest.raises(MalformedError):
        await world.store.put_bytes(agency, ORIGINALS, DATA)


async def test_ranges_of_a_large_object_come_in_bounded_blocks(world: World) -> None:
    data = bytes(range(256)) * (BLOCK_BYTES // 128 + 1)
    digest = await world.store.put_bytes("hz", ORIGINALS, data)
    blocks = [block async for block in world.store.open_range("hz", ORIGINALS, digest, 100)]
    assert b"".join(blocks) == data[100:]
    assert max(map(len, blocks)) <= BLOCK_BYTES
    tail = [block async for block in world.store.open_range("hz", ORIGINALS, digest, 7, 5)]
    assert b"".join(tail) == data[7:12]
    assert [block async for block in world.store.open_range("hz", ORIGINALS, digest, len(data) + 1)] == []


async def test_what_is_missing_is_said_to_be_missing(world: World) -> None:
    assert not await world.store.exists("hz", ORIGINALS, DIGEST)
    for attempt in (world.store.stat, world.store.read, world.store.verify, world.store.confirm):
        with pytest.raises(ObjectMissingError):
            await attempt("hz", ORIGINALS, DIGEST)


async def test_all_objects_are_listed_in_order(world: World) -> None:
    digests = {await world.store.put_bytes("hz", ORIGINALS, bytes([n])) for n in range(40)}
    assert [digest async for digest in world.store.iterate("hz", ORIGINALS)] == sorted(digests)


async def test_stored_files_are_read_only_and_nothing_is_left_over(tmp_path: Path) -> None:
    store = DirectoryObjectStore(PosixFiles(), tmp_path / "objects")
    await store.put_bytes("hz", ORIGINALS, DATA)
    assert object_path(tmp_path / "objects", DIGEST).stat().st_mode & 0o777 == 0o440
    assert list((tmp_path / "objects" / ".incoming").iterdir()) == []


MANY = [b"object %d" % number for number in range(7)]


async def test_many_are_stored_together(world: World) -> None:
    assert (
        await world.store.put_all(ORIGINALS, [("hz", data) for data in MANY] + [("nb", MANY[0])])
        == [None] * 8
    )
    assert await world.store.put_all(ORIGINALS, [("hz", data) for data in MANY]) == [None] * 7
    places = [("hz", ORIGINALS, Digest.of(data)) for data in MANY]
    assert await world.store.read_all(places) == MANY
    assert await world.store.sizes([*places, ("nb", ORIGINALS, Digest.of(MANY[1]))]) == [
        len(data) for data in MANY
    ] + [None]
    assert await world.store.read("nb", ORIGINALS, Digest.of(MANY[0])) == MANY[0]


async def test_what_became_of_each_of_many_is_told(world: World) -> None:
    await world.store.put_bytes("hz", ORIGINALS, DATA)
    world.damage(DIGEST, DATA[:-1] + b"?")
    adoptions = [
        Adoption(
            path=world.stage(data, data.decode()), place=("hz", ORIGINALS, Digest.of(data)), size_bytes=8
        )
        for data in MANY
    ]
    wrong = replace(adoptions[2], place=("hz", ORIGINALS, Digest.of(b"something else")))
    damaged = Adoption(path=world.stage(DATA), place=("hz", ORIGINALS, DIGEST), size_bytes=len(DATA))
    outcomes = await world.store.adopt_all([*adoptions[:2], wrong, damaged, *adoptions[3:], *adoptions[:2]])
    assert [type(outcome) for outcome in outcomes[2:4]] == [DigestMismatchError, ObjectCorruptError]
    assert outcomes[:2] + outcomes[4:] == [None] * 8
    found = await world.store.read_all([wrong.place, damaged.place, *(item.place for item in adoptions)])
    assert [type(one) for one in found[:2]] == [ObjectMissingError, ObjectCorruptError]
    assert [type(one) for one in found[2:]] == [bytes] * 2 + [ObjectMissingError] + [bytes] * 4
    put = await world.store.put_all(ORIGINALS, [("hz", data) for data in [*MANY, DATA]])
    assert [type(one) for one in put] == [type(None)] * 7 + [ObjectCorruptError]


async def test_few_and_none_are_many_too(world: World) -> None:
    assert await world.store.put_all(ORIGINALS, []) == []
    assert await world.store.adopt_all([]) == []
    assert await world.store.put_all(ORIGINALS, [("hz", DATA)]) == [None]
    item = Adoption(path=world.stage(DATA), place=("nb", ORIGINALS, DIGEST), size_bytes=len(DATA))
    assert await world.store.adopt_all([item]) == [None]
    assert await world.store.read("nb", ORIGINALS, DIGEST) == DATA


class Trial:
    """One adoption on files that can lose their power, from a staged and durable upload."""

    def __init__(self, fault: Fault | None = None) -> None:
        self.files = LossyFiles()
        self.root = Path("/data/objects")
        self.staged = stage(self.files, Path("/data/staging/upload"), DATA)
        self.files.calls.clear()
        self.files.fault = fault

    def store(self) -> DirectoryObjectStore:
        return DirectoryObjectStore(self.files, self.root)

    async def adopt(self) -> None:
        await self.store().adopt(self.staged, "hz", ORIGINALS, DIGEST, len(DATA))

    async def put(self) -> None:
        await self.store().put_bytes("hz", ORIGINALS, DATA)

    async def adopt_all(self) -> None:
        """Sealed files, as members of a bundle are, and one that is not."""
        folder = Path("/data/staging")
        sealed = [folder / str(number) for number in range(len(MANY))]
        fault, self.files.fault = self.files.fault, None
        for path, data in zip(sealed, MANY, strict=True):
            if path.name not in self.files.names(folder):
                stage(self.files, path, data)
                self.files.make_read_only(path)
        self.files.sync_all(folder)
        self.files.calls.clear()
        self.files.fault = fault
        items = [
            Adoption(path=path, place=("hz", ORIGINALS, Digest.of(data)), size_bytes=len(data), sealed=True)
            for path, data in zip(sealed, MANY, strict=True)
        ]
        whole = Adoption(path=self.staged, place=("hz", ORIGINALS, DIGEST), size_bytes=len(DATA))
        for outcome in await self.store().adopt_all([*items, whole]):
            if outcome is not None:
                raise outcome

    async def put_all(self) -> None:
        await self.store().put_all(ORIGINALS, [("hz", data) for data in [*MANY, DATA]])

    async def assert_absent_or_whole(self) -> None:
        for data in [*MANY, DATA]:
            if await self.store().exists("hz", ORIGINALS, Digest.of(data)):
                await self.store().verify("hz", ORIGINALS, Digest.of(data))


async def count_calls(verb: str) -> int:
    trial = Trial()
    await getattr(trial, verb)()
    return len(trial.files.calls)


@pytest.mark.parametrize("verb", ["adopt", "put", "adopt_all", "put_all"])
@pytest.mark.parametrize("performed", [False, True], ids=["refused", "performed but reported failed"])
async def test_a_failure_and_power_cut_at_any_call_leave_no_object_or_the_whole_one(
    verb: str, performed: bool
) -> None:
    for at in range(await count_calls(verb)):
        trial = Trial(Fault(at=at, error=OSError(errno.EIO, "disk"), performed=performed))
        try:
            await getattr(trial, verb)()
        except CollectorError:
            await trial.assert_absent_or_whole()
            trial.files.crash()
            await trial.assert_absent_or_whole()
        else:
            trial.files.crash()
            await trial.store().verify("hz", ORIGINALS, DIGEST)
        trial.store().sweep()
        await getattr(trial, verb)()
        trial.files.crash()
        assert await trial.store().read("hz", ORIGINALS, DIGEST) == DATA


@pytest.mark.parametrize("verb", ["adopt", "put", "adopt_all", "put_all"])
async def test_what_was_confirmed_outlives_a_power_cut_however_its_name_came_about(verb: str) -> None:
    """A name can be seen that no sync has made durable: the attempt failed after it, or its process was killed."""
    for at in range(await count_calls(verb)):
        trial = Trial(Fault(at=at, error=OSError(errno.EIO, "disk")))
        with contextlib.suppress(CollectorError):
            await getattr(trial, verb)()
        trial.files.fault = None
        store = trial.store()
        if await store.exists("hz", ORIGINALS, DIGEST):
            await store.confirm("hz", ORIGINALS, DIGEST)
            trial.files.crash()
            assert await trial.store().read("hz", ORIGINALS, DIGEST) == DATA


async def test_what_was_reported_stored_outlives_a_power_cut() -> None:
    trial = Trial()
    await trial.adopt()
    trial.files.crash()
    assert await trial.store().read("hz", ORIGINALS, DIGEST) == DATA
    assert trial.files.node(object_path(trial.root, DIGEST)).mode == 0o440


async def test_bytes_are_compared_after_they_are_durable_and_named_after_they_are_compared() -> None:
    trial = Trial()
    await trial.adopt()
    verbs = [verb for verb, _ in trial.files.calls if verb != "make_folder"]
    assert verbs == ["make_read_only", "sync_file", "reread", "link", "sync_folder"]


async def test_many_are_compared_after_they_are_durable_and_named_after_they_are_compared() -> None:
    trial = Trial()
    await trial.put_all()
    verbs = [verb for verb, _ in trial.files.calls if verb not in ("make_folder", "add_folder")]
    count = len(MANY) + 1
    assert verbs == (
        ["create", "write"] * count
        + ["sync_all"]
        + ["reread"] * count
        + ["link"] * count
        + ["sync_all"]
        + ["remove"] * count
    )


async def test_bytes_whose_sync_once_failed_are_found_out_by_the_re_read() -> None:
    files = LossyFiles()
    path = Path("/data/staging/upload")
    files.make_folder(path.parent)
    appender = files.create(path)
    files.sync_folder(path.parent)
    write_all(appender, DATA)
    files.fault = Fault(at=len(files.calls), error=OSError(errno.EIO, "disk"))
    with pytest.raises(OSError, match="disk"):
        appender.sync()
    assert files.read(path, 0, len(DATA)) == DATA
    with pytest.raises(DigestMismatchError):
        await DirectoryObjectStore(files, Path("/data/objects")).adopt(
            path, "hz", ORIGINALS, DIGEST, len(DATA)
        )


async def test_a_full_disk_is_called_a_full_disk() -> None:
    for at in range(await count_calls("put")):
        trial = Trial(Fault(at=at, error=OSError(errno.ENOSPC, "full")))
        try:
            await trial.put()
        except StorageFullError:
            continue
        except StorageError as error:  # pragma: no cover - the assertion below tells
            pytest.fail(f"call {at}: {error!r}")


async def test_interrupted_writes_are_swept_at_the_next_start() -> None:
    trial = Trial()
    stage(trial.files, trial.root / ".incoming" / "left-over", b"half")
    assert trial.store().sweep() == 1
    assert trial.store().sweep() == 0


async def test_the_immutable_flag_is_set_when_asked_for() -> None:
    files = LossyFiles()
    store = DirectoryObjectStore(files, Path("/data/objects"), immutable=True)
    await store.put_bytes("hz", ORIGINALS, DATA)
    with pytest.raises(PermissionError):
        files.remove(object_path(Path("/data/objects"), DIGEST))


@pytest.mark.parametrize("kept", [True, False])
async def test_a_staged_file_is_compared_with_what_passed_on_its_way_to_the_disk(
    world: World, kept: bool
) -> None:
    path = world.stage(DATA if kept else DATA[:-1] + b"!")
    passed = xxhash.xxh3_128(DATA).digest()
    adoption = Adoption(path=path, place=("hz", ORIGINALS, DIGEST), size_bytes=len(DATA), passed=passed)
    (outcome,) = await world.store.adopt_all([adoption])
    assert (outcome is None) is kept
    assert await world.store.exists("hz", ORIGINALS, DIGEST) is kept
