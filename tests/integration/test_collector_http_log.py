"""The log as a stranger reads it over TLS: every file there is, none that is not, proofs between any two sizes."""

from __future__ import annotations

import asyncio
import json
from base64 import b64decode
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from protocol.checkpoint import open_checkpoint
from protocol.log_reading import LogCopy, check_entries
from protocol.merkle import verify_consistency
from protocol.tiles import tiles_for_size
from tests.support.collector_lab import LOG_KEY, World, found
from tests.support.collector_site import (
    CollectorSite,
    serving,
    store_clip,
)
from tests.support.evidence import inventory


@pytest.fixture
async def world(tmp_path: Path) -> World:
    world = World(folder=tmp_path)
    await found(world)
    return world


@pytest.fixture
async def site(world: World) -> AsyncIterator[CollectorSite]:
    async with serving(world) as site:
        yield site


@pytest.fixture
async def stored(site: CollectorSite) -> CollectorSite:
    """A site that holds one clip."""
    await store_clip(site)
    return site


async def test_a_stranger_reads_the_whole_log(stored: CollectorSite) -> None:
    note = (await stored.get("/log/checkpoint")).body
    vkey = (await stored.get("/log/vkey")).body
    assert vkey == f"{LOG_KEY.verifier}\n".encode()
    newest = open_checkpoint(note, LOG_KEY.verifier)
    tiles = {}
    for tile in tiles_for_size(newest.size):
        answer = await stored.get(f"/log/{tile.path}")
        assert "immutable" in answer.headers["Cache-Control"]
        tiles[tile] = answer.body
    check_entries(LogCopy(note, tiles.__getitem__), [newest], {})


async def test_the_checkpoint_is_not_cached(site: CollectorSite) -> None:
    assert (await site.get("/log/checkpoint")).headers["Cache-Control"] == "no-cache"


@pytest.mark.parametrize(
    "path",
    [
        "tile/0/000.p/3",
        "tile/entries/000.p/3",
        "tile/0/000",
        "tile/1/000.p/1",
        "tile/0/001.p/1",
        "tile/63/000.p/1",
        "tile/64/000",
        "tile/0/000.p/1",  # never written: no batch ended there after the second
        "tile/0/0",
        "tile/0/000.p/0",
        "tile/0/000.p/256",
        "tile/../vkey",
        "tile/%2e%2e/vkey",
        "tile/%2e%2e%2fcheckpoint",
        "tile/0/..%2f..%2f..%2fcheckpoint",
        "tile/0/000.p/2%00",
        "tile/0/x000/000",
        "tile//0/000",
        "tile/.scratch",
        "tile/" + "x999/" * 200 + "999",
    ],
)
async def test_what_the_log_does_not_have_is_not_found(site: CollectorSite, path: str) -> None:
    site.lab.world.files.remove(Path("/log/tile/0/000.p/1"))
    answer = await site.get(f"/log/{path}")
    assert answer.status == 404


async def test_tiles_beyond_the_checkpoint_are_not_shown(site: CollectorSite) -> None:
    """A batch that got no checkpoint leaves files that another batch will replace."""
    files = site.lab.world.files
    written = await asyncio.to_thread(lambda: files.read(Path("/log/tile/0/000.p/2"), 0, 99))
    folder = Path("/log/tile/0/000.p")
    appender = files.create(folder / "3")
    appender.write(written + bytes(32))
    appender.close()
    assert (await site.get("/log/tile/0/000.p/3")).code == "tile-unknown"
    assert (await site.get("/log/tile/0/000.p/2")).body == written


async def test_consistency_between_any_two_sizes(site: CollectorSite) -> None:
    roots = {}
    for number in range(6):
        await site.lab.admit(inventory(number), inventory(number + 100))
        checkpoint = open_checkpoint((await site.get("/log/checkpoint")).body, LOG_KEY.verifier)
        roots[checkpoint.size] = checkpoint.root
    for old in roots:
        for new in roots:
            if old <= new:
                answer = await site.get(f"/api/v1/log/consistency?from={old}&to={new}")
                told = json.loads(answer.body)
                assert (told["from"], told["to"]) == (old, new)
                proof = [b64decode(value) for value in told["hashes"]]
                verify_consistency(old, new, proof, roots[old], roots[new])
    assert (await site.get("/api/v1/log/consistency?from=5&to=7")).status == 200  # no batch ended at 7


@pytest.mark.parametrize(
    "query", ["", "from=1", "from=2&to=1", "from=1&to=999", "from=a&to=2", "from=-1&to=2", "from=01&to=2"]
)
async def test_impossible_consistency_is_refused(site: CollectorSite, query: str) -> None:
    answer = await site.get(f"/api/v1/log/consistency?{query}")
    assert answer.status == 400
    assert answer.code in ("malformed", "proof-invalid", "limit-exceeded")


async def test_a_disk_that_fails_is_not_called_a_missing_tile(site: CollectorSite) -> None:
    site.lab.world.files.dark = True
    answer = await site.get("/log/tile/0/000.p/2")
    assert (answer.status, answer.problem["retryable"]) == (503, True)
    site.lab.world.files.dark = False
