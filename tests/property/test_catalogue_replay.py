"""However the log is cut into batches, however late listings are read and findings computed, and whatever the order
of its statements, the catalogue is the same."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from collector.catalogue import Catalogue, ClipFilter, LoggedStatement
from protocol.claims import TimeClaim
from protocol.ids import COLLECTOR
from protocol.listing import ListingRow, RowState
from protocol.statements import Manifest, Statement
from tests.support.catalogues import dump
from tests.support.statements import (
    NOW,
    Listings,
    Log,
    again,
    custody,
    digest,
    enrolled,
    header,
    id_of,
    inventory,
    manifest,
    media,
    rendition,
    revoked,
    stored,
    unreadable,
)


def _pool() -> list[Statement]:
    """Statements that refer to each other, quarrel, and repeat."""
    pool: list[Statement] = [
        enrolled(COLLECTOR),
        enrolled("dock-1"),
        enrolled("dock-1", "beta"),
        revoked("dock-1"),
    ]
    for listing, agency in (("listing", "alpha"), ("second", "alpha"), ("unusable", "beta")):
        on_board = inventory(rows=2, listing=listing, head=header(agency, "dock-1"))
        pool += [on_board, stored(on_board), unreadable(on_board, 0), unreadable(on_board, 1, "again")]
        for row in range(2):
            pool += _about(manifest(on_board, row, content=f"{listing}-{row}"))
    return [*pool, custody("viewed", digest("clip"))]


def _about(clip: Manifest) -> list[Statement]:
    copy = rendition(clip)
    stranger = header(clip.header.agency, "dock-2")
    return [
        clip,
        again(clip, 9),
        stored(clip),
        replace(stored(clip), stored_at=NOW + timedelta(days=1)),
        media(clip, started_at=TimeClaim(NOW, "container")),
        media(clip, duration_ms=1, started_at=TimeClaim(NOW + timedelta(hours=1), "exif")),
        replace(media(clip, duration_ms=2), header=stranger),
        copy,
        stored(copy),
        rendition(clip, content=None),
    ]


POOL = _pool()
LISTINGS = Listings(
    {
        digest(name): [
            ListingRow(raw_path=b"a", size_bytes=10, modified_at=None, state=RowState.TO_READ),
            ListingRow(
                raw_path=b"b",
                size_bytes=10,
                modified_at=None,
                state=RowState.KNOWN,
                manifest=id_of(next(one for one in POOL if isinstance(one, Manifest))),
            ),
        ]
        for name in ("listing", "second")
    }
)


def project(path: Path, batches: Sequence[Sequence[LoggedStatement]]) -> dict[str, list[tuple[object, ...]]]:
    catalogue = Catalogue.open(path, read_listing=LISTINGS)
    try:
        for number, batch in enumerate(batches):
            catalogue.apply(batch)
            if number % 3 == 1:
                catalogue.catch_up()
        catalogue.catch_up()
    finally:
        catalogue.close()
    return dump(path)


def cut(log: Log, places: set[int]) -> list[list[LoggedStatement]]:
    ends = [0, *sorted(place for place in places if 0 < place < len(log.entries)), len(log.entries)]
    return [log.entries[start:end] for start, end in pairwise(ends)]


@settings(max_examples=40, deadline=None)
@given(
    statements=st.lists(st.sampled_from(POOL), max_size=60),
    places=st.sets(st.integers(min_value=1, max_value=60)),
)
def test_any_cut_of_any_log_gives_the_same_catalogue(statements: list[Statement], places: set[int]) -> None:
    log = Log()
    log.add(*statements)
    with tempfile.TemporaryDirectory() as folder:
        whole = project(Path(folder) / "whole.sqlite", [log.entries])
        pieces = project(Path(folder) / "pieces.sqlite", cut(log, places))
        singles = project(Path(folder) / "singles.sqlite", [[entry] for entry in log.entries])
    assert whole == pieces == singles


@settings(max_examples=20, deadline=None)
@given(st.permutations(POOL))
def test_in_any_order_every_row_is_in_exactly_one_state(statements: list[Statement]) -> None:
    log = Log()
    log.add(*statements)
    with tempfile.TemporaryDirectory() as folder:
        catalogue = Catalogue.open(Path(folder) / "catalogue.sqlite", read_listing=LISTINGS)
        try:
            catalogue.apply(log.entries)
            catalogue.catch_up()
            found = catalogue.visit("0" * 31 + "1", None)
            clips = catalogue.clips(ClipFilter(agencies=None), limit=100).clips
        finally:
            catalogue.close()
    assert found is not None
    assert [one.accounting.listed + one.accounting.deficit for one in found.inventories] == [2, 2, 2]
    assert len(clips) == 12
