"""The catalogue's promises: which bytes are awaited, and which entries a receipt needs."""

from __future__ import annotations

from dataclasses import replace

from collector.catalogue import Catalogue
from protocol.ids import COLLECTOR
from protocol.statements import Manifest, Rendition
from tests.support.catalogues import apply_all
from tests.support.statements import (
    Log,
    again,
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
    stored,
)


def test_a_statement_is_recognised_by_signer_and_id(catalogue: Catalogue, log: Log) -> None:
    on_board = inventory()
    log.add(on_board, on_board)
    apply_all(catalogue, log)
    assert catalogue.entry_index(key_id("dock-1"), id_of(on_board)) == 2
    assert catalogue.entry_index(key_id("dock-2"), id_of(on_board)) is None


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
