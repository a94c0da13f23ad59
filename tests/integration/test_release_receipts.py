"""Is a receipt that does not prove that a file is stored never a reason to erase it?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from agent.core.bay import BayState
from agent.spool.journal import Journal
from agent.spool.records import ReceiptPlace
from protocol.receipt import Receipt
from protocol.statements import Manifest, parse_statement
from tests.support.lossy_spool import LossySpool
from tests.support.memory_volume import MemoryVolume
from tests.support.release_lab import (
    AT_REST,
    FILES,
    SYSTEM,
    Centre,
    release_tools,
    released_by,
    run_release,
)
from tests.support.visit_lab import statements


async def test_a_damaged_receipt_erases_nothing(journal: Journal, spool: LossySpool, centre: Centre) -> None:
    volume = MemoryVolume(FILES, label="ZFY0001")
    centre.silent.add("release-intent")
    async with released_by(volume, release_tools(journal, centre), centre, spool) as (_, tile):
        await tile.reached({BayState.RELEASABLE})
        spool.receipts[:] = [receipt.replace(b"index", b"index 1", 1) for receipt in spool.receipts]
        centre.silent.clear()
        await tile.reached(AT_REST)
        assert (tile.state, tile.status(journal).problem_code) == (
            BayState.NOT_RELEASED,
            "receipt-unproven",
        )
    assert set(volume.files) == set(FILES)


class BadReceipts(LossySpool):
    """Its disk keeps the first ``bad`` receipts of manifests otherwise than they were written."""

    def __init__(self, bad: int) -> None:
        super().__init__()
        self._bad = bad

    def put_receipts(self, receipts: Sequence[bytes]) -> Sequence[ReceiptPlace]:
        kept = []
        for receipt in receipts:
            promised = [parse_statement(item.envelope.payload) for item in Receipt.from_bytes(receipt).items]
            is_bad = self._bad > 0 and any(isinstance(said, Manifest) for said in promised)
            self._bad -= is_bad
            kept.append(receipt.replace(b"index", b"index 1", 1) if is_bad else receipt)
        return super().put_receipts(kept)


@pytest.mark.parametrize("bad", [1, 2])
async def test_a_receipt_that_went_bad_on_our_disk_is_fetched_once_more(
    tmp_path: Path, centre: Centre, bad: int
) -> None:
    spool = BadReceipts(bad)
    journal = Journal(tmp_path / "journal.db", spool)
    volume = MemoryVolume(FILES, label="ZFY0001")
    tile = await run_release(volume, release_tools(journal, centre), centre, spool)
    assert tile.state is BayState.RELEASED
    assert set(volume.files) == {SYSTEM}
    journal.close()


async def test_receipts_that_go_bad_again_and_again_are_for_a_person(tmp_path: Path, centre: Centre) -> None:
    spool = BadReceipts(1000)
    journal = Journal(tmp_path / "journal.db", spool)
    volume = MemoryVolume(FILES, label="ZFY0001")
    tile = await run_release(volume, release_tools(journal, centre), centre, spool)
    assert (tile.state, tile.status(journal).problem_code) == (BayState.NOT_RELEASED, "receipt-unproven")
    assert set(volume.files) == set(FILES)
    journal.close()


async def test_a_receipt_of_another_file_is_no_receipt(
    journal: Journal, spool: LossySpool, centre: Centre
) -> None:
    """The journal may say what it likes: what was kept is verified again."""
    volume = MemoryVolume(FILES, label="ZFY0001")
    centre.silent.add("release-intent")
    async with released_by(volume, release_tools(journal, centre), centre, spool) as (_, tile):
        await tile.reached({BayState.RELEASABLE})
        one, other = (name for name, said in statements(journal) if isinstance(said, Manifest))
        places = {Receipt.from_bytes(kept).statement: place for place, kept in enumerate(spool.receipts)}
        spool.receipts[places[one]] = spool.receipts[places[other]]
        centre.silent.clear()
        await tile.reached(AT_REST)
        assert (tile.state, tile.status(journal).problem_code) == (
            BayState.NOT_RELEASED,
            "receipt-unproven",
        )
    assert len(volume.files) == 2, "the other one is proven"


async def test_a_log_that_contradicted_itself_erases_nothing(
    journal: Journal, spool: LossySpool, centre: Centre
) -> None:
    volume = MemoryVolume(FILES, label="ZFY0001")
    tools = release_tools(journal, centre, log_halted=lambda: True)
    tile = await run_release(volume, tools, centre, spool)
    assert (tile.state, tile.status(journal).problem_code) == (BayState.NOT_RELEASED, "log-halted")
    assert set(volume.files) == set(FILES)
