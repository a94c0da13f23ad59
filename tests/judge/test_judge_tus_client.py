"""Do tus servers that we did not write agree with our upload client, also when the line keeps breaking?"""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import socket
import subprocess
import venv
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from agent.uplink.answers import Timeouts
from agent.uplink.collector_http import CollectorClient
from agent.uplink.sources import WholeFile
from agent.uplink.tus import TusClient, Uploaded, UploadOrder
from protocol.digest import Digest
from tests.support.proxy import Fault, FaultyProxy, How

pytestmark = pytest.mark.judge

TOOLS = Path(__file__).parents[2] / ".tools"
JS_SERVER = Path(__file__).parent / "tus_server_js"
PEER = "resumable-upload==0.3.0"
SIZES = (0, 1, 200_000, 9_000_001)


@dataclass(frozen=True, slots=True)
class Judge:
    """A foreign server that is running, where it stores, and where it takes uploads."""

    port: int
    folder: Path
    path: str = "/files"

    def stored(self) -> set[str]:
        """SHA-256 of every file it keeps; a server may keep notes beside them."""
        files = (path for path in self.folder.rglob("*") if path.is_file())
        return {hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def _install(marker: Path, *commands: list[str]) -> None:
    """Run the installation once; without a package registry there is no judge, which only CI may not accept."""
    if marker.exists():
        return
    for command in commands:
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=marker.parent)
        if done.returncode != 0:
            message = f"the judge cannot be installed: {done.stderr[-400:]}"
            (pytest.fail if os.environ.get("CI") else pytest.skip)(message)
    marker.touch()


@pytest.fixture(scope="session")
def peer_command() -> list[str]:
    folder = TOOLS / "judges"
    python = folder / "bin/python"
    if not python.exists():
        venv.create(folder, with_pip=True)
    _install(folder / PEER, [str(python), "-m", "pip", "install", "--quiet", PEER])
    return [str(folder / "bin/resumable-upload"), "serve", "--host", "127.0.0.1"]


@pytest.fixture(scope="session")
def js_folder() -> Path:
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed")
    folder = TOOLS / "node/tus_server_js"
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("package.json", "package-lock.json", "server.mjs"):
        shutil.copyfile(JS_SERVER / name, folder / name)
    lock = hashlib.sha256((folder / "package-lock.json").read_bytes()).hexdigest()[:12]
    _install(folder / f"installed-{lock}", ["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts"])
    return folder


@pytest.fixture(params=["resumable-upload", "@tus/server"])
def judge(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Judge]:
    folder = tmp_path / "judge"
    folder.mkdir()
    if request.param == "@tus/server":
        js: Path = request.getfixturevalue("js_folder")
        process, port = _start_js(js, folder)
    else:
        port = _free_port()
        where = ["--upload-dir", str(folder), "--db-path", str(tmp_path / "judge.db"), "--port", str(port)]
        process = subprocess.Popen(
            [*request.getfixturevalue("peer_command"), *where], stderr=subprocess.DEVNULL
        )
    try:
        _wait_listening(process, port)
        yield Judge(port, folder)
    finally:
        process.terminate()
        process.wait(timeout=20)
        if process.stdout is not None:
            process.stdout.close()


def _start_js(js: Path, folder: Path) -> tuple[subprocess.Popen[bytes], int]:
    process = subprocess.Popen(["node", "server.mjs", str(folder)], cwd=js, stdout=subprocess.PIPE)
    assert process.stdout is not None
    return process, int(process.stdout.readline())


def _free_port() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        port: int = server.getsockname()[1]
        return port


def _wait_listening(process: subprocess.Popen[bytes], port: int) -> None:
    while process.poll() is None:
        with closing(socket.socket()) as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
    pytest.fail(f"the judge ended with {process.returncode}")


@pytest.fixture
async def proxy(judge: Judge) -> AsyncIterator[FaultyProxy]:
    async with FaultyProxy("127.0.0.1", judge.port) as proxy:
        yield proxy


async def _upload(proxy: FaultyProxy, judge: Judge, source: WholeFile) -> Uploaded:
    kept: list[str | None] = []

    async def keep(url: str | None) -> None:
        kept.append(url)

    digest = Digest.of(source.path.read_bytes())
    order = UploadOrder(agency="city-west", purpose="original", digest=digest)
    timeouts = Timeouts(connect_s=2, answer_s=5, stall_s=1)
    async with CollectorClient(proxy.origin, timeouts=timeouts) as collector:
        client = TusClient(collector, path=judge.path)
        async with asyncio.timeout(60):
            done = await client.upload(source, order, url=None, keep_url=keep, note_progress=lambda _: None)
    assert kept[-1] == done.url
    return done


def _file(folder: Path, size: int) -> WholeFile:
    path = folder / "clip.mp4"
    path.write_bytes(os.urandom(size))
    return WholeFile(path=path, size_bytes=size)


@pytest.mark.parametrize("size", SIZES)
async def test_foreign_server_stores_exactly_our_bytes(
    judge: Judge, proxy: FaultyProxy, tmp_path: Path, size: int
) -> None:
    source = _file(tmp_path, size)
    await _upload(proxy, judge, source)
    assert hashlib.sha256(source.path.read_bytes()).hexdigest() in judge.stored()


@pytest.mark.parametrize("how", [How.CLOSE, How.RESET, How.STALL])
async def test_foreign_server_gets_the_rest_after_every_cut(
    judge: Judge, proxy: FaultyProxy, tmp_path: Path, how: How
) -> None:
    source = _file(tmp_path, 9_000_001)
    proxy.plan(Fault(how, 3_000_000), Fault(how, 2_000_000))
    await _upload(proxy, judge, source)
    assert not proxy.faults, "both cuts happened"
    assert hashlib.sha256(source.path.read_bytes()).hexdigest() in judge.stored()
