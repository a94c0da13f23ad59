"""Does the journal know, whatever happens, what travels in which bundle?"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from agent.spool.journal import Journal
from agent.spool.records import NewRow, OriginalRecord, Shipment, VisitRecord
from agent.spool.shipments import OPEN_BUNDLES
from protocol.bundle import MAX_MEMBER_BYTES
from protocol.digest import Digest
from protocol.dsse import STATEMENT_TYPE, Envelope
from tests.support.lossy_spool import LossySpool
from tests.support.visit_lab import SEED

NOW = datetime(2026, 1, 31, 8, 15, 30, tzinfo=UTC)
VISIT = VisitRecord(
    visit="0" * 32,
    dock="folder",
    bay="bay-1",
    generation="boot:1:2",
    recorder_key="recorder:7",
    profile="dcf@1",
    agency="agency-1",
    opened_at=NOW,
)
SMALL, LARGE = 200_000, MAX_MEMBER_BYTES + 1


class Station:
    """A journal with originals to deliver; the inventory's own listing is delivered already."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "journal.sqlite"
        self.journal = Journal(self._path, LossySpool())
        rows = [
            NewRow(path=b"%d" % n, shown=str(n), size_bytes=1, modified_ns=1, state="to_read", order=(n, 0))
            for n in range(3000)
        ]
        inventory = self.journal.record_inventory(
            self._sign("inventory"),
            visit=VISIT,
            sequence=1,
            listing=Digest.of(b"listing"),
            listing_size_bytes=100,
            rows=rows,
            now=NOW,
        )
        self.journal.settle_receipt(inventory, b"receipt", b"note", NOW)
        self._rows = iter(self.journal.rows_to_read(inventory))

    def _sign(self, text: str) -> Envelope:
        return Envelope.sign(STATEMENT_TYPE, text.encode(), SEED)

    def read(self, *sizes: int, marked: bool = False) -> list[Digest]:
        """Originals of these sizes, each other bytes."""
        records = []
        for size in sizes:
            row = next(self._rows)
            records.append(
                OriginalRecord(
                    row=row,
                    envelope=self._sign(f"manifest {row.id}"),
                    digest=Digest.of(row.key.path),
                    size_bytes=size,
                    media_type="image/jpeg",
                    marked=marked,
                    recorder=None,
                )
            )
        return self.journal.record_originals(records, NOW)

    def restart(self) -> None:
        self.journal.close()
        self.journal = Journal(self._path, LossySpool())

    def take(self, *under_way: Shipment, bundling: bool = True) -> list[Shipment]:
        keys = {shipment.key for shipment in under_way}
        return self.journal.take_shipments(1000, NOW, bundling=bundling, under_way=keys)


@pytest.fixture
def station(tmp_path: Path) -> Iterator[Station]:
    station = Station(tmp_path)
    yield station
    station.journal.close()


def statements(shipment: Shipment) -> set[Digest]:
    return {delivery.statement for delivery in shipment.deliveries}


def test_small_ones_travel_together_and_large_ones_alone(station: Station) -> None:
    small, large = set(station.read(SMALL, SMALL, SMALL)), set(station.read(LARGE))
    taken = station.take()
    assert sorted(map(len, map(statements, taken))) == [1, 3]
    assert {frozenset(statements(shipment)) for shipment in taken} == {frozenset(small), frozenset(large)}


def test_one_small_one_is_not_worth_a_bundle(station: Station) -> None:
    (only,) = station.read(SMALL)
    (shipment,) = station.take()
    assert (shipment.bundle, statements(shipment)) == (None, {only})


def test_after_a_restart_a_bundle_has_the_same_members_in_the_same_order_and_its_address(
    station: Station,
) -> None:
    station.read(SMALL, SMALL, SMALL)
    (before,) = station.take()
    assert before.bundle is not None
    station.journal.note_bundle_url(before.bundle, "/api/v1/uploads/1")
    station.read(SMALL, SMALL)
    station.restart()
    first, second = station.take()
    assert [delivery.statement for delivery in first.deliveries] == [
        delivery.statement for delivery in before.deliveries
    ]
    assert (first.key, first.upload_url) == (before.key, "/api/v1/uploads/1")
    assert not statements(first) & statements(second)


def test_what_is_under_way_is_not_taken_again_and_what_comes_collects(station: Station) -> None:
    station.read(SMALL, SMALL)
    (first,) = station.take()
    (alone,) = station.read(SMALL)
    (single,) = station.take(first)
    assert statements(single) == {alone}
    later = set(station.read(SMALL, SMALL))
    (second,) = station.take(first, single)
    assert statements(second) == later, "the one that is being sent is not put into a bundle"
    station.read(SMALL, SMALL, LARGE)
    (large,) = station.take(first, single, second)
    assert (large.bundle, OPEN_BUNDLES) == (None, 2)
    assert first.bundle is not None
    station.journal.note_bundle_uploaded(first.bundle, NOW)
    assert len(station.take(second, single, large)[0].deliveries) == 2


def test_members_of_an_uploaded_bundle_wait_for_their_receipts_each(station: Station) -> None:
    manifests = station.read(SMALL, SMALL)
    (shipment,) = station.take()
    assert shipment.bundle is not None
    station.journal.note_bundle_url(shipment.bundle, "/api/v1/uploads/1")
    station.journal.note_bundle_uploaded(shipment.bundle, NOW)
    station.journal.settle_admitted(dict.fromkeys(manifests, 7), NOW)
    waiting = station.journal.sent_deliveries(10)
    assert {delivery.statement for delivery in waiting} == set(manifests)
    assert {delivery.upload_url for delivery in waiting} == {"/api/v1/uploads/1"}
    station.journal.note_upload_lost(manifests[0])
    (again,) = station.take()
    assert (again.bundle, statements(again)) == (None, {manifests[0]})


def test_a_bundle_taken_apart_leaves_its_members_to_travel_alone(station: Station) -> None:
    manifests = station.read(SMALL, SMALL)
    (shipment,) = station.take()
    assert shipment.bundle is not None
    station.journal.dissolve_bundle(shipment.bundle, NOW, alone=True)
    station.restart()
    taken = station.take()
    assert [len(single.deliveries) for single in taken] == [1, 1]
    assert set().union(*map(statements, taken)) == set(manifests)


def test_a_bundle_nobody_understood_leaves_its_members_for_another(station: Station) -> None:
    station.read(SMALL, SMALL)
    (shipment,) = station.take()
    assert shipment.bundle is not None
    station.journal.dissolve_bundle(shipment.bundle, NOW, alone=False)
    assert [len(single.deliveries) for single in station.take(bundling=False)] == [1, 1]
    (again,) = station.take()
    assert (len(again.deliveries), again.key != shipment.key) == (2, True)


def test_marked_ones_go_first(station: Station) -> None:
    station.read(LARGE)
    (marked,) = station.read(LARGE, marked=True)
    assert statements(station.take()[0]) == {marked}


def test_a_refused_statement_delivers_nothing(station: Station) -> None:
    first, second, third = station.read(SMALL, SMALL, SMALL)
    station.journal.settle_refused(second, "chain-broken", None, NOW)
    (shipment,) = station.take()
    assert statements(shipment) == {first, third}
