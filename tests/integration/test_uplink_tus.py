"""Does our upload client bring every byte to our own collector, through every kind of broken line?"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from agent.offload.growing import GrowingFile
from agent.offload.reader import BUFFER_BYTES
from agent.uplink.answers import Timeouts
from agent.uplink.collector_http import CollectorClient
from agent.uplink.early import GrowingSource
from agent.uplink.errors import (
    CollectorAwayError,
    CollectorProblemError,
    SourceError,
    UploadDivergedError,
    UploadStuckError,
)
from agent.uplink.sources import WholeFile
from agent.uplink.tus import Source, TusClient, Uploaded, UploadOrder
from collector.errors import StorageFullError
from protocol.digest import Digest
from tests.support.proxy import Fault, FaultyProxy, How
from tests.support.tus_server import TusServer, tus_server

BIG = 9_000_001
QUICK = Timeouts(connect_s=2, answer_s=10, stall_s=1)


def an_order(digest: Digest | None, agency: str = "hz") -> UploadOrder:
    return UploadOrder(agency=agency, purpose="original", digest=digest)


class Line:
    """A client whose line to the server goes through the faulty proxy; keeps what it was told."""

    def __init__(self, server: TusServer, proxy: FaultyProxy, client: CollectorClient) -> None:
        self.server = server
        self.proxy = proxy
        self.tus = TusClient(client)
        self.urls: list[str | None] = []
        self.progress: list[int] = []

    async def upload(
        self, source: Source, *, digest: Digest | None = None, url: str | None = None, agency: str = "hz"
    ) -> Uploaded:
        async def keep(url: str | None) -> None:
            self.urls.append(url)

        order = an_order(digest, agency)
        async with asyncio.timeout(60):
            return await self.tus.upload(
                source, order, url=url, keep_url=keep, note_progress=self.progress.append
            )

    def received(self) -> list[Digest | None]:
        return [upload.actual for upload in self.server.hooks.completed]


@pytest.fixture
async def line(tmp_path: Path) -> AsyncIterator[Line]:
    async with (
        tus_server(tmp_path / "staging") as server,
        FaultyProxy("127.0.0.1", server.port) as proxy,
        CollectorClient(proxy.origin, timeouts=QUICK) as client,
    ):
        yield Line(server, proxy, client)


def a_file(folder: Path, size: int) -> tuple[WholeFile, Digest]:
    path = folder / "clip.mp4"
    content = os.urandom(size)
    path.write_bytes(content)
    return WholeFile(path=path, size_bytes=size), Digest.of(content)


@pytest.mark.parametrize("size", [0, 1, 200_000, 4 * 1024 * 1024, BIG])
async def test_whole_file_arrives_and_its_digest_comes_back(line: Line, tmp_path: Path, size: int) -> None:
    source, digest = a_file(tmp_path, size)
    done = await line.upload(source, digest=digest)
    assert done.held == digest
    assert line.received() == [digest]
    assert line.urls == [done.url]
    assert max(line.progress, default=0) == size


async def test_small_file_needs_one_request(line: Line, tmp_path: Path) -> None:
    source, digest = a_file(tmp_path, 200_000)
    line.proxy.plan(Fault(How.RESET, 203_000))
    assert (await line.upload(source, digest=digest)).held == digest
    assert line.proxy.connections == 1


@pytest.mark.parametrize("how", list(How))
async def test_cut_upload_goes_on_where_it_was_cut(line: Line, tmp_path: Path, how: How) -> None:
    source, digest = a_file(tmp_path, BIG)
    url = await line.server.create(BIG, Upload_Metadata=an_order(digest).metadata())
    line.proxy.plan(*[Fault(how, 3_000_000 if how is not How.MUTE else 0)] * 2)
    try:
        await line.upload(source, digest=digest, url=url)
    except CollectorAwayError:  # the question after the cut was cut off too: the loop asks again later
        await line.upload(source, digest=digest, url=url)
    assert line.received() == [digest]
    assert not line.proxy.faults


async def test_killed_client_goes_on_with_the_kept_address(line: Line, tmp_path: Path) -> None:
    source, digest = a_file(tmp_path, BIG)
    line.proxy.plan(
        *[Fault(How.STALL, 5_000_000)] * 2
    )  # one for the connection that creates, one for the bytes
    killed = asyncio.create_task(line.upload(source, digest=digest))
    await asyncio.wait_for(line.proxy.happened.wait(), 10)
    killed.cancel()
    with pytest.raises(asyncio.CancelledError):
        await killed
    url = line.urls[-1]
    assert url is not None
    line.progress.clear()
    assert (await line.upload(source, digest=digest, url=url)).url == url
    assert line.received() == [digest]
    assert min(line.progress) > 0, "it did not begin at the beginning"


async def test_forgotten_upload_is_begun_again(line: Line, tmp_path: Path) -> None:
    source, digest = a_file(tmp_path, BIG)
    url = await line.server.create(BIG)
    line.server.move_clock(timedelta(days=30))
    done = await line.upload(source, digest=digest, url=url)
    assert done.url != url
    assert line.urls == [None, done.url]
    assert line.received() == [digest]


async def test_upload_of_unknown_address_is_begun_again(line: Line, tmp_path: Path) -> None:
    source, digest = a_file(tmp_path, 100)
    await line.upload(source, digest=digest, url="/api/v1/uploads/" + "0" * 32)
    assert line.received() == [digest]


async def test_complete_upload_is_not_sent_again(line: Line, tmp_path: Path) -> None:
    source, digest = a_file(tmp_path, BIG)
    done = await line.upload(source, digest=digest)
    line.progress.clear()
    assert await line.upload(source, digest=digest, url=done.url) == done
    assert line.progress == []


async def test_other_bytes_than_signed_are_noticed_and_forgotten(line: Line, tmp_path: Path) -> None:
    source, digest = a_file(tmp_path, BIG)
    url = await line.server.create(BIG)
    await line.server.patch(url, 0, b"not the beginning of the file")
    with pytest.raises(UploadDivergedError) as caught:
        await line.upload(source, digest=digest, url=url)
    assert caught.value.expected == str(digest)
    assert line.urls == [None]
    assert (await line.upload(source, digest=digest)).held == digest


async def test_declared_digest_that_does_not_come_true_is_an_error_of_its_own(
    line: Line, tmp_path: Path
) -> None:
    source, _ = a_file(tmp_path, 1000)
    with pytest.raises(UploadDivergedError):
        await line.upload(source, digest=Digest.of(b"something else"))


async def test_file_that_shrank_is_the_stations_fault(line: Line, tmp_path: Path) -> None:
    source, digest = a_file(tmp_path, BIG)
    os.truncate(source.path, 5_000_000)
    with pytest.raises(SourceError):
        await line.upload(source, digest=digest)


async def test_missing_file_is_the_stations_fault(line: Line, tmp_path: Path) -> None:
    source, digest = a_file(tmp_path, 100)
    source.path.unlink()
    with pytest.raises(SourceError):
        await line.upload(source, digest=digest)


async def test_full_collector_is_waited_for(line: Line, tmp_path: Path) -> None:
    source, digest = a_file(tmp_path, 100)
    line.server.hooks.failure = StorageFullError("no space left")
    with pytest.raises(CollectorProblemError) as caught:
        await line.upload(source, digest=digest)
    assert (caught.value.status, caught.value.can_retry) == (507, True)


async def test_agency_of_others_is_refused_for_good(line: Line, tmp_path: Path) -> None:
    source, digest = a_file(tmp_path, 100)
    with pytest.raises(CollectorProblemError) as caught:
        await line.upload(source, digest=digest, agency="someone-else")
    assert (caught.value.problem, caught.value.can_retry) == ("agency-not-allowed", False)


async def test_line_that_never_lets_bytes_pass_is_given_back_to_the_caller(
    line: Line, tmp_path: Path
) -> None:
    source, digest = a_file(tmp_path, BIG)
    url = await line.server.create(BIG)
    line.proxy.plan(*[Fault(How.RESET, 200)] * 20)
    with pytest.raises((UploadStuckError, CollectorAwayError)):
        await line.upload(source, digest=digest, url=url)


async def test_absent_collector_is_an_error_at_once(line: Line, tmp_path: Path) -> None:
    source, digest = a_file(tmp_path, 100)
    line.proxy.refusing = True
    with pytest.raises(CollectorAwayError):
        await line.upload(source, digest=digest)


async def test_growing_file_goes_up_while_it_is_read(line: Line, tmp_path: Path) -> None:
    content = os.urandom(20_000_000)
    path = tmp_path / "partial"
    path.write_bytes(content[:9_000_000])
    growing = GrowingFile(path, len(content), available_bytes=9_000_000)
    uploading = asyncio.create_task(line.upload(GrowingSource(growing)))
    await sent(line, 9_000_000)
    with path.open("ab") as file:
        file.write(content[9_000_000:])
    growing.grow_from_thread(len(content))
    published = tmp_path / "published"
    path.rename(published)
    growing.end(Digest.of(content))
    assert (await uploading).held == Digest.of(content)


async def sent(line: Line, at_least: int) -> None:
    while not line.progress or line.progress[-1] < at_least:
        await asyncio.sleep(0.01)


async def test_growing_file_needs_one_connection_for_its_bytes(line: Line, tmp_path: Path) -> None:
    content = os.urandom(20_000_000)
    path = tmp_path / "partial"
    path.write_bytes(content[:9_000_000])
    growing = GrowingFile(path, len(content), available_bytes=9_000_000)
    uploading = asyncio.create_task(line.upload(GrowingSource(growing)))
    await sent(line, 9_000_000)
    before = line.proxy.connections
    for size in (9_000_001, 15_000_000, len(content)):
        path.write_bytes(content[:size])
        growing.grow_from_thread(size)
        await sent(line, size)
    growing.end(Digest.of(content))
    assert (await uploading).held == Digest.of(content)
    assert line.proxy.connections == before


async def test_bytes_still_in_memory_are_not_read_from_the_disk(line: Line, tmp_path: Path) -> None:
    content = os.urandom(20_000_000)
    path = tmp_path / "partial"
    path.write_bytes(content[:9_000_000])
    growing = GrowingFile(path, len(content), available_bytes=9_000_000)
    uploading = asyncio.create_task(line.upload(GrowingSource(growing)))
    await sent(line, 9_000_000)
    os.truncate(path, len(content))  # zeros, which is what the upload would find there
    for start in range(9_000_000, len(content), BUFFER_BYTES):
        piece = content[start : start + BUFFER_BYTES]
        growing.window.slot(start)[: len(piece)] = piece
    growing.grow_from_thread(len(content))
    growing.end(Digest.of(content))
    assert (await uploading).held == Digest.of(content)


async def test_upload_of_a_file_that_stopped_growing_can_be_ended(line: Line, tmp_path: Path) -> None:
    path = tmp_path / "partial"
    path.write_bytes(bytes(9_000_000))
    growing = GrowingFile(path, 20_000_000, available_bytes=9_000_000)
    uploading = asyncio.create_task(line.upload(GrowingSource(growing)))
    await sent(line, 9_000_000)
    uploading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await uploading


async def test_upload_of_a_read_that_fails_ends_and_keeps_its_address(line: Line, tmp_path: Path) -> None:
    path = tmp_path / "partial"
    path.write_bytes(bytes(9_000_000))
    growing = GrowingFile(path, 20_000_000, available_bytes=9_000_000)
    uploading = asyncio.create_task(line.upload(GrowingSource(growing)))
    while not line.progress:
        await asyncio.sleep(0.01)
    growing.end(None)
    with pytest.raises(SourceError):
        await uploading
    assert line.urls[-1] is not None


async def test_address_at_another_host_is_not_followed(line: Line, tmp_path: Path) -> None:
    source, digest = a_file(tmp_path, 100)
    with pytest.raises(Exception, match="outside the collector"):
        await line.upload(source, digest=digest, url="https://elsewhere.example/uploads/1")
