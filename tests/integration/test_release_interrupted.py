"""Is every release that was cut short settled later, by what the recorder then shows?"""

from __future__ import annotations

import asyncio

import pytest

from agent.core.bay import BayState
from agent.offload.inventory import close_visit
from agent.spool.journal import Journal
from tests.support.lossy_spool import LossySpool
from tests.support.memory_volume import MemoryVolume
from tests.support.release_lab import (
    FILES,
    SYSTEM,
    Centre,
    intents,
    release_tools,
    releases,
    run_release,
)
from tests.support.visit_lab import inventories, manifests


async def test_an_erasure_that_was_not_confirmed_is_told_by_the_next_mount(
    journal: Journal, spool: LossySpool, centre: Centre
) -> None:
    volume = MemoryVolume(FILES, label="ZFY0001")
    volume.flush_fails = True
    tools = release_tools(journal, centre)
    tile = await run_release(volume, tools, centre, spool)
    assert (tile.state, tile.status(journal).problem_code) == (BayState.NOT_RELEASED, "erasure-unsure")
    assert releases(journal) == []
    volume.flush_fails = False  # systems tell a failed flush once, and then forget what was lost
    again = await run_release(volume, release_tools(journal, centre, ids="again"), centre, spool)
    assert again.state is BayState.NOT_RELEASED, "the same mount proves nothing"
    volume.plug_in(lost_unflushed=True)
    last = await run_release(volume, release_tools(journal, centre, ids="last"), centre, spool)
    assert last.state is BayState.RELEASED
    first, second = releases(journal)
    assert [row.code for row in first.kept] == ["interrupted", "interrupted"]
    assert second.kept == ()
    assert set(volume.files) == {SYSTEM}


@pytest.mark.parametrize("lost", [False, True])
async def test_a_recorder_pulled_while_it_is_cleared_is_settled_at_its_next_visit(
    journal: Journal, spool: LossySpool, centre: Centre, lost: bool
) -> None:
    volume = MemoryVolume(FILES, label="ZFY0001")

    def pull(moment: str) -> None:
        if moment == "erased":
            volume.vanish()

    volume.on_release = pull
    tools = release_tools(journal, centre)
    tile = await run_release(volume, tools, centre, spool)
    assert volume.erased == 1
    assert releases(journal) == []
    volume.on_release = lambda _: None
    volume.plug_in(lost_unflushed=lost)
    tile = await run_release(volume, release_tools(journal, centre, ids="again"), centre, spool)
    assert tile.state is BayState.RELEASED
    assert set(volume.files) == {SYSTEM}
    first, second = releases(journal)
    assert len(first.kept) == (2 if lost else 1)
    assert {row.code for row in first.kept} == {"interrupted"}
    assert first.visit == second.visit != intents(journal)[0][1].visit
    assert len(manifests(journal)) == 2, "nothing had to be stored twice"


async def test_a_new_visit_in_the_same_mount_proves_nothing_before_a_flush(
    journal: Journal, spool: LossySpool, centre: Centre
) -> None:
    volume = MemoryVolume(FILES, label="ZFY0001")
    volume.on_release = lambda moment: volume.vanish() if moment == "erased" else None
    tools = release_tools(journal, centre)
    await run_release(volume, tools, centre, spool)
    await asyncio.to_thread(close_visit, journal.open_visits()[0], tools)
    volume.on_release = lambda _: None
    volume.plug_in(same_mount=True)
    volume.flush_fails = True
    tile = await run_release(volume, release_tools(journal, centre, ids="again"), centre, spool)
    assert (tile.state, tile.status(journal).problem_code) == (BayState.NOT_RELEASED, "erasure-unsure")
    assert releases(journal) == []
    volume.flush_fails = False
    volume.plug_in(lost_unflushed=True)
    tile = await run_release(volume, release_tools(journal, centre, ids="last"), centre, spool)
    assert tile.state is BayState.RELEASED
    assert set(volume.files) == {SYSTEM}
    assert [len(said.kept) for said in releases(journal)] == [2, 0]


async def test_an_emptied_recorder_is_known_again_by_its_volume(
    journal: Journal, spool: LossySpool, centre: Centre
) -> None:
    files = {path: data for path, data in FILES.items() if path != SYSTEM}
    volume = MemoryVolume(files, label="ZFY0001")

    def pull(moment: str) -> None:
        if moment == "flush":
            volume.vanish()

    volume.on_release = pull
    await run_release(volume, release_tools(journal, centre), centre, spool)
    assert volume.files == {}
    stranger = MemoryVolume({}, label="ZFY0002")
    await run_release(stranger, release_tools(journal, centre, ids="stranger"), centre, spool)
    assert releases(journal) == [], "another recorder proves nothing"
    volume.on_release = lambda _: None
    volume.plug_in()
    await run_release(volume, release_tools(journal, centre, ids="again"), centre, spool)
    assert [said.kept for said in releases(journal)] == [()]


async def test_an_agent_started_again_says_that_the_recorder_was_cleared(
    journal: Journal, spool: LossySpool, centre: Centre
) -> None:
    volume = MemoryVolume(FILES, label="ZFY0001")
    await run_release(volume, release_tools(journal, centre), centre, spool)
    tile = await run_release(volume, release_tools(journal, centre, ids="again"), centre, spool)
    assert tile.state is BayState.RELEASED
    assert len(inventories(journal)) == 2
