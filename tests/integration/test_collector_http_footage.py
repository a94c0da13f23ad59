"""Footage over TLS: ranges, who may look, and that every look is in the log before the first byte leaves."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest

from collector.core.access import Scope
from collector.http.footage import VIEWING
from collector.objects import ObjectClass
from protocol.digest import Digest
from protocol.statements import Custody, Manifest, parse_statement, sign_statement, statement_id
from protocol.upload import Purpose
from tests.support.collector_lab import INVENTORY, INVENTORY_ID, World, found
from tests.support.collector_site import (
    CLIP,
    CLIP_ID,
    CONTENT,
    FOREIGN,
    Answer,
    CollectorSite,
    serving,
    store_clip,
)
from tests.support.evidence import AGENCY, STATION_SEED, manifest, rendition

ORIGINAL = f"/api/v1/originals/{CLIP.digest}"


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


async def view(site: CollectorSite, path: str = ORIGINAL, method: str = "GET", **headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await site.ask(method, path, token=await viewer(site), headers=named)


async def viewer(site: CollectorSite) -> str:
    return await asyncio.to_thread(site.token, Scope.FOOTAGE)


def viewings(site: CollectorSite) -> int:
    return sum(entry.kind == "custody" for entry in site.lab.world.check_log())


async def test_the_whole_original(stored: CollectorSite) -> None:
    answer = await view(stored)
    assert (answer.status, answer.body) == (200, CONTENT)
    assert answer.headers["Content-Length"] == str(len(CONTENT))
    assert answer.headers["ETag"] == f'"{CLIP.digest}"'
    assert answer.headers["Accept-Ranges"] == "bytes"


@pytest.mark.parametrize(
    ("asked", "start", "end"),
    [
        ("0-0", 0, 1),
        ("0-", 0, 5120),
        ("5000-", 5000, 5120),
        ("-20", 5100, 5120),
        ("100-199", 100, 200),
        ("-9999", 0, 5120),
        ("5119-9999", 5119, 5120),
    ],
)
async def test_a_range_is_answered_as_one(stored: CollectorSite, asked: str, start: int, end: int) -> None:
    answer = await view(stored, Range=f"bytes={asked}")
    assert (answer.status, answer.body) == (206, CONTENT[start:end])
    assert answer.headers["Content-Range"] == f"bytes {start}-{end - 1}/5120"
    assert answer.headers["Content-Length"] == str(end - start)


@pytest.mark.parametrize("asked", ["bytes=5120-", "bytes=-0", "bytes=99999-100000"])
async def test_a_range_outside_the_file_is_refused_and_no_viewing(stored: CollectorSite, asked: str) -> None:
    answer = await view(stored, Range=asked)
    assert (answer.status, answer.code) == (416, "range-not-satisfiable")
    assert answer.headers["Content-Range"] == "bytes */5120"
    assert viewings(stored) == 0


@pytest.mark.parametrize("asked", ["bytes=0-1,3-4", "seconds=1-2", "bytes=9-1", "rubbish"])
async def test_what_is_no_single_range_gives_the_whole(stored: CollectorSite, asked: str) -> None:
    answer = await view(stored, Range=asked)
    assert (answer.status, answer.body) == (200, CONTENT)


async def test_a_range_of_another_file_gives_the_whole(stored: CollectorSite) -> None:
    etag = f'"{CLIP.digest}"'
    assert (await view(stored, Range="bytes=0-1", If_Range=etag)).status == 206
    assert (await view(stored, Range="bytes=0-1", If_Range='"other"')).body == CONTENT
    assert (await view(stored, Range="bytes=0-1", If_Range="Wed, 21 Oct 2026 07:28:00 GMT")).status == 200


@pytest.mark.parametrize("tags", [f'"{CLIP.digest}"', f'"x", "{CLIP.digest}"', f'W/"{CLIP.digest}"', "*"])
async def test_what_the_viewer_has_already_is_not_sent_again(stored: CollectorSite, tags: str) -> None:
    answer = await view(stored, If_None_Match=tags)
    assert (answer.status, answer.body) == (304, b"")
    assert viewings(stored) == 0
    assert (await view(stored, If_None_Match='"other"')).status == 200


async def test_head_tells_the_length_and_is_no_viewing(stored: CollectorSite) -> None:
    answer = await view(stored, method="HEAD", Range="bytes=0-1")
    assert (answer.status, answer.headers["Content-Length"], answer.body) == (200, "5120", b"")
    assert viewings(stored) == 0


async def test_footage_runs_nothing_in_a_browser(stored: CollectorSite) -> None:
    headers = (await view(stored)).headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert "sandbox" in headers["Content-Security-Policy"]
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert headers["Cache-Control"] == "private, no-store"
    assert headers["Content-Disposition"].startswith("inline")


async def test_a_type_a_browser_might_run_is_a_download(site: CollectorSite) -> None:
    page = replace(manifest(b"<script>", INVENTORY_ID, 50), media_type="text/html")
    await site.lab.admit(INVENTORY, page)
    await site.lab.upload(b"<script>")
    await site.lab.stored(statement_id(sign_statement(page, STATION_SEED)))
    headers = (await view(site, f"/api/v1/originals/{page.digest}")).headers
    assert headers["Content-Type"] == "application/octet-stream"
    assert headers["Content-Disposition"].startswith("attachment")


async def test_a_viewing_is_in_the_log_before_the_first_byte_leaves(stored: CollectorSite) -> None:
    token = await viewer(stored)
    context = stored.client_context(None)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as session:
        headers = {"Authorization": f"Bearer {token}"}
        response = await session.get(stored.url + ORIGINAL, headers=headers)
        assert viewings(stored) == 1
        assert await response.read() == CONTENT
    entry = stored.lab.world.check_log()[-1]
    payload = await stored.lab.objects.read(AGENCY, ObjectClass.STATEMENTS, entry.statement)
    event = parse_statement(payload)
    assert isinstance(event, Custody)
    assert (event.event, event.item, event.actor) == ("viewed", CLIP.digest, "viewer")
    assert re.fullmatch(r"[0-9a-f]{16}", str(event.details["token"]))


async def test_what_cannot_be_logged_is_not_shown(world: World) -> None:
    async with serving(world) as site:
        await store_clip(site)
    async with serving(world, max_wait_s=0.05) as site:
        world.files.plan(2)  # the calls before are the question how long the file is
        answer = await view(site)
        assert (answer.status, answer.problem["retryable"]) == (503, True)
    async with serving(world) as site:
        assert (await view(site)).body == CONTENT


async def test_many_ranges_are_one_viewing(stored: CollectorSite) -> None:
    token = await viewer(stored)
    await asyncio.gather(
        *(
            stored.get(ORIGINAL, token=token, headers={"Range": f"bytes={n * 100}-{n * 100 + 99}"})
            for n in range(20)
        )
    )
    assert viewings(stored) == 1


async def test_each_viewer_and_each_new_look_is_a_viewing(stored: CollectorSite) -> None:
    one, other = stored.token(Scope.FOOTAGE, name="one"), stored.token(Scope.FOOTAGE, name="other")
    for token in (one, other, one):
        await stored.get(ORIGINAL, token=token)
    assert viewings(stored) == 2
    stored.lab.world.now += VIEWING
    await stored.get(ORIGINAL, token=one)
    assert viewings(stored) == 3


async def test_scopes_and_agencies_decide(stored: CollectorSite) -> None:
    clips_only = stored.token(Scope.CLIPS)
    foreign = stored.token(Scope.FOOTAGE, agencies=frozenset({FOREIGN}))
    answers = [await stored.get(ORIGINAL, token=token) for token in (clips_only, foreign)]
    assert [(answer.status, answer.code) for answer in answers] == [
        (403, "scope-missing"),
        (404, "footage-unknown"),
    ]
    assert answers[1].code == "footage-unknown"
    assert viewings(stored) == 0


async def test_promised_bytes_are_not_footage_before_they_are_stored(site: CollectorSite) -> None:
    await site.lab.admit(INVENTORY, CLIP)
    assert (await view(site)).code == "footage-unknown"


async def test_a_rendition_is_no_original(stored: CollectorSite) -> None:
    made = rendition(b"playable", CLIP.digest, CLIP_ID)
    await stored.lab.admit(made)
    await stored.lab.upload(b"playable", Purpose.RENDITION)
    await stored.lab.stored(statement_id(sign_statement(made, STATION_SEED)))
    digest = Digest.of(b"playable")
    assert (await view(stored, f"/api/v1/renditions/{digest}")).body == b"playable"
    assert (await view(stored, f"/api/v1/originals/{digest}")).status == 404


@pytest.mark.parametrize("name", ["x", "sha256:" + "G" * 64, "..%2f..%2fkeys", "sha256:" + "0" * 63])
async def test_footage_has_a_digest(stored: CollectorSite, name: str) -> None:
    assert (await view(stored, f"/api/v1/originals/{name}")).status == 400


async def test_a_file_that_ends_early_ends_the_connection(
    stored: CollectorSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A body of the wrong bytes with the right length would be worse than none."""
    hexed = CLIP.digest.hex
    path = Path("/objects") / AGENCY / "originals" / hexed[:2] / hexed[2:4] / hexed
    files, read = stored.lab.world.files, stored.lab.world.files.read

    def short(asked: Path, offset_bytes: int, size_bytes: int) -> bytes:
        return b"" if asked == path else read(asked, offset_bytes, size_bytes)

    monkeypatch.setattr(files, "read", short)
    with pytest.raises(aiohttp.ClientPayloadError):
        await view(stored)


async def test_a_viewer_that_goes_away_is_nobodys_fault(
    site: CollectorSite, caplog: pytest.LogCaptureFixture
) -> None:
    content = bytes(30_000_000)
    big: Manifest = manifest(content, INVENTORY_ID, 60)
    await site.lab.admit(INVENTORY, big)
    await site.lab.upload(content)
    await site.lab.stored(statement_id(sign_statement(big, STATION_SEED)))
    token, context = await viewer(site), site.client_context(None)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as session:
        url = f"{site.url}/api/v1/originals/{big.digest}"
        response = await session.get(url, headers={"Authorization": f"Bearer {token}"})
        assert await response.content.read(10)
        response.close()
    assert (await site.get("/healthz")).status == 200
    assert "internal-error" not in caplog.text
