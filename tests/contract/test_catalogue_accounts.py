"""The catalogue's accounts: where every file of a visit is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from collector.catalogue import Accounting, Catalogue
from collector.catalogue.facts import FileState
from protocol.errors import MalformedError
from protocol.listing import ListingRow, RowState
from tests.support.catalogues import apply_all, catalogue_in, dump
from tests.support.statements import (
    VISIT,
    Listings,
    Log,
    again,
    custody,
    header,
    id_of,
    inventory,
    manifest,
    revoked,
    row,
    stored,
    unreadable,
)


def account(catalogue: Catalogue, visit: str = VISIT) -> Accounting:
    found = catalogue.visit(visit, None)
    assert found is not None
    return found.accounting


def test_a_visit_is_accounted_for_row_by_row(catalogue: Catalogue, log: Log, listings: Listings) -> None:
    earlier = manifest(inventory(visit="2" * 32), content="earlier")
    on_board = inventory(rows=8)
    listings.rows[on_board.listing] = [
        row("a"),
        row("b"),
        row("c"),
        row("d"),
        row("e", RowState.EXCLUDED),
        row("f", RowState.UNREADABLE),
        row("g", RowState.KNOWN, of=earlier),
        row("h", RowState.KNOWN, of=earlier, size_bytes=11),
    ]
    first, second = manifest(on_board, 0), manifest(on_board, 1)
    log.add(earlier, stored(earlier), on_board, first, second, stored(first))
    log.add(unreadable(on_board, 2), unreadable(on_board, 0), stored(on_board))
    apply_all(catalogue, log)
    assert account(catalogue) == Accounting(stored=2, pending=3, unreadable=2, excluded=1)
    assert (account(catalogue).listed, account(catalogue).present) == (8, 8)
    found = catalogue.visit(VISIT, None)
    assert found is not None
    assert [(reason.state, reason.code) for reason in found.inventories[0].reasons] == [
        (FileState.EXCLUDED, "system-files"),
        (FileState.UNREADABLE, "file-unreadable"),
        (FileState.UNREADABLE, "system-files"),
    ]


def test_a_visit_is_accounted_for_while_its_listing_is_awaited(catalogue: Catalogue, log: Log) -> None:
    on_board = inventory(rows=5)
    first, beyond = manifest(on_board, 0), manifest(on_board, 9, content="beyond")
    log.add(first, stored(first), again(first, 5), beyond, stored(beyond), manifest(on_board, 1))
    log.add(unreadable(on_board, 1), unreadable(on_board, 2), unreadable(on_board, 2), on_board)
    apply_all(catalogue, log)
    assert account(catalogue) == Accounting(stored=1, pending=3, unreadable=1)


def test_a_listing_shorter_than_declared_is_a_deficit(
    catalogue: Catalogue, log: Log, listings: Listings
) -> None:
    on_board = inventory(rows=3)
    listings.rows[on_board.listing] = [row("a")]
    log.add(on_board, stored(on_board))
    apply_all(catalogue, log)
    assert account(catalogue) == Accounting(pending=1, deficit=2)


def test_bytes_that_are_no_listing_do_not_stop_the_log(catalogue: Catalogue, log: Log) -> None:
    on_board = inventory(rows=2)
    log.add(on_board, stored(on_board), revoked("dock-1"))
    apply_all(catalogue, log)
    found = catalogue.visit(VISIT, None)
    assert found is not None
    assert (found.inventories[0].listing, found.inventories[0].listing_problem) == ("unusable", "malformed")
    assert found.accounting == Accounting(pending=2)
    assert catalogue.projected_size() == 5


def test_of_a_listing_that_breaks_off_no_row_is_kept(tmp_path: Path, log: Log) -> None:
    def breaking(agency: str, listing: object) -> Iterator[ListingRow]:
        yield from (row(f"{number:04}") for number in range(600))
        raise MalformedError("cut in the middle of a row")

    on_board = inventory(rows=700)
    log.add(on_board, stored(on_board))
    with catalogue_in(tmp_path, breaking) as catalogue:
        apply_all(catalogue, log)
        assert account(catalogue) == Accounting(pending=700)
    (file,) = tmp_path.glob("*.sqlite")
    assert dump(file)["listing_rows"] == []


def test_another_station_cannot_settle_a_row(catalogue: Catalogue, log: Log, listings: Listings) -> None:
    on_board = inventory(rows=1)
    listings.rows[on_board.listing] = [row("a")]
    stranger = header("alpha", "dock-2")
    foreign = replace(manifest(on_board), header=stranger)
    log.add(on_board, stored(on_board), foreign, stored(foreign))
    log.add(replace(unreadable(on_board, 0), header=stranger))
    apply_all(catalogue, log)
    assert account(catalogue) == Accounting(pending=1)


def test_two_inventories_of_one_visit_add_up(catalogue: Catalogue, log: Log, listings: Listings) -> None:
    first = inventory(rows=1)
    second = replace(inventory(rows=2, listing="second"), sequence=2)
    listings.rows[first.listing] = [row("a")]
    listings.rows[second.listing] = [row("b"), row("c", RowState.EXCLUDED)]
    log.add(first, second, stored(first), stored(second))
    apply_all(catalogue, log)
    found = catalogue.visit(VISIT, frozenset({"alpha"}))
    assert found is not None
    assert [account.sequence for account in found.inventories] == [1, 2]
    assert found.accounting == Accounting(pending=2, excluded=1, gone=1)  # the second lists no "a"
    assert catalogue.visit(VISIT, frozenset({"beta"})) is None


@pytest.mark.parametrize("details", [{}, {"row": "0"}, {"row": 2**53 - 1}, {"row": -1}])
def test_an_unreadable_event_without_a_usable_row_marks_nothing(
    catalogue: Catalogue, log: Log, details: dict[str, str | int]
) -> None:
    on_board = inventory(rows=1)
    log.add(on_board, custody("unreadable", id_of(on_board), head=header(), details=details))
    apply_all(catalogue, log)
    assert account(catalogue) == Accounting(pending=1)
