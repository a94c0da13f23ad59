"""What senders over tus send, and one that decides how many of the promised bytes ever come."""

from __future__ import annotations

import asyncio
import hashlib
import random

from collector.files import BLOCK_BYTES
from protocol.digest import Digest
from protocol.upload import Checksum, format_metadata
from tests.support.tus_server import TusServer

UPLOADS = "/api/v1/uploads"
DATA = random.Random(1).randbytes(3 * BLOCK_BYTES + 4321)
DIGEST = Digest.of(DATA)


def metadata(**fields: str) -> str:
    return format_metadata({key: value.encode() for key, value in fields.items()})


def checksum(algorithm: str, data: bytes) -> str:
    return str(Checksum(algorithm=algorithm, value=hashlib.new(algorithm, data).digest()))


class RawPatch:
    """A PATCH on a bare socket, so that a test decides how many of the promised bytes ever come."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def begin(
        cls, server: TusServer, path: str, *, offset: int, length: int, extra: str = ""
    ) -> RawPatch:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(
            f"PATCH {path} HTTP/1.1\r\nHost: x\r\nTus-Resumable: 1.0.0\r\nContent-Length: {length}\r\n"
            f"Content-Type: application/offset+octet-stream\r\nUpload-Offset: {offset}\r\n{extra}\r\n".encode()
        )
        return cls(reader, writer)

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    def cut(self) -> None:
        self.writer.transport.abort()

    async def answer(self) -> bytes:
        """Everything the server says until it hangs up."""
        try:
            return await self.reader.read()
        except ConnectionResetError:
            return b""
        finally:
            self.writer.close()
