"""What the catalogue answers about a log, over a real database."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from collector.catalogue import Accounting, Catalogue, ClipFilter, LoggedStatement
from collector.catalogue.errors import CatalogueGapError
from collector.catalogue.facts import FileState
from protocol.claims import Claim, TimeClaim
from protocol.errors import MalformedError
from protocol.ids import COLLECTOR
from protocol.keyring import KeyRing
from protocol.listing import ListingRow, RowState
from protocol.statements import Manifest, Rendition, Statement, sign_statement
from tests.support.catalogues import apply_all, catalogue_in, dump
from tests.support.statements import (
    NOW,
    VISIT,
    Listings,
    Log,
    again,
    custody,
    digest,
    enrolled,
    header,
    id_of,
    inventory,
    key_id,
    manifest,
    media,
    rendition,
    revoked,
    seed,
    stored,
    unreadable,
)

EVERYTHING = ClipFilter(agencies=None)


@pytest.fixture
def listings() -> Listings:
    return Listings()


@pytest.fixture
def catalogue(tmp_path: Path, listings: Listings) -> Iterator[Catalogue]:
    with catalogue_in(tmp_path, listings) as opened:
        yield opened


@pytest.fixture
def log() -> Log:
    log = Log()
    log.add(enrolled(COLLECTOR), enrolled("dock-1", "alpha"))
    return log


def row(
    name: str, state: RowState = RowState.TO_READ, *, size_bytes: int = 10, of: Manifest | None = None
) -> ListingRow:
    return ListingRow(
        raw_path=name.encode(),
        size_bytes=size_bytes,
        modified_at=None,
        state=state,
        rule="system-files" if state in (RowState.EXCLUDED, RowState.UNREADABLE) else None,
        manifest=None if of is None else id_of(of),
    )


def account(catalogue: Catalogue, visit: str = VISIT) -> Accounting:
    found = catalogue.visit(visit, None)
    assert found is not None
    return found.accounting


# the feed


def test_an_empty_catalogue_shows_nothing(catalogue: Catalogue) -> None:
    assert catalogue.projected_size() == 0
    assert catalogue.clips(EVERYTHING, limit=10).clips == ()


def test_entries_already_projected_are_passed_over(catalogue: Catalogue, log: Log) -> None:
    apply_all(catalogue, log)
    log.add(inventory())
    apply_all(catalogue, log)
    assert catalogue.projected_size() == 3


def test_a_gap_is_refused_and_changes_nothing(catalogue: Catalogue, log: Log) -> None:
    with pytest.raises(CatalogueGapError):
        catalogue.apply(log.entries[1:])
    assert catalogue.projected_size() == 0


def test_a_listing_that_cannot_be_read_now_waits_and_holds_up_nothing(tmp_path: Path, log: Log) -> None:
    away = ["the store"]

    def reader(agency: str, listing: object) -> list[ListingRow]:
        if away:
            raise OSError("the store is away")
        return [ListingRow(raw_path=b"a", size_bytes=1, modified_at=None, state=RowState.TO_READ)]

    on_board = inventory()
    log.add(on_board, stored(on_board))
    with catalogue_in(tmp_path, reader) as catalogue:
        with pytest.raises(OSError, match="away"):
            apply_all(catalogue, log)
        assert catalogue.projected_size() == 4
        assert not catalogue.is_caught_up()
        away.clear()
        catalogue.catch_up()
        found = catalogue.visit(VISIT, None)
        assert found is not None
        assert found.inventories[0].listing == "listed"


def test_an_entry_whose_payload_was_destroyed_is_still_an_entry(catalogue: Catalogue, log: Log) -> None:
    (index,) = log.add(inventory())
    log.entries[index] = replace(log.entries[index], statement=None)
    apply_all(catalogue, log)
    assert [entry.kind for entry in catalogue.entries(0, 10)] == ["enrolled", "enrolled", "inventory"]
    assert catalogue.visit(VISIT, None) is None


def test_an_entry_is_not_taken_for_another_statements(log: Log) -> None:
    entry = log.entries[0].entry
    with pytest.raises(ValueError, match="not the one"):
        LoggedStatement(index=0, entry=entry, statement=inventory())


# keys


def test_a_station_key_speaks_for_the_agencies_it_is_enrolled_for(catalogue: Catalogue, log: Log) -> None:
    log.add(enrolled("dock-1", "beta"))
    apply_all(catalogue, log)
    assert catalogue.agencies_of(key_id("dock-1")) == {"alpha", "beta"}
    station = catalogue.station_key("dock-1")
    assert station is not None
    assert (station.key_id, station.agencies) == (key_id("dock-1"), frozenset({"alpha", "beta"}))


def test_a_revocation_ends_one_agency_only(catalogue: Catalogue, log: Log) -> None:
    log.add(enrolled("dock-1", "beta"), revoked("dock-1", "alpha"))
    apply_all(catalogue, log)
    record = catalogue.key_record(key_id("dock-1"), "alpha")
    assert record is not None
    assert (record.enrolled_index, record.revoked_index) == (1, 3)
    assert catalogue.agencies_of(key_id("dock-1")) == {"beta"}


def test_a_new_key_takes_the_place_of_the_old_one(catalogue: Catalogue, log: Log) -> None:
    log.add(enrolled("dock-1", "alpha", key="second key"))
    apply_all(catalogue, log)
    station = catalogue.station_key("dock-1")
    assert station is not None
    assert station.key_id == key_id("second key")


def test_a_known_key_without_the_agency_is_told_from_an_unknown_key(catalogue: Catalogue, log: Log) -> None:
    apply_all(catalogue, log)
    elsewhere = catalogue.key_record(key_id("dock-1"), "beta")
    assert elsewhere is not None
    assert elsewhere.agency == "alpha"
    assert catalogue.key_record(key_id("stranger"), "beta") is None
    assert catalogue.station_key("stranger") is None


def test_a_collectors_key_is_found_for_every_agency(catalogue: Catalogue, log: Log) -> None:
    apply_all(catalogue, log)
    record = catalogue.key_record(key_id(COLLECTOR), "alpha")
    assert record is not None
    assert record.role == "collector"


def test_a_stations_word_on_keys_counts_for_nothing(catalogue: Catalogue, log: Log) -> None:
    log.add(replace(revoked("dock-1"), header=header("alpha", "dock-2")))
    apply_all(catalogue, log)
    assert catalogue.agencies_of(key_id("dock-1")) == {"alpha"}


def test_keys_are_what_the_verifiers_key_ring_makes_of_the_same_log(catalogue: Catalogue) -> None:
    log, ring = Log(), KeyRing()
    statements: list[Statement] = [
        enrolled(COLLECTOR),
        enrolled("dock-1", "alpha"),
        revoked("dock-1", "beta"),
        enrolled("dock-1", "beta"),
        revoked("dock-1", "alpha"),
        enrolled("dock-1", "alpha", nonce=1),
        enrolled("dock-2", "beta"),
        revoked("dock-2", "beta"),
    ]
    for index, statement in enumerate(statements):
        log.add(statement)
        ring.accept(index, sign_statement(statement, seed(COLLECTOR)), statement)
        apply_all(catalogue, log)
        for name in ("dock-1", "dock-2", COLLECTOR):
            for agency in ("alpha", "beta"):
                expected = ring.find(key_id(name), agency)
                if expected is not None:
                    assert catalogue.key_record(key_id(name), agency) == expected


def test_a_statement_is_recognised_by_signer_and_id(catalogue: Catalogue, log: Log) -> None:
    on_board = inventory()
    log.add(on_board, on_board)
    apply_all(catalogue, log)
    assert catalogue.entry_index(key_id("dock-1"), id_of(on_board)) == 2
    assert catalogue.entry_index(key_id("dock-2"), id_of(on_board)) is None


# promises


def test_every_blob_a_statement_promises_waits_until_it_is_stored(catalogue: Catalogue, log: Log) -> None:
    on_board = inventory()
    clip = manifest(on_board)
    copy = rendition(clip)
    log.add(on_board, clip, copy, rendition(clip, kind="poster", content=None))
    apply_all(catalogue, log)
    waiting = catalogue.all_awaiting(10)
    assert [(promise.purpose, promise.digest) for promise in waiting] == [
        ("listing", on_board.listing),
        ("original", clip.digest),
        ("rendition", digest("rendition")),
    ]
    assert catalogue.all_awaiting(1, after=2) == waiting[1:2]
    log.add(stored(clip))
    apply_all(catalogue, log)
    promise = catalogue.promise(id_of(clip))
    assert promise is not None
    assert (promise.entry_index, promise.stored_index, promise.station) == (3, 6, "dock-1")
    assert promise.key_id == key_id("dock-1")
    assert [found.purpose for found in catalogue.all_awaiting(10)] == ["listing", "rendition"]


def test_a_statement_without_bytes_promises_nothing(catalogue: Catalogue, log: Log) -> None:
    on_board = inventory()
    clip = manifest(on_board)
    facts, none = media(clip), rendition(clip, content=None)
    log.add(on_board, clip, facts, none)
    apply_all(catalogue, log)
    assert [catalogue.promise(id_of(statement)) for statement in (facts, none)] == [None, None]


def test_the_same_bytes_promised_twice_are_two_promises_of_their_agency(
    catalogue: Catalogue, log: Log
) -> None:
    on_board = inventory()
    other = inventory(head=header("beta", "dock-1"))
    log.add(on_board, manifest(on_board), other, manifest(other), again(manifest(on_board), 7))
    apply_all(catalogue, log)
    waiting = catalogue.promises_awaiting("alpha", digest("clip"))
    assert [promise.entry_index for promise in waiting] == [3, 6]


def test_stored_bytes_of_another_digest_or_agency_settle_nothing(catalogue: Catalogue, log: Log) -> None:
    clip = manifest(inventory())
    log.add(
        clip,
        replace(stored(clip), digest=digest("other")),
        replace(stored(clip), header=header("beta", COLLECTOR)),
        replace(stored(clip), purpose="rendition"),
        replace(stored(clip), header=header("alpha", "dock-1")),
    )
    apply_all(catalogue, log)
    assert len(catalogue.promises_awaiting("alpha", clip.digest)) == 1


# chains


def test_a_chain_names_every_entry_a_receipt_needs(catalogue: Catalogue, log: Log) -> None:
    on_board = inventory()
    clip = manifest(on_board)
    copy = rendition(clip)
    log.add(enrolled("dock-2", "alpha"), on_board, clip, copy, stored(on_board), stored(clip), stored(copy))
    apply_all(catalogue, log)
    assert catalogue.chain(id_of(on_board)) == (0, 1, 3, 6)
    assert catalogue.chain(id_of(clip)) == (0, 1, 3, 4, 7)
    assert catalogue.chain(id_of(copy)) == (0, 1, 3, 4, 5, 8)


def test_a_chain_has_the_revocation_and_the_later_key_of_the_station(catalogue: Catalogue, log: Log) -> None:
    on_board = inventory()
    clip = manifest(on_board)
    log.add(on_board, revoked("dock-1"), enrolled("dock-1", "alpha", key="second key"))
    log.add(clip, key="second key")
    log.add(stored(clip))
    apply_all(catalogue, log)
    assert catalogue.chain(id_of(clip)) == (0, 1, 2, 3, 4, 5, 6)


def test_a_chain_has_the_enrolment_of_a_second_collectors_key(catalogue: Catalogue, log: Log) -> None:
    on_board = inventory()
    log.add(replace(enrolled(COLLECTOR, key="second key"), header=header(COLLECTOR, COLLECTOR)), on_board)
    log.add(stored(on_board), key="second key")
    apply_all(catalogue, log)
    assert catalogue.chain(id_of(on_board)) == (0, 1, 2, 3, 4)


def test_there_is_no_chain_before_all_of_it_is_in_the_log(catalogue: Catalogue, log: Log) -> None:
    on_board = inventory()
    clip = manifest(on_board)
    log.add(clip)
    apply_all(catalogue, log)
    assert catalogue.chain(id_of(clip)) is None
    log.add(stored(clip))
    apply_all(catalogue, log)
    assert catalogue.chain(id_of(clip)) is None
    log.add(on_board)
    apply_all(catalogue, log)
    assert catalogue.chain(id_of(clip)) == (0, 1, 2, 3, 4)


def test_there_is_no_chain_over_statements_that_do_not_belong_together(
    catalogue: Catalogue, log: Log
) -> None:
    on_board = inventory(rows=1)
    beyond = manifest(on_board, row=1)
    elsewhere = replace(manifest(on_board), header=header("beta", "dock-1"))
    visitor = replace(manifest(on_board), visit="f" * 32)
    clip = manifest(on_board)
    of_another = replace(rendition(clip), original=digest("another original"))
    broken: list[Manifest | Rendition] = [beyond, elsewhere, visitor, of_another]
    log.add(on_board, clip, *broken, *map(stored, broken))
    apply_all(catalogue, log)
    assert [catalogue.chain(id_of(statement)) for statement in broken] == [None] * 4


# clips


def test_a_clip_shows_its_manifest_and_media_facts(catalogue: Catalogue, log: Log) -> None:
    on_board = inventory()
    clip = manifest(on_board, officer="012345", modified_at=NOW + timedelta(hours=9))
    log.add(
        on_board, clip, stored(clip), media(clip, started_at=TimeClaim(NOW, "container")), rendition(clip)
    )
    apply_all(catalogue, log)
    found = catalogue.clip(id_of(clip), frozenset({"alpha"}))
    assert found is not None
    assert (found.path, found.digest, found.entry_index) == ("DCIM/clip.mp4", digest("clip"), 3)
    assert found.officer == Claim("012345", "name")
    assert found.recorder == Claim("R-MEDIA", "container")
    assert found.started_at == TimeClaim(NOW, "container")
    assert (found.duration_ms, found.media_type) == (60_000, "video/quicktime")
    assert (found.stored_index, found.stored_at) == (4, NOW + timedelta(minutes=1))
    assert found.read_finished_at - found.read_started_at == timedelta(seconds=3)
    assert [(made.rendition, made.digest) for made in found.renditions] == [("playable", digest("rendition"))]


def test_media_facts_that_arrive_before_their_manifest_are_taken_up(catalogue: Catalogue, log: Log) -> None:
    clip = manifest(inventory())
    log.add(media(clip, duration_ms=5))
    apply_all(catalogue, log)
    log.add(media(clip, duration_ms=6), clip)
    apply_all(catalogue, log)
    found = catalogue.clip(id_of(clip), None)
    assert found is not None
    assert found.duration_ms == 5


def test_another_station_cannot_describe_a_clip(catalogue: Catalogue, log: Log) -> None:
    clip = manifest(inventory())
    stranger = header("alpha", "dock-2")
    log.add(clip, replace(media(clip), header=stranger), replace(rendition(clip), header=stranger))
    apply_all(catalogue, log)
    found = catalogue.clip(id_of(clip), None)
    assert found is not None
    assert (found.duration_ms, found.renditions) == (None, ())


def test_a_rendition_that_was_made_beats_a_later_problem(catalogue: Catalogue, log: Log) -> None:
    clip = manifest(inventory())
    log.add(
        clip, rendition(clip), rendition(clip, content=None), rendition(clip, kind="poster", content=None)
    )
    apply_all(catalogue, log)
    found = catalogue.clip(id_of(clip), None)
    assert found is not None
    assert [(made.rendition, made.problem) for made in found.renditions] == [
        ("playable", None),
        ("poster", "media-unreadable"),
    ]


def test_a_clip_of_another_agency_does_not_exist(catalogue: Catalogue, log: Log) -> None:
    clip = manifest(inventory())
    log.add(clip, stored(clip))
    apply_all(catalogue, log)
    beta = frozenset({"beta"})
    assert catalogue.clip(id_of(clip), beta) is None
    assert catalogue.clips(ClipFilter(agencies=beta), limit=10).clips == ()
    assert catalogue.clips(ClipFilter(agencies=frozenset()), limit=10).clips == ()
    assert catalogue.known_bytes("original", clip.digest, beta) is None


def test_bytes_are_known_by_digest_once_they_are_stored(catalogue: Catalogue, log: Log) -> None:
    clip = manifest(inventory())
    copy = rendition(clip)
    log.add(clip, copy, stored(copy))
    apply_all(catalogue, log)
    assert catalogue.known_bytes("original", clip.digest, None) is None
    found = catalogue.known_bytes("rendition", digest("rendition"), None)
    assert found is not None
    assert (found.agency, found.media_type, found.name) == ("alpha", "video/mp4", "playable")


def test_hostile_text_is_kept_as_text(catalogue: Catalogue, log: Log) -> None:
    name = "a'; DROP TABLE clips; --\x01\u202e名.mp4"
    log.add(manifest(inventory(), path=name, officer="x" * 1024))
    apply_all(catalogue, log)
    (found,) = catalogue.clips(EVERYTHING, limit=10).clips
    assert found.path == name
    assert found.officer == Claim("x" * 256, "name")


# accounting


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


# custody


def test_custody_events_of_an_item_come_in_log_order(catalogue: Catalogue, log: Log) -> None:
    log.add(
        custody("viewed", digest("clip"), details={"purpose": "api"}),
        custody("viewed", digest("clip"), head=header("beta", COLLECTOR)),
        custody("viewed", digest("other")),
        custody("refused", digest("clip")),
    )
    apply_all(catalogue, log)
    found = catalogue.custody(digest("clip"), frozenset({"alpha"}), limit=10)
    assert [(event.entry_index, event.event) for event in found] == [(2, "viewed"), (5, "refused")]
    assert (found[0].actor, found[0].details) == ("case-system", {"purpose": "api"})
    everything = catalogue.custody(digest("clip"), None, limit=2, after=2)
    assert [event.entry_index for event in everything] == [3, 5]


@pytest.mark.parametrize("details", [{}, {"row": "0"}, {"row": 2**53 - 1}, {"row": -1}])
def test_an_unreadable_event_without_a_usable_row_marks_nothing(
    catalogue: Catalogue, log: Log, details: dict[str, str | int]
) -> None:
    on_board = inventory(rows=1)
    log.add(on_board, custody("unreadable", id_of(on_board), head=header(), details=details))
    apply_all(catalogue, log)
    assert account(catalogue) == Accounting(pending=1)
