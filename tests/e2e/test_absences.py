"""Whatever is away for a while (collector, broker, recorder, network): is all delivered in the end, and once?"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from agent.keys.store import FileKeyStore
from protocol.enrolment import MqttAddress
from tests.support.audit import audit_site
from tests.support.cards import MIB, files_of, make_card
from tests.support.processes import Site, needs_site, wait_until
from tests.support.proxy import Fault, FaultyProxy, How

pytestmark = [pytest.mark.e2e, needs_site]


def test_a_collector_that_was_away_for_the_whole_offload_gets_everything_afterwards(
    site: Site, tmp_path: Path
) -> None:
    card = make_card(tmp_path / "ZFY0001", [12 * MIB, 3 * MIB, *[400_000] * 6], seed=1)
    site.enrol()
    assert site.collector.child.end() == 0
    site.station.start()
    bay = site.station.dock(card)
    tile = wait_until(
        lambda: site.station.bay(bay).get("state") == "delivering" and site.station.bay(bay),
        "everything read without a collector",
        watch=[site.station.child],
    )
    assert tile["may_be_taken"]
    assert tile["files_read"] == 8
    wait_until(
        lambda: site.station.status()["collector"]["answers"] is False, "the station notices the absence"
    )
    site.collector.start()
    site.wait_done()
    audit_site(site, files_of(card))


def test_a_recorder_that_left_before_the_collector_came_back_has_all_it_brought_stored(
    site: Site, tmp_path: Path
) -> None:
    card = make_card(tmp_path / "ZFY0001", [9 * MIB, *[100_000] * 5], seed=2)
    site.enrol()
    site.collector.child.end(signal.SIGKILL)
    site.station.start()
    bay = site.station.dock(card)
    wait_until(lambda: site.station.bay(bay).get("may_be_taken"), "the recorder may be taken")
    site.station.take_away(bay)
    wait_until(lambda: site.station.bay(bay).get("state") == "empty", "the bay is free")
    site.station.bays.clear()
    site.collector.start()
    wait_until(
        lambda: site.station.status()["idle"] and site.station.status()["collector"]["answers"],
        "everything delivered without its recorder",
        watch=site.children,
    )
    audit_site(site, files_of(card))


def test_without_a_broker_everything_is_delivered_over_http(site: Site, tmp_path: Path) -> None:
    card = make_card(tmp_path / "ZFY0001", [10 * MIB, *[300_000] * 8], seed=3)
    site.start()
    killed: set[int] = set()

    def kill_the_broker() -> bool:
        pid = site.collector.broker_pid()
        if pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            killed.add(pid)
        return site.station.is_done()

    kill_the_broker()
    site.station.dock(card)
    wait_until(kill_the_broker, "everything receipted without a broker", watch=site.children)
    assert killed
    audit_site(site, files_of(card))


def _has_grown(site: Site, size: int) -> bool:
    return site.collector.log_size() > size


def test_a_broker_killed_now_and_then_loses_nothing(site: Site, tmp_path: Path) -> None:
    first = make_card(tmp_path / "ZFY0001", [9 * MIB, *[200_000] * 10], seed=4)
    second = make_card(tmp_path / "ZFY0002", [200_000] * 10, seed=5, recorder="ZFY0002")
    site.start()
    for card in (first, second):
        size = site.collector.log_size()
        site.station.dock(card)
        wait_until(partial(_has_grown, site, size), "the first statements", watch=site.children)
        pid = wait_until(site.collector.broker_pid, "a broker to kill")
        os.kill(pid, signal.SIGKILL)
    site.wait_done()
    audit_site(site, files_of(first) + files_of(second))


def test_a_recorder_taken_away_while_it_is_read_is_read_on_when_it_is_back(
    site: Site, tmp_path: Path
) -> None:
    card = make_card(tmp_path / "ZFY0001", [256 * MIB, *[500_000] * 4], seed=6)
    site.start()
    bay = site.station.dock(card)
    begun = site.station.folder / "spool" / "partial"
    wait_until(
        lambda: any(path.stat().st_size > 80 * MIB for path in begun.glob("*")),
        "a good part of the big clip",
        watch=site.children,
    )
    site.station.take_away(bay)
    wait_until(
        lambda: site.station.bay(bay).get("state") == "lost-contact",
        "the loss is noticed",
        watch=site.children,
    )
    assert not site.station.bay(bay)["may_be_taken"]
    site.station.bring_back(bay)
    site.wait_done()
    auditor = audit_site(site, files_of(card))
    big = next(manifest for _, manifest in auditor.manifests if manifest.size_bytes == 256 * MIB)
    assert big.resumed
    assert big.attempts == 2


@asynccontextmanager
async def _line_to(site: Site) -> AsyncIterator[tuple[FaultyProxy, FaultyProxy]]:
    """Proxies for HTTP and MQTT between the enrolled station and its collector."""
    config = site.collector.config
    async with (
        FaultyProxy("127.0.0.1", config.http_port) as http,
        FaultyProxy("127.0.0.1", config.mqtt_port) as mqtt,
    ):
        keys = FileKeyStore(site.station.folder / "keys")
        enrolment = keys.load_enrolment()
        assert enrolment is not None
        keys.store_enrolment(
            replace(
                enrolment,
                url=f"https://127.0.0.1:{http.port}",
                mqtt=MqttAddress(host="127.0.0.1", port=mqtt.port),
            )
        )
        yield http, mqtt


async def test_a_line_that_is_cut_again_and_again_delivers_everything_once(
    site: Site, tmp_path: Path
) -> None:
    card = make_card(tmp_path / "ZFY0001", [24 * MIB, *[700_000] * 6], seed=7)
    await asyncio.to_thread(site.enrol)
    async with _line_to(site) as (http, mqtt):
        http.plan(
            Fault(How.RESET, 100_000), Fault(How.CLOSE, 900_000), Fault(How.MUTE), Fault(How.RESET, 5_000_000)
        )
        mqtt.plan(Fault(How.CLOSE, 4_000), Fault(How.RESET, 9_000))
        site.station.start()
        site.station.dock(card)
        await asyncio.to_thread(
            wait_until, lambda: http.happened.is_set(), "the first cut", watch=site.children
        )
        await asyncio.to_thread(site.wait_done)
        assert await asyncio.to_thread(site.station.child.end) == 0
    audit_site(site, files_of(card))


async def test_a_network_that_is_away_for_a_while_is_waited_for(site: Site, tmp_path: Path) -> None:
    card = make_card(tmp_path / "ZFY0001", [48 * MIB, *[300_000] * 6], seed=8)
    await asyncio.to_thread(site.enrol)
    async with _line_to(site) as line:
        site.station.start()
        bay = site.station.dock(card)
        staged = site.collector.config.staging_dir
        await asyncio.to_thread(
            wait_until,
            lambda: any(path.stat().st_size > MIB for path in staged.glob("*.bytes")),
            "bytes on their way",
            watch=site.children,
        )
        for proxy in line:
            proxy.refusing = True
            await proxy.drop_all()
        await asyncio.to_thread(
            wait_until,
            lambda: (
                site.station.bay(bay).get("may_be_taken")
                and site.station.status()["collector"]["answers"] is False
            ),
            "everything read while the network is away",
            watch=site.children,
        )
        for proxy in line:
            proxy.refusing = False
        await asyncio.to_thread(site.wait_done)
        assert await asyncio.to_thread(site.station.child.end) == 0
    audit_site(site, files_of(card))


def test_nothing_is_read_twice_when_a_known_recorder_docks_again(site: Site, tmp_path: Path) -> None:
    card = make_card(tmp_path / "ZFY0001", [300_000] * 5, seed=9)
    site.start()
    bay = site.station.dock(card)
    site.wait_done()
    site.station.take_away(bay)
    wait_until(lambda: site.station.bay(bay).get("state") == "empty", "the bay is free")
    site.station.bring_back(bay)
    wait_until(site.station.is_done, "done again", watch=site.children)
    auditor = audit_site(site, files_of(card))
    tallies = [auditor.tally(said, inventory) for said, inventory in auditor.inventories]
    assert [(tally.listed, tally.stored) for tally in tallies] == [(5, 5), (5, 5)]
    assert Counter(inventory.sequence for _, inventory in auditor.inventories) == {1: 2}
