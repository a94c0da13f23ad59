"""Small inputs that would become large ones: compressed answers, compressed indices, compressed metadata."""

from __future__ import annotations

import asyncio
import gzip
import ssl
import struct
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from aiohttp import web

from agent.enrol import enrol
from agent.enrol_errors import EnrolError
from agent.errors import MediaError, SandboxUnavailableError
from agent.media.render import FfmpegRenderer
from agent.media.sandbox import Sandbox
from agent.uplink.answers import Timeouts
from agent.uplink.collector_http import CollectorClient
from agent.uplink.errors import CollectorAnswerError
from protocol.enrolment_code import EnrolmentCode
from tests.support.enrolment_server import EnrolmentServer, enrolment_server
from tests.support.foreign import missing
from tests.support.media_lab import make_h264
from tests.support.memory_keys import MemoryKeyStore

BOMB = gzip.compress(bytes(64 * 1024**2), mtime=0)
"""64 KiB that become 64 MiB."""


async def test_a_compressed_ca_is_not_unpacked_even_when_it_is_the_right_one(tmp_path: Path) -> None:
    """What is unpacked here would be the CA of the code; that it is not recognised shows that nothing was."""
    async with enrolment_server(tmp_path / "collector") as server:
        for content in (gzip.compress(server.authority.certificate_pem), BOMB[:10_000]):
            async with answering_gzip(content, server) as code:
                with pytest.raises(EnrolError) as refused:
                    await enrol(code.to_text(), MemoryKeyStore(), lambda *_: None)
            assert refused.value.code == "ca-fingerprint-mismatch"


@asynccontextmanager
async def answering_gzip(content: bytes, server: EnrolmentServer) -> AsyncIterator[EnrolmentCode]:
    """A TLS server that answers everything with ``content``, said to be compressed; a code that leads to it."""

    async def answer(request: web.Request) -> web.Response:
        assert request.headers["Accept-Encoding"] == "identity"
        return web.Response(body=content, headers={"Content-Encoding": "gzip"})

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(server.trust.server_certificate, server.trust.server_key)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
        server.url = f"https://127.0.0.1:{runner.addresses[0][1]}"
        yield server.give_code()
    finally:
        await runner.cleanup()


async def test_a_compressed_answer_of_the_collector_is_not_unpacked() -> None:
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(BOMB)}\r\nConnection: close\r\n\r\n"

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, EOFError):
            assert b"Accept-Encoding: identity" in await reader.readuntil(b"\r\n\r\n")
            writer.write(head.encode() + BOMB)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server, CollectorClient(url, timeouts=Timeouts(connect_s=5, answer_s=5)) as client:
        with pytest.raises(CollectorAnswerError) as refused:
            await client.fetch_consistency(3, 5)
    assert refused.value.code == "collector-answer-invalid"


# --- media -----------------------------------------------------------------------------------------------------


@pytest.fixture
async def renderer() -> FfmpegRenderer:
    try:
        return await FfmpegRenderer.open(Sandbox())
    except SandboxUnavailableError as error:
        missing(str(error))


def box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content) + 8) + kind + content


def compressed_index(clip: bytes, claimed_bytes: int, content: bytes) -> bytes:
    """The clip with an index (moov) that is compressed and claims to become ``claimed_bytes``."""
    packed = box(b"dcom", b"zlib") + box(b"cmvd", struct.pack(">I", claimed_bytes) + zlib.compress(content))
    return clip[: clip.index(b"ftyp") + 28] + box(b"moov", box(b"cmov", packed))


def png(*chunks: tuple[bytes, bytes]) -> bytes:
    whole = [(b"IHDR", struct.pack(">IIBBBBB", 16, 16, 8, 2, 0, 0, 0)), *chunks]
    whole += [(b"IDAT", zlib.compress(bytes(16 * 49))), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in whole
    )


@pytest.mark.media
@pytest.mark.parametrize(("claimed_bytes", "mib"), [(2**32 - 1, 1), (128 * 1024**2, 128), (2**31, 1)])
async def test_a_compressed_index_unpacks_nothing_beyond_the_limits(
    renderer: FfmpegRenderer, tmp_path: Path, claimed_bytes: int, mib: int
) -> None:
    original = tmp_path / "clip.mp4"
    clip = make_h264(tmp_path / "honest.mp4").read_bytes()
    original.write_bytes(compressed_index(clip, claimed_bytes, bytes(mib * 1024**2)))
    assert original.stat().st_size < 2 * 1024**2
    with pytest.raises(MediaError) as refused:
        await renderer.facts(original, "video/mp4")
    assert refused.value.code in ("media-unreadable", "media-limit")


@pytest.mark.media
@pytest.mark.parametrize("kind", [b"iCCP", b"zTXt", b"iTXt"])
async def test_compressed_metadata_of_a_picture_are_not_unpacked(
    renderer: FfmpegRenderer, tmp_path: Path, kind: bytes
) -> None:
    """The picture is honest and small; what stands beside it would become 64 MiB."""
    packed = zlib.compress(bytes(64 * 1024**2))
    head = {b"iCCP": b"p\0\0", b"zTXt": b"t\0\0", b"iTXt": b"t\0\1\0\0\0"}[kind]
    original = tmp_path / "photo.png"
    original.write_bytes(png((kind, head + packed)))
    facts = await renderer.facts(original, "image/png")
    assert (getattr(facts, "width", None), getattr(facts, "height", None)) == (16, 16)
