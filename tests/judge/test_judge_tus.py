"""Foreign tus clients against our server: the official Python client and the one browsers use."""

from __future__ import annotations

import asyncio
import io
import json
import os
import random
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tusclient.client import TusClient

from protocol.digest import Digest
from tests.support.tus_server import ObservedFiles, TusServer, tus_server

pytestmark = pytest.mark.judge

SIZE_BYTES = 32 << 20
DATA = random.Random(11).randbytes(SIZE_BYTES)
DIGEST = Digest.of(DATA)

HERE = Path(__file__).parent / "tus_js"
INSTALLED = Path(__file__).parents[2] / ".tools" / "node" / "tus_js"
SOURCES = ("package.json", "package-lock.json", "upload.mjs")


@pytest.fixture
async def disk() -> ObservedFiles:
    return ObservedFiles(asyncio.get_running_loop())


@pytest.fixture
async def server(tmp_path: Path, disk: ObservedFiles) -> AsyncIterator[TusServer]:
    async with tus_server(tmp_path / "staging", files=disk) as running:
        yield running


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    path = tmp_path / "clip.mp4"
    path.write_bytes(DATA)
    return path


def arrived(server: TusServer) -> list[Digest]:
    """Digests of completed uploads, of what lies on the disk and not only of what the server says."""
    digests = []
    for upload in server.hooks.completed:
        on_disk = Digest.of(server.staging.path(upload.upload_id).read_bytes())
        assert upload.actual == on_disk
        digests.append(on_disk)
    return digests


@pytest.mark.parametrize("chunk", [SIZE_BYTES, 5_000_001])
async def test_tuspy_stops_and_goes_on_with_checksums(server: TusServer, clip: Path, chunk: int) -> None:
    def work() -> None:
        client = TusClient(f"{server.url}/api/v1/uploads")
        with clip.open("rb") as stream:
            first = client.uploader(
                file_stream=stream, chunk_size=chunk, upload_checksum=True, metadata={"filename": "clip.mp4"}
            )
            first.upload(stop_at=12_345_678)
        with clip.open("rb") as stream:
            again = client.uploader(file_stream=stream, chunk_size=chunk, upload_checksum=True, url=first.url)
            assert again.offset == 12_345_678
            again.upload()

    await asyncio.to_thread(work)
    assert arrived(server) == [DIGEST]


async def test_tuspy_uploads_an_empty_file(server: TusServer) -> None:
    uploader = TusClient(f"{server.url}/api/v1/uploads").uploader(file_stream=io.BytesIO())
    await asyncio.to_thread(uploader.upload)
    assert arrived(server) == [Digest.of(b"")]


@pytest.fixture(scope="session")
def tus_js() -> Path:
    """Folder with the script and its one dependency, installed from the lock file."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        if os.environ.get("CI") == "true":
            pytest.fail("the judge needs node and npm")
        pytest.skip("node or npm is not installed")
    return INSTALLED


async def install(folder: Path) -> None:
    """Copies the sources and installs unless what is there was made from the same ones."""
    wanted = b"".join((HERE / name).read_bytes() for name in SOURCES)
    stamp = folder / "installed"
    if stamp.is_file() and stamp.read_bytes() == wanted:
        return
    folder.mkdir(parents=True, exist_ok=True)
    for name in SOURCES:
        shutil.copy(HERE / name, folder / name)
    npm = await asyncio.create_subprocess_exec(
        "npm",
        "ci",
        "--no-audit",
        "--no-fund",
        cwd=folder,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await npm.communicate()
    assert npm.returncode == 0, output.decode()
    stamp.write_bytes(wanted)


async def run_node(
    folder: Path, server: TusServer, clip: Path, **options: object
) -> asyncio.subprocess.Process:
    await install(folder)
    given = {"endpoint": f"{server.url}/api/v1/uploads", "path": str(clip), "size": SIZE_BYTES} | options
    return await asyncio.create_subprocess_exec(
        "node", "upload.mjs", json.dumps(given), cwd=folder, stdout=asyncio.subprocess.PIPE
    )


async def finish(process: asyncio.subprocess.Process) -> None:
    output, _ = await process.communicate()
    assert process.returncode == 0
    assert output.endswith(b"done\n")


@pytest.mark.parametrize(
    "options",
    [{}, {"chunkSize": 5_000_001}, {"uploadDataDuringCreation": True}, {"overridePatchMethod": True}],
    ids=["one request", "parts", "first bytes with the creation", "method override"],
)
async def test_tus_js_client_uploads(
    server: TusServer, clip: Path, tus_js: Path, options: dict[str, object]
) -> None:
    await finish(await run_node(tus_js, server, clip, **options))
    assert arrived(server) == [DIGEST]


async def test_tus_js_client_defers_the_length(server: TusServer, clip: Path, tus_js: Path) -> None:
    options = {"size": None, "uploadLengthDeferred": True, "chunkSize": 7_000_000}
    await finish(await run_node(tus_js, server, clip, **options))
    assert arrived(server) == [DIGEST]


async def test_tus_js_client_killed_in_the_middle_goes_on_where_the_bytes_end(
    server: TusServer, disk: ObservedFiles, clip: Path, tus_js: Path
) -> None:
    disk.gate.clear()
    first = await run_node(tus_js, server, clip)
    assert first.stdout is not None
    url = (await first.stdout.readline()).decode().removeprefix("url ").strip()
    await disk.written(1)
    first.kill()
    await first.communicate()
    disk.gate.set()
    offset = (await server.head(url.removeprefix(server.url))).offset
    assert 0 < offset < SIZE_BYTES
    await finish(await run_node(tus_js, server, clip, url=url))
    assert arrived(server) == [DIGEST]
