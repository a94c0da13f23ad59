"""Bundles over real sockets and onto a real disk: whole, cut, resumed, damaged, and found again after a restart."""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from collector.bundles import member_name
from collector.files import BLOCK_BYTES, PosixFiles
from collector.staging import Staging
from protocol.bundle import END
from protocol.digest import Digest
from protocol.upload import Checksum, Purpose, format_metadata
from tests.support.bundles import File, bundle_of, layout_of, member_of
from tests.support.tus_server import PART, TusServer, tus_server

UPLOADS = "/api/v1/uploads"
RANDOM = random.Random(4)
FILES: list[File] = [
    (Purpose.ORIGINAL, RANDOM.randbytes(200_000)),
    (Purpose.LISTING, b""),
    (Purpose.RENDITION, RANDOM.randbytes(BLOCK_BYTES + 777)),
    *((Purpose.ORIGINAL, RANDOM.randbytes(size)) for size in (1, 512, 4096, 70_001, 3 * BLOCK_BYTES)),
]
BUNDLE = bundle_of(FILES)
METADATA = {"Upload_Metadata": format_metadata({"purpose": b"bundle"})}


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[TusServer]:
    async with tus_server(tmp_path / "staging") as running:
        yield running


async def create(server: TusServer, size_bytes: int = len(BUNDLE)) -> str:
    return await server.create(size_bytes, **METADATA)


async def offset(server: TusServer, path: str) -> int:
    return (await server.ask("HEAD", path)).offset


def whole_before(position: int) -> int:
    """Where the last member ends that lies before the position as a whole."""
    ends = [0]
    for file in FILES:
        ends.append(ends[-1] + member_of(file).span_bytes)
    return max(end for end in ends if end <= position or end == 0)


def taken(server: TusServer) -> list[bytes]:
    """The members' bytes that the one upload handed over brought."""
    (upload,) = server.hooks.completed
    return [blob.path.read_bytes() for blob in server.staging.blobs(upload)]


def leftovers(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*"))


async def test_a_bundle_arrives_with_its_creation(server: TusServer) -> None:
    length = {"Upload_Length": str(len(BUNDLE))}
    answer = await server.ask("POST", UPLOADS, BUNDLE, **PART_HEADERS, **METADATA, **length)
    assert (answer.status, answer.offset) == (201, len(BUNDLE))
    assert "Repr-Digest" not in answer.headers
    assert taken(server) == [data for _, data in FILES]
    (upload,) = server.hooks.completed
    assert [(blob.purpose, blob.digest) for blob in server.staging.blobs(upload)] == [
        (purpose, Digest.of(data)) for purpose, data in FILES
    ]
    modes = {blob.path.stat().st_mode & 0o777 for blob in server.staging.blobs(upload)}
    assert modes == {0o440}


PART_HEADERS = {name.replace("-", "_"): value for name, value in PART.items()}


@pytest.mark.parametrize("more", [512, 513, 100_001, BLOCK_BYTES])
async def test_a_bundle_in_parts_goes_on_behind_its_last_whole_member(server: TusServer, more: int) -> None:
    """The largest member fits into a part."""
    path, at = await create(server), 0
    part_bytes = 3 * BLOCK_BYTES + more
    while at < len(BUNDLE):
        answer = await server.patch(path, at, BUNDLE[at : at + part_bytes])
        assert answer.status == 204
        assert answer.offset == await offset(server, path)
        assert answer.offset in (len(BUNDLE), whole_before(at + part_bytes))
        at = answer.offset
    assert taken(server) == [data for _, data in FILES]


@pytest.mark.parametrize("place", [0, 100, 511, 512, 100_000, len(BUNDLE) - 1])
async def test_one_wrong_byte_refuses_the_whole_bundle(server: TusServer, tmp_path: Path, place: int) -> None:
    damaged = bytearray(BUNDLE)
    damaged[place] ^= 1
    path = await create(server)
    answer = await server.patch(path, 0, bytes(damaged))
    assert (answer.status, answer.code) == (400, "bundle-malformed")
    assert (await server.ask("HEAD", path)).status == 404
    assert server.hooks.completed == []
    assert leftovers(tmp_path / "staging") == []


async def test_a_member_damaged_in_a_later_part_takes_the_earlier_ones_with_it(
    server: TusServer, tmp_path: Path
) -> None:
    path = await create(server)
    first = await server.patch(path, 0, BUNDLE[:300_000])
    rest = bytearray(BUNDLE[first.offset :])
    rest[-len(END) - 600] ^= 1
    assert (await server.patch(path, first.offset, bytes(rest))).code == "bundle-malformed"
    assert leftovers(tmp_path / "staging") == []


@pytest.mark.parametrize("change", [-len(END), -1, 512, 10_240])
async def test_a_bundle_ends_where_its_length_ends(server: TusServer, tmp_path: Path, change: int) -> None:
    path = await create(server, len(BUNDLE) + change)
    data = BUNDLE[:change] if change < 0 else BUNDLE + bytes(change)
    assert (await server.patch(path, 0, data)).code == "bundle-malformed"
    assert leftovers(tmp_path / "staging") == []


async def test_a_part_with_another_checksum_leaves_the_bundle_as_it_was(server: TusServer) -> None:
    path = await create(server)
    first = await server.patch(path, 0, BUNDLE[:300_000])
    wrong = str(Checksum(algorithm="sha256", value=bytes(32)))
    refused = await server.patch(path, first.offset, BUNDLE[first.offset :], Upload_Checksum=wrong)
    assert refused.code == "upload-checksum-mismatch"
    assert await offset(server, path) == first.offset
    rest = BUNDLE[first.offset :]
    right = str(Checksum(algorithm="sha256", value=hashlib.sha256(rest).digest()))
    assert (await server.patch(path, first.offset, rest, Upload_Checksum=right)).offset == len(BUNDLE)
    assert taken(server) == [data for _, data in FILES]


async def test_a_bundle_can_be_deleted(server: TusServer, tmp_path: Path) -> None:
    path = await create(server)
    await server.patch(path, 0, BUNDLE[:300_000])
    assert (await server.ask("DELETE", path)).status == 204
    assert leftovers(tmp_path / "staging") == []


async def test_a_restart_finds_whole_members_and_drops_the_rest(tmp_path: Path) -> None:
    async with tus_server(tmp_path / "staging") as server:
        path = await create(server)
        first = await server.patch(path, 0, BUNDLE[:2_000_000])
        (upload,) = server.staging.all()
    folder = tmp_path / "staging" / f"{upload.upload_id}.bundle"
    number = len(upload.members)
    (folder / member_name(number, member_of(FILES[number]))).write_bytes(b"half of")
    (folder / "strange").write_bytes(b"?")
    async with tus_server(tmp_path / "staging") as server:
        assert await offset(server, path) == first.offset
        assert (await server.patch(path, first.offset, BUNDLE[first.offset :])).offset == len(BUNDLE)
        assert taken(server) == [data for _, data in FILES]


async def test_a_restart_believes_no_member_without_reading_it(tmp_path: Path) -> None:
    async with tus_server(tmp_path / "staging") as server:
        path = await create(server)
        await server.patch(path, 0, BUNDLE)
        (upload,) = server.staging.all()
    third = tmp_path / "staging" / f"{upload.upload_id}.bundle" / member_name(2, member_of(FILES[2]))
    third.chmod(0o640)
    third.write_bytes(bytes(len(FILES[2][1])))
    async with tus_server(tmp_path / "staging") as server:
        at = await offset(server, path)
        assert at == sum(member_of(file).span_bytes for file in FILES[:2])
        assert (await server.patch(path, at, BUNDLE[at:])).offset == len(BUNDLE)
        assert taken(server) == [data for _, data in FILES]


async def test_a_restart_knows_a_complete_bundle(tmp_path: Path) -> None:
    async with tus_server(tmp_path / "staging") as server:
        path = await create(server)
        await server.patch(path, 0, BUNDLE)
    async with tus_server(tmp_path / "staging") as server:
        assert await offset(server, path) == len(BUNDLE)
        await server.service.offer_completed()
        assert taken(server) == [data for _, data in FILES]


async def test_what_is_left_of_a_removed_bundle_is_cleared_at_the_start(tmp_path: Path) -> None:
    staging = tmp_path / "staging"
    (staging / f"{'0' * 32}.bundle").mkdir(parents=True)
    (staging / f"{'0' * 32}.bundle" / "0000.original").write_bytes(b"1")
    assert await asyncio.to_thread(Staging(PosixFiles(), staging).recover) == []
    assert leftovers(staging) == []


def test_the_layout_is_what_is_sent() -> None:
    assert layout_of(FILES).size_bytes == len(BUNDLE)
