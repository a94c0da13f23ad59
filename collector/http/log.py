"""The log as files, open to everybody (C2SP tlog-tiles), and consistency proofs for those who witness it."""

from __future__ import annotations

import asyncio
from typing import Final

from aiohttp import web

from collector.errors import CollectorError
from collector.log.tile_files import LogMissingError, TileFiles
from collector.log.writer import LogWriter
from protocol.errors import LimitError, MalformedError, ProofError
from protocol.limits import MAX_TREE_SIZE
from protocol.lines import encode_base64, parse_decimal
from protocol.tiles import ENTRIES, TILE_HEIGHT, Tile, parse_tile_path

_IMMUTABLE: Final = {"Cache-Control": "public, max-age=31536000, immutable"}
_CHANGING: Final = {"Cache-Control": "no-cache"}


class TileUnknownError(CollectorError):
    """The log has no such tile, or not yet."""

    code = "tile-unknown"
    status = 404
    fault = "caller"


class LogHandlers:
    """Read-only; the writer's checkpoint decides what exists."""

    def __init__(self, log: LogWriter, files: TileFiles) -> None:
        self._log = log
        self._files = files

    async def checkpoint(self, _request: web.Request) -> web.Response:
        return web.Response(
            body=self._log.checkpoint_note, content_type="text/plain", charset="utf-8", headers=_CHANGING
        )

    async def vkey(self, _request: web.Request) -> web.Response:
        return web.Response(text=f"{self._log.key}\n", headers=_IMMUTABLE)

    async def tile(self, request: web.Request) -> web.Response:
        try:
            tile = parse_tile_path("tile/" + request.match_info["path"])
            self._check_published(tile)
            data = await asyncio.to_thread(self._files.read, tile)
        except (MalformedError, LimitError, LogMissingError) as error:
            raise TileUnknownError("the log has no such tile") from error
        return web.Response(body=data, content_type="application/octet-stream", headers=_IMMUTABLE)

    def _check_published(self, tile: Tile) -> None:
        """Files beyond the checkpoint may still change: nobody gets to see them."""
        level = 0 if tile.level == ENTRIES else tile.level
        count = self._log.checkpoint.size >> (TILE_HEIGHT * level)
        if (tile.index << TILE_HEIGHT) + tile.width > count:
            raise TileUnknownError("the log has no such tile yet")

    async def consistency(self, request: web.Request) -> web.Response:
        old = parse_decimal(request.query.get("from", ""), "from", MAX_TREE_SIZE)
        new = parse_decimal(request.query.get("to", ""), "to", MAX_TREE_SIZE)
        if not old <= new <= self._log.checkpoint.size:
            raise ProofError(f"a proof leads from a size to a later one, up to {self._log.checkpoint.size}")
        hashes = await asyncio.to_thread(self._log.prove_consistency, old, new)
        return web.json_response(
            {"from": old, "to": new, "hashes": [encode_base64(value) for value in hashes]}, headers=_IMMUTABLE
        )


def add_log_routes(app: web.Application, handlers: LogHandlers) -> None:
    """Below ``/log`` as tlog-tiles wants it; the proof below ``/api/v1``."""
    app.router.add_get("/log/checkpoint", handlers.checkpoint)
    app.router.add_get("/log/vkey", handlers.vkey)
    app.router.add_get("/log/tile/{path:.+}", handlers.tile)
    app.router.add_get("/api/v1/log/consistency", handlers.consistency)
