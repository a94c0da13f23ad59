"""What the catalogue answers about a log, over a real database."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from collector.catalogue import Catalogue, ClipFilter, LoggedStatement
from collector.catalogue.errors import CatalogueGapError
from protocol.claims import Claim, TimeClaim
from protocol.ids import COLLECTOR
from protocol.listing import ListingRow, RowState
from tests.support.catalogues import apply_all, catalogue_in
from tests.support.statements import (
    NOW,
    VISIT,
    Log,
    custody,
    digest,
    header,
    id_of,
    inventory,
    manifest,
    media,
    rendition,
    stored,
)

EVERYTHING = ClipFilter(agencies=None)


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
