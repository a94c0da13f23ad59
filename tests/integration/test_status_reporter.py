"""Does the station go on telling how it is, whatever goes wrong with the telling?"""

from __future__ import annotations

import asyncio
import json
import logging
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest

from agent.broker.port import Presence
from agent.reporter import Reporter
from agent.status import load_status
from agent.uplink.state import UplinkState
from agent.visits import Visits
from protocol.topics import Channel, Topic
from tests.support.media_bench import VIDEO, MediaBench
from tests.support.memory_broker import MemoryBroker, MemoryBus
from tests.support.visit_lab import AGENCY, START, STATION, make_tools

TOPIC = str(Topic(agency=AGENCY, station=STATION, channel=Channel.STATUS))


class SilentBus(MemoryBus):
    """Connected to a broker that acknowledges nothing."""

    async def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        await asyncio.Event().wait()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[MediaBench]:
    bench = MediaBench(tmp_path)
    yield bench
    bench.journal.close()


@asynccontextmanager
async def reporting(
    bench: MediaBench,
    *,
    bus: MemoryBus | None = None,
    show: Callable[[Sequence[str]], None] | None = None,
    uplink: UplinkState | None = None,
) -> AsyncIterator[asyncio.Task[None]]:
    presence = Presence(topic=TOPIC, online=b"{}", offline=b"{}")
    broker = bus or MemoryBus(MemoryBroker(), STATION, presence=presence)
    await broker.start()
    reporter = Reporter(
        station=STATION,
        path=bench.folder / "status.json",
        topic=TOPIC,
        visits=Visits([], make_tools(bench.journal)),
        journal=bench.journal,
        uplink=uplink or UplinkState(lambda: START),
        broker=broker,
        desk=bench.desk,
        clock=lambda: START,
        show=show,
        period_s=0.001,
    )
    task = asyncio.create_task(reporter.run(), name="status")
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait({task})
    if not task.cancelled():
        task.result()


async def until(question: Callable[[], object]) -> None:
    async with asyncio.timeout(30):
        while not question():
            await asyncio.sleep(0.001)


def change(bench: MediaBench, sql: str) -> None:
    """Somebody else's hand in the journal."""
    with closing(sqlite3.connect(bench.folder / "journal.db")) as other:
        other.execute(sql)


async def test_a_snapshot_is_written_shown_and_published(bench: MediaBench) -> None:
    bench.take_in(VIDEO)
    hub = MemoryBroker()
    collector = hub.collector()
    await collector.start()
    shown: list[Sequence[str]] = []
    bus = hub.station(STATION, Presence(topic=TOPIC, online=b"{}", offline=b"{}"))
    async with reporting(bench, bus=bus, show=shown.append):
        messages = collector.messages()
        async with asyncio.timeout(30):
            while (published := json.loads((await anext(messages)).payload)) == {}:
                pass
        written = load_status(bench.folder / "status.json")
    assert written is not None
    assert written["backlog"]["media_jobs"] == published["backlog"]["media_jobs"] == 1
    assert written["idle"] is False
    assert "待转码 1" in shown[0][-1]


async def test_lines_are_shown_when_they_change(bench: MediaBench) -> None:
    shown: list[Sequence[str]] = []
    async with reporting(bench, show=shown.append):
        await until(lambda: shown)
        bench.desk.obstacle = "no sandbox here"
        await until(lambda: len(shown) > 1)
    assert len(shown) == 2
    assert "no sandbox here" in shown[1][-1]


async def test_a_console_that_went_away_does_not_stop_the_reports(bench: MediaBench) -> None:
    def show(_lines: Sequence[str]) -> None:
        raise BrokenPipeError

    async with reporting(bench, show=show):
        await until(lambda: load_status(bench.folder / "status.json"))
        bench.desk.obstacle = "later"
        await until(lambda: (load_status(bench.folder / "status.json") or {})["rendering_obstacle"])


async def test_a_broker_that_does_not_acknowledge_does_not_hold_up_the_file(bench: MediaBench) -> None:
    bus = SilentBus(MemoryBroker(), STATION, presence=None)
    async with reporting(bench, bus=bus):
        await until(lambda: load_status(bench.folder / "status.json"))
        bench.desk.obstacle = "later"
        await until(lambda: (load_status(bench.folder / "status.json") or {})["rendering_obstacle"])


async def test_a_journal_that_cannot_be_read_is_logged_once_and_reporting_goes_on(
    bench: MediaBench, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "agent.reporter"):
        async with reporting(bench) as task:
            await until(lambda: load_status(bench.folder / "status.json"))
            change(bench, "ALTER TABLE media_jobs RENAME TO gone")
            await until(lambda: caplog.records)
            (bench.folder / "status.json").unlink()
            change(bench, "ALTER TABLE gone RENAME TO media_jobs")
            await until(lambda: load_status(bench.folder / "status.json"))
            assert not task.done()
    assert [record.message for record in caplog.records] == ["status.not_reported"]


async def test_a_name_that_is_no_text_can_be_reported(bench: MediaBench) -> None:
    uplink = UplinkState(lambda: START)
    uplink.report("strange", "file \udcff here")
    async with reporting(bench, uplink=uplink):
        await until(lambda: load_status(bench.folder / "status.json"))
    status = load_status(bench.folder / "status.json")
    assert status is not None
    assert status["findings"][0]["detail"] == "file ? here"
